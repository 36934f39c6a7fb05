"""noseprint verify."""

import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from noseprint.command_line import check_run_name
from noseprint.errors import NoseprintError


@dataclass(frozen=True)
class Verify:
    """Say whether two photographs show the same one: similarity, probability; same, different or cannot tell.

    Exits with 0 whatever the decision is, with 1 where there is none.
    """

    a: tyro.conf.Positional[Path]
    """A photograph."""
    b: tyro.conf.Positional[Path]
    """Another one."""
    run: str = ""
    """Name of the run whose networks decide; "" is the full campaign's."""
    small: bool = False
    """Short for --run small."""
    root: Path = Path()
    """The checkout."""
    verifier: Path | None = None
    """What `noseprint calibrate` wrote. None: ROOT/results/RUN/verifier.json."""
    fmr: float | None = None
    """False-match rate to decide at. None: the lowest of 0.1, 0.01, 0.001 that the hold-out supports."""
    prior: float = 0.5
    """Share of same pairs among those that you ask about: 1 / N for a photograph against each of a gallery of N.
    It moves the probability, not the decision."""
    json: bool = False
    """Print JSON."""
    picture: Path | None = None
    """Write both photographs side by side with the answer there (.png)."""
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be."""
        for name, value in (("fmr", self.fmr), ("prior", self.prior)):
            if value is not None and not 0 < value < 1:
                raise NoseprintError(f"--{name} {value:g}: must lie between 0 and 1")

    def __call__(self) -> None:
        """Verify and print."""
        from noseprint.calibration.verifier_file import read_plain
        from noseprint.data.decoding import decode
        from noseprint.files import check_output

        check_run_name(self.run)
        if self.run and self.small:
            raise NoseprintError(f"--run {self.run} and --small name two runs: leave one out")
        path = self.verifier or self.root / "results" / (self.run or ("small" if self.small else "")) / "verifier.json"
        if not path.is_file():
            raise NoseprintError(
                f"{path.absolute()}: no such verifier; make it with noseprint calibrate, or name another one: "
                "--root CHECKOUT, --small, --run NAME, --verifier FILE"
            )
        read_plain(path)
        for photograph in (self.a, self.b):
            decode(photograph)
        if self.picture:
            check_output(self.picture, suffix=".png", inputs=(self.a, self.b, path), option="--picture")

        # What can be mended in a moment has been told; from here on seconds go by before the first word.
        from noseprint.calibration.verifier import read_verifier, weights_of
        from noseprint.calibration.verify import verdict_lines, verify
        from noseprint.devices import choose_device
        from noseprint.reporting.verdict_picture import write_picture

        verifier = read_verifier(path)
        if self.picture:
            weights = weights_of(verifier, path).values()
            check_output(self.picture, suffix=".png", inputs=weights, option="--picture")
        verdict = verify(
            (self.a, self.b), verifier, path=path, fmr=self.fmr, prior=self.prior, device=choose_device(self.device)
        )
        if self.picture:
            write_picture(self.picture, verdict)
        if self.json:
            print(json.dumps(verdict.to_json(), indent=1))
        else:
            print("\n  ".join(verdict_lines(verdict, verifier)))
