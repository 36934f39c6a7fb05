"""noseprint calibrate."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from noseprint.commands.campaign import Campaign

if TYPE_CHECKING:
    from noseprint.calibration.verifier import Verifier


@dataclass(frozen=True)
class Calibrate(Campaign):
    """Make a campaign's verifier, results/RUN/verifier.json, from the photographs held out of its training.

    `noseprint verify` decides by it: it holds probabilities, thresholds and limits on the quality of a photograph.
    """

    device: str = "auto"
    """Where the networks run: auto, cpu, cuda, cuda:1 or mps."""
    engine: Literal["auto", "torch", "openvino"] = "auto"
    """What runs the networks, as for infer.py."""
    where_possible: bool = False
    """If the weights have no hold-out or the data no training photographs, print why and exit with 0."""

    def __call__(self) -> None:
        """Calibrate, write and print."""
        from noseprint.calibration.holdout_pairs import NoVerifierError
        from noseprint.calibration.make_verifier import make_verifier
        from noseprint.calibration.verifier import write_verifier
        from noseprint.devices import choose_device
        from noseprint.files import require_writable

        require_writable(out := self.results / "verifier.json")
        try:
            verifier = make_verifier(self.weights, self.data, device=choose_device(self.device), engine=self.engine)
        except NoVerifierError as error:
            if not self.where_possible:
                raise
            print(f"No verifier is made: {error}.")
            return
        write_verifier(out, verifier)
        for line in _summary(verifier):
            print(line)
        print(f"{out}: noseprint verify A.jpg B.jpg decides by it")


def _summary(verifier: "Verifier") -> Iterator[str]:
    from noseprint.calibration.operating_points import FMRS
    from noseprint.calibration.quality_limits import MEASURES

    holdout = verifier.holdout
    yield (
        f"{holdout.photographs} photographs of {holdout.identities} identities that no network was trained on: "
        f"{holdout.same_pairs} same pairs, and {holdout.different_pairs} different pairs, also with {holdout.cohort} "
        "other photographs"
    )
    yield f"{'':25}{'curve':10}{'log loss':26}{'Brier':26}calibration error   (value [95 % interval over identities])"
    rows = [(member.name, member.calibration, member.reliability) for member in verifier.members]
    for name, calibration, scores in [*rows, ("ensemble", verifier.calibration, verifier.reliability)]:
        cells = "".join(f"{score!s:26}" for score in (scores.log_loss, scores.brier, scores.calibration_error))
        yield f"{name:25}{calibration.family:10}{cells}".rstrip()
    for point in verifier.points:
        yield (
            f"false match rate {point.fmr:g}: the same from {point.threshold:.4f}, different below "
            f"{point.different_below:.4f}; at {point.threshold:.4f} false matches {point.measured_fmr}, "
            f"true matches {point.tmr}"
        )
    refused = [fmr for fmr in FMRS if fmr < verifier.least_fmr]
    if refused:
        yield f"no thresholds for {' and '.join(f'{fmr:g}' for fmr in refused)}: {verifier.why_unsupported(refused[0])}"
    for measure, (problem, value) in MEASURES.items():
        limit = getattr(verifier.quality, measure)
        if limit.least is None:
            yield f"{problem}: no limit, even {value.format(limit.levels[-1].measured)} does no harm"
        else:
            yield f"{problem}: below {value.format(limit.least)}"
    if verifier.caution:
        yield f"caution: {verifier.caution}"
