"""Find pseudo-identities among the validation pairs with the network of train.py: results/pseudo.csv, pseudo.json."""

from dataclasses import dataclass, replace
from pathlib import Path

from noseprint.command_line import check_run_name, check_workers, run
from noseprint.errors import NoseprintError

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Options:
    """Options of pseudo.py."""

    data: Path = HERE.parent / "data"
    """Data folder, laid out as the README says."""
    run: str = ""
    """Name of the run: files lie in results/RUN; "" is results/ itself."""
    small: bool = False
    """The run that train.py --small made; short for --run small."""
    precision: float = 0.95
    """Accept every pair above the similarity at which this share of the hold-out pairs is right."""
    count: int | None = None
    """Accept this many of the best pairs instead."""
    skip_bad: bool = False
    """Leave out the photographs that are missing or broken, and list them in skipped_pseudo.csv."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    workers: int | None = None
    """Processes that decode. None: chosen for this machine."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_run_name(self.run)
        check_workers(self.workers)
        if self.count is not None and self.count < 1:
            raise NoseprintError(f"--count {self.count}: must be at least 1")
        if not 0.5 <= self.precision < 1:
            raise NoseprintError(f"--precision {self.precision}: must be in 0.5..1, such as 0.95")


def main(options: Options) -> None:
    """Write the pseudo-identities into results/."""
    from dataset import evaluation_transform, training_table  # here, not above: torch takes seconds to load

    from noseprint.inference.pseudo_table import write_pseudo_table

    write_pseudo_table(
        HERE / "results" / options.run,
        data=options.data,
        labelled=training_table(options.data),
        evaluation_transform=evaluation_transform,
        precision=options.precision,
        count=options.count,
        skip_bad=options.skip_bad,
        device=options.device,
        workers=options.workers,
    )


if __name__ == "__main__":
    run(main, full=Options(), small=replace(Options(), run="small", small=True))
