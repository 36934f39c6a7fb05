"""Put the curves of all networks together: ../results/RUN/lr_range.csv, lr_range.png and lr_range.json."""

from dataclasses import dataclass
from pathlib import Path

from noseprint.command_line import check_run_name, run

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which curves are drawn."""

    members: str
    """The networks, separated by commas."""
    run: str = ""
    """Name of the run, whose files are in results/RUN; "" is results/ itself."""
    data: Path = HERE.parent / "data"
    """Not read; train.sh passes it to every script, as it does the two below."""
    small: bool = False
    """The run of --small."""
    skip_bad: bool = False
    """Has no effect."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_run_name(self.run)


def main(options: Options) -> None:
    """Read the curves that find_rate.py left, and draw them."""
    from noseprint.reporting.lr_range_chart import draw_ranges  # here, not above: it takes seconds to load
    from noseprint.training.lr_range import read_curves, write_curves

    curves = {}
    for name in options.members.split(","):
        curves |= read_curves(HERE / "results" / options.run / name)
    results = HERE.parent / "results" / options.run
    draw_ranges(results / "lr_range.png", curves)
    write_curves(results, curves)


if __name__ == "__main__":
    run(main, full=Options(members="resnet50"), small=Options(members="lite0", run="small", small=True))
