"""noseprint calibrate."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from noseprint.commands.campaign import Campaign

if TYPE_CHECKING:
    from noseprint.calibration.verifier import Verifier


@dataclass(frozen=True)
class Calibrate(Campaign):
    """Make the verifier of a campaign from the photographs held out of its training: results/RUN/verifier.json.

    It is what `noseprint verify` decides by: probabilities, thresholds and the limits of what a photograph must be.
    """

    device: str = "auto"
    engine: Literal["auto", "torch", "openvino"] = "auto"
    """What runs the networks, as for infer.py."""
    where_possible: bool = False
    """For weights that carry no hold-out, and data without training photographs, say so and exit with 0."""

    def __call__(self) -> None:
        """Calibrate, write and print."""
        from noseprint.calibration.calibrate import NothingHeldOutError, calibrate
        from noseprint.calibration.verifier import write_verifier
        from noseprint.devices import choose_device

        out = self.results / "verifier.json"
        try:
            verifier = calibrate(
                self.weights, self.data, folder=out.parent, device=choose_device(self.device), engine=self.engine
            )
        except NothingHeldOutError as error:
            if not self.where_possible:
                raise
            print(f"No verifier is made: {error}.")
            return
        write_verifier(out, verifier)
        for line in _told(verifier):
            print(line)
        print(f"{out}: noseprint verify A.jpg B.jpg decides by it")


def _told(verifier: "Verifier") -> list[str]:
    from noseprint.calibration.curves import family_of
    from noseprint.calibration.quality_limits import KINDS

    held = verifier.holdout
    lines = [
        f"{held.photographs} photographs of {held.identities} identities that no network was trained on: "
        f"{held.same_pairs} same pairs; {held.different_pairs} different ones, also with {held.cohort} others",
        f"{'':25}{'curve':10}{'log loss':26}{'Brier':26}calibration error   (value [95 % interval over identities])",
    ]
    rows = [(member.name, member.calibration, member.reliability) for member in verifier.members]
    for name, calibration, found in [*rows, ("ensemble", verifier.calibration, verifier.reliability)]:
        cells = (found.log_loss, found.brier, found.calibration_error)
        lines.append(f"{name:25}{family_of(calibration):10}" + "".join(f"{cell!s:26}" for cell in cells).rstrip())
    for point in verifier.points:
        low, high = point.band
        lines.append(
            f"false match rate {point.fmr:g}: the same from {high:.4f}, different below {low:.4f}; "
            f"at {point.threshold:.4f} false matches {point.measured_fmr}, true matches {point.tmr}"
        )
    for measure, (what, how) in KINDS.items():
        limit = getattr(verifier.quality, measure)
        worst = how.format(limit.levels[-1].measured)
        lines.append(
            f"{what}: no limit, even {worst} did no harm"
            if limit.least is None
            else f"{what}: below {how.format(limit.least)}"
        )
    return [*lines, f"caution: {verifier.caution}"] if verifier.caution else lines
