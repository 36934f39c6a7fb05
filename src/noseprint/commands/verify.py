"""noseprint verify."""

import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from noseprint.command_line import check_run_name
from noseprint.errors import NoseprintError


@dataclass(frozen=True)
class Verify:
    """Decide whether two photographs show the same individual: same, different or cannot tell, with a probability.

    Exits with 0 whatever the decision is, and with 1 if there is none.
    """

    a: tyro.conf.Positional[Path]
    """A photograph."""
    b: tyro.conf.Positional[Path]
    """Another photograph."""
    run: str = ""
    """Name of the run whose networks decide; "" is the full campaign's."""
    small: bool = False
    """Short for --run small."""
    root: Path = Path()
    """The checkout."""
    verifier: Path | None = None
    """The file that `noseprint calibrate` wrote. None: ROOT/results/RUN/verifier.json."""
    fmr: float | None = None
    """False match rate to decide at. None: the lowest of 0.1, 0.01, 0.001 that the hold-out supports."""
    prior: float = 0.5
    """Share of same pairs among the pairs that you ask about: 1 / N if you compare a photograph with a gallery of N.
    It changes the probability, not the decision."""
    json: bool = False
    """Print JSON."""
    picture: Path | None = None
    """Write a picture (.png) of both photographs side by side, with the answer."""
    device: str = "auto"
    """Where the networks run: auto, cpu, cuda, cuda:1 or mps."""

    def __post_init__(self) -> None:
        """Check the options."""
        for name, value in (("fmr", self.fmr), ("prior", self.prior)):
            if value is not None and not 0 < value < 1:
                raise NoseprintError(f"--{name} {value:g}: must lie between 0 and 1")

    def __call__(self) -> None:
        """Verify and print."""
        # Mistakes that are quick to find are reported before torch is loaded, which takes seconds.
        from noseprint.calibration.verifier import read_verifier
        from noseprint.data.decoding import decode
        from noseprint.files import check_output

        check_run_name(self.run)
        if self.run and self.small:
            raise NoseprintError(f"--run {self.run} and --small name two runs: leave one out")
        path = self.verifier or self.root / "results" / (self.run or ("small" if self.small else "")) / "verifier.json"
        if not path.is_file():
            raise NoseprintError(
                f"{path.absolute()}: no such verifier. bash predict.sh{' --small' if self.small else ''} --data DIR "
                "makes it, after bash train.sh with these options. Or name another one: --root CHECKOUT, --small, "
                "--run NAME, --verifier FILE"
            )
        verifier = read_verifier(path)
        for photograph in (self.a, self.b):
            decode(photograph)
        if self.picture:
            inputs = (self.a, self.b, path, *(member.weights for member in verifier.members))
            check_output(self.picture, suffix=".png", inputs=inputs, option="--picture")

        from noseprint.calibration.verify import verdict_lines, verify
        from noseprint.devices import choose_device
        from noseprint.reporting.verdict_picture import write_picture

        device = choose_device(self.device)
        verdict = verify((self.a, self.b), verifier, fmr=self.fmr, prior=self.prior, device=device)
        if self.picture:
            write_picture(self.picture, verdict)
        if self.json:
            print(json.dumps(verdict.to_json(), indent=1))
        else:
            print("\n  ".join(verdict_lines(verdict, verifier)))
