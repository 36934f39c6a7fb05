"""noseprint verify."""

import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from noseprint.errors import NoseprintError
from noseprint.options import check_run_name


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

    def __call__(self) -> None:
        """Verify and print."""
        from noseprint.devices import choose_device
        from noseprint.evaluation.picture import write_picture
        from noseprint.evaluation.verifier import read_verifier, weights_of
        from noseprint.evaluation.verify import likely, verify
        from noseprint.files import check_output

        check_run_name(self.run)
        if self.run and self.small:
            raise NoseprintError(f"--run {self.run} and --small name two runs: leave one out")
        path = self.verifier or self.root / "results" / (self.run or ("small" if self.small else "")) / "verifier.json"
        verifier = read_verifier(path)
        if self.picture:
            inputs = (self.a, self.b, path, *weights_of(verifier, path).values())
            check_output(self.picture, suffix=".png", inputs=inputs, option="--picture")
        verdict = verify(
            (self.a, self.b), verifier, path=path, fmr=self.fmr, prior=self.prior, device=choose_device(self.device)
        )
        if self.picture:
            write_picture(self.picture, verdict)
        if self.json:
            print(json.dumps(verdict.to_json(), indent=1))
            return
        told = "" if verdict.probability is None else f": {likely(verdict.probability)} at prior {self.prior:g}"
        print(f"{verdict.decision}{told}")
        for reason in verdict.reasons:
            print(f"  {reason.text}")
        point, by = verdict.point, " and ".join(verdict.members) if len(verdict.members) < 3 else "the ensemble"
        print(f"  by {by}, at a false-match rate of at most {point.fmr:g}")
        print(f"  on the hold-out: {point.measured_fmr}, with {point.tmr} of the same pairs recognised")
        if self.prior != 0.5:
            print("  the prior moves the probability, not the decision")
        if verdict.caution:
            print(f"  {verdict.caution}")
