"""Decides whether two photographs show the same individual, and how probable that is."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from noseprint.calibration.curves import SAME_PIXELS_LOG_ODDS, Calibration, probability_at
from noseprint.calibration.operating_points import OperatingPoint
from noseprint.calibration.quality_limits import Shortfall, shortfalls
from noseprint.calibration.verifier import FEW_IDENTITIES, Verifier, check_weights
from noseprint.command_line import Engine
from noseprint.data.decoding import decode
from noseprint.data.photo_quality import Quality, measure_quality
from noseprint.data.transforms import A
from noseprint.errors import NoseprintError
from noseprint.models.embed import embed_images
from noseprint.models.weights import load_network
from noseprint.version import __version__

LOW_TMR = 0.5
"""The verdict has a caution if the true match rate is lower."""
Decision = Literal["same", "different", "cannot tell"]


@dataclass(frozen=True)
class Reason:
    """A reason for a decision: a code for programs, and a text for people.

    Codes: above_threshold, below_threshold, uncertain; short_side, sharpness, brightness (the `photograph` is below
    that limit); identical (both photographs have the same pixels).
    """

    code: str
    photograph: str | None
    value: float
    limit: float
    text: str


@dataclass(frozen=True)
class MemberVerdict:
    """The result of one network: its recipe folder, the fingerprint of its weights, cosine and probability."""

    name: str
    fingerprint: str
    similarity: float
    probability: float | None


@dataclass(frozen=True)
class Verdict:
    """The result of a verifier for two photographs.

    similarity: mean of the members' cosines, -1..1. probability: that both photographs show the same individual, at the
    prior; None if a photograph is below a limit. prior: see `probability_at`. family: of the calibration: platt, beta
    or isotonic. caution: `Verifier.caution`, and a warning if few same pairs are recognised; None if there is neither.
    """

    photographs: tuple[str, str]
    similarity: float
    probability: float | None
    decision: Decision
    reasons: tuple[Reason, ...]
    prior: float
    family: str
    point: OperatingPoint
    members: tuple[MemberVerdict, ...]
    quality: tuple[Quality, Quality]
    caution: str | None

    def to_json(self) -> dict[str, Any]:
        """The fields as plain numbers and text; docs/verify.md describes them."""
        return {
            "format": "noseprint verdict 1",
            "noseprint": __version__,
            "photographs": [
                {"file": name, **asdict(quality)} for name, quality in zip(self.photographs, self.quality, strict=True)
            ],
            "decision": self.decision,
            "reasons": [asdict(reason) for reason in self.reasons],
            "similarity": self.similarity,
            "probability": self.probability,
            "prior": self.prior,
            "calibration": self.family,
            "fmr": self.point.fmr,
            "caution": self.caution,
            "different_below": self.point.different_below,
            "same_from": self.point.threshold,
            "members": [asdict(member) for member in self.members],
        }


def verify(
    photographs: tuple[Path, Path],
    verifier: Verifier,
    *,
    fmr: float | None = None,
    prior: float = 0.5,
    device: torch.device,
    engine: Engine = "auto",
) -> Verdict:
    """Decide whether two photographs show the same individual.

    fmr: the false match rate to decide at; None: the lowest that the verifier has. prior: see `probability_at`; it
    changes the probability, not the decision, which depends on the thresholds. engine: see `embedder`.
    Raises NoseprintError for a rate that the verifier lacks, a prior outside (0, 1), weights that are missing or not
    the verifier's, and a photograph that cannot be read.
    """
    point = verifier.operating_point(fmr)
    probability_at(np.zeros(1), prior)  # checks the prior
    first, second = decode(photographs[0]), decode(photographs[1])
    quality = measure_quality(first), measure_quality(second)
    names = str(photographs[0]), str(photographs[1])
    below_limit = [
        (name, shortfall)
        for name, measured in zip(names, quality, strict=True)
        for shortfall in shortfalls(measured, verifier.quality)
    ]

    identical = np.array_equal(first, second)

    def probability(calibration: Calibration, cosine: float) -> float | None:
        log_odds = np.array(SAME_PIXELS_LOG_ODDS) if identical else calibration.log_odds(cosine)
        return None if below_limit else float(probability_at(log_odds, prior))

    check_weights(verifier)
    members = []
    for member in verifier.members:
        network = load_network(member.weights).to(device)
        resize = A.Resize(network.image_size, network.image_size)
        a, b = embed_images(network, photographs, transform=resize, device=device, workers=0, engine=engine)
        if not np.isfinite(a @ b):
            raise NoseprintError(f"{member.weights}: gives embeddings that are not finite; train it again")
        cosine = float(np.clip(a @ b, -1, 1))
        own = probability(member.calibration, cosine)
        members.append(MemberVerdict(member.name, member.fingerprint, cosine, own))
    similarity = float(np.mean([member.similarity for member in members]))
    decision, reasons = decide(similarity, point, below_limit)
    if identical:
        reasons += (Reason("identical", None, similarity, 1.0, "both are the same photograph"),)
    cautions = [verifier.caution] if verifier.caution else []
    if point.tmr.value < LOW_TMR:
        cautions.append(f"at this false match rate {100 * point.tmr.value:.0f} % of the same pairs are recognised")
    return Verdict(
        photographs=names,
        similarity=similarity,
        probability=probability(verifier.calibration, similarity),
        decision=decision,
        reasons=reasons,
        prior=prior,
        family=verifier.calibration.family,
        point=point,
        members=tuple(members),
        quality=quality,
        caution="; ".join(cautions) or None,
    )


def decide(
    similarity: float, point: OperatingPoint, below_limit: Sequence[tuple[str, Shortfall]] = ()
) -> tuple[Decision, tuple[Reason, ...]]:
    """Decide by the thresholds. If photographs are below a limit (name, shortfall), the decision is "cannot tell"."""
    if below_limit:
        reasons = (Reason(s.measure, name, s.value, s.least, f"{name} is {s}") for name, s in below_limit)
        return "cannot tell", tuple(reasons)
    low, high = point.different_below, point.threshold
    if similarity >= high:
        text = f"similarity {similarity:.3f}, the same from {high:.3f}"
        return "same", (Reason("above_threshold", None, similarity, high, text),)
    if similarity < low:
        text = f"similarity {similarity:.3f}, different below {low:.3f}"
        return "different", (Reason("below_threshold", None, similarity, low, text),)
    text = f"similarity {similarity:.3f}, different below {low:.3f}, the same from {high:.3f}"
    return "cannot tell", (Reason("uncertain", None, similarity, high, text),)


def verdict_lines(verdict: Verdict, verifier: Verifier) -> list[str]:
    """One line with the answer and the reasons, and a few lines on how reliable the answer is.

    A photograph below a limit has only the first line: the hold-out's rates do not apply to it.
    """
    reasons = "; ".join(reason.text for reason in verdict.reasons)
    if verdict.probability is None:
        return [f"{verdict.decision}: {reasons}"]
    prior = "" if verdict.prior == 0.5 else f" at prior {verdict.prior:g} (which does not change the decision)"
    point, holdout = verdict.point, verifier.holdout
    total = 1000 if point.fmr >= 0.01 else 10_000
    kind, number, answer = {
        "same": ("different", f"{total * point.measured_fmr.value:.0f}", "the same"),
        "different": ("same", f"at most {total * point.fmr:.0f}", "different"),
        "cannot tell": ("same", f"{total * point.tmr.value:.0f}", "the same"),
    }[verdict.decision]
    few = "" if holdout.identities >= FEW_IDENTITIES else f" ({holdout.identities} individuals, which are few)"
    lines = [
        f"{verdict.decision}, {probability_text(verdict.probability)}{prior}: {reasons}",
        f"of {total:,} {kind} pairs of the hold-out{few}, {number} were called {answer}",
    ]
    if verdict.decision == "same":
        lines.append("not checked: that both show what the networks were trained on, the right way up")
    if verdict.decision == "different":
        lines.append(
            "not checked: that they are as easy to compare as the hold-out; harder same pairs are called different "
            "more often"
        )
    return [*lines, f"caution: {verifier.probability_warning}"] if verifier.probability_warning else lines


def probability_text(probability: float | None) -> str:
    """A probability as text, with no more digits than a hold-out can support."""
    if probability is None:
        return "no probability"
    if not 0.001 <= probability <= 0.999:
        return f"probability {'above 0.999' if probability > 0.5 else 'below 0.001'}"
    return f"probability {probability:.3f}"
