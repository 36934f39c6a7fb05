"""Whether two photographs show the same one, and how sure that is."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from noseprint import __version__
from noseprint.calibration.curves import Calibration, family_of, probability_at
from noseprint.calibration.quality_limits import Shortfall, shortfalls
from noseprint.calibration.verifier import FEW_IDENTITIES, OperatingPoint, Verifier, weights_of
from noseprint.command_line import Engine
from noseprint.data.decoding import decode
from noseprint.data.photo_quality import Quality, measure_quality
from noseprint.data.transforms import A
from noseprint.errors import NoseprintError
from noseprint.models.embed import embed_images
from noseprint.models.weights import load_network

FORMAT = "noseprint verdict 1"
LEAST_TMR = 0.5
"""Where fewer of the same pairs are recognised, whoever asks is told."""
Decision = Literal["same", "different", "cannot tell"]


@dataclass(frozen=True)
class Reason:
    """Why it was decided so: a code for programs, the photograph where one is concerned, words for people.

    Codes: above_threshold, below_threshold, uncertain; short_side, sharpness, brightness (a photograph's shortfall);
    identical (both photographs are one).
    """

    code: str
    photograph: str | None
    value: float
    limit: float
    text: str


@dataclass(frozen=True)
class Verdict:
    """What a verifier says of two photographs."""

    photographs: tuple[str, str]
    similarity: float
    """Mean of the members' cosines, -1..1."""
    probability: float | None
    """That they show the same one, at the prior; None where a photograph falls short of a limit."""
    decision: Decision
    reasons: tuple[Reason, ...]
    prior: float
    family: str
    point: OperatingPoint
    members: dict[str, tuple[str, float, float | None]]
    """Of each member the fingerprint of its weights, its cosine and its probability at the prior (or None)."""
    quality: tuple[Quality, Quality]
    caution: str | None
    """`Verifier.caution`, and that hardly any same pairs are recognised."""

    def to_json(self) -> dict[str, Any]:
        """All of it as plain numbers and text, in the layout of docs/verify.md."""
        low, high = self.point.band
        return {
            "format": FORMAT,
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
            "different_below": low,
            "same_from": high,
            "members": [
                {"name": name, "fingerprint": mark, "similarity": cosine, "probability": probability}
                for name, (mark, cosine, probability) in self.members.items()
            ],
        }


def verify(
    photographs: tuple[Path, Path],
    verifier: Verifier,
    *,
    path: Path,
    fmr: float | None = None,
    prior: float = 0.5,
    device: torch.device,
    engine: Engine = "auto",
) -> Verdict:
    """Compare two photographs by the `verifier` that was read from `path`.

    fmr: the false match rate to decide at, None: the lowest the verifier has. prior: see `probability_at`; it moves the
    probability, not the decision, which is made by the thresholds. Raises NoseprintError for a rate the verifier lacks,
    a prior outside (0, 1), weights that are not its own, and a photograph that cannot be read.
    """
    point = verifier.operating_point(fmr)
    probability_at(np.zeros(1), prior)
    first, second = decode(photographs[0]), decode(photographs[1])
    quality = measure_quality(first), measure_quality(second)
    names = str(photographs[0]), str(photographs[1])
    short = [
        (name, found) for name, part in zip(names, quality, strict=True) for found in shortfalls(part, verifier.quality)
    ]

    def probability(calibration: Calibration, cosine: float) -> float | None:
        return None if short else float(calibration.probability(cosine, prior))

    members: dict[str, tuple[str, float, float | None]] = {}
    for member, weights in zip(verifier.members, weights_of(verifier, path).values(), strict=True):
        network = load_network(weights)
        transform = A.Resize(network.image_size, network.image_size)
        a, b = embed_images(
            network.to(device), photographs, transform=transform, device=device, workers=0, engine=engine
        )
        cosine = float(a @ b)
        if not np.isfinite(cosine):
            raise NoseprintError(f"{weights}: gives embeddings that are not finite; train it again")
        members[member.name] = member.fingerprint, cosine, probability(member.calibration, cosine)
    similarity = float(np.mean([cosine for _, cosine, _ in members.values()]))
    decision, reasons = decide(similarity, point, short)
    if np.array_equal(first, second):
        reasons += (Reason("identical", None, similarity, 1.0, "both are one and the same photograph"),)
    cautions = [verifier.caution] if verifier.caution else []
    if point.tmr.value < LEAST_TMR:
        cautions.append(f"at this false match rate {100 * point.tmr.value:.0f} % of the same pairs are recognised")
    return Verdict(
        photographs=names,
        similarity=similarity,
        probability=probability(verifier.calibration, similarity),
        decision=decision,
        reasons=reasons,
        prior=prior,
        family=family_of(verifier.calibration),
        point=point,
        members=members,
        quality=quality,
        caution="; ".join(cautions) or None,
    )


def probability_text(probability: float | None) -> str:
    """A probability in words: a hold-out cannot tell what lies beyond 0.999."""
    if probability is None:
        return "no probability"
    if not 0.001 <= probability <= 0.999:
        return f"probability {'above 0.999' if probability > 0.5 else 'below 0.001'}"
    return f"probability {probability:.3f}"


def verdict_lines(verdict: Verdict, verifier: Verifier) -> list[str]:
    """What a person is told: a sentence with the answer and why, then few lines of how far to rely on it.

    A photograph that falls short of a limit has the sentence alone: no rate of the hold-out says anything of it.
    """
    why = "; ".join(reason.text for reason in verdict.reasons)
    if verdict.probability is None:
        return [f"{verdict.decision}: {why}"]
    prior = "" if verdict.prior == 0.5 else f" at prior {verdict.prior:g} (which does not move the decision)"
    point = verdict.point
    of = 1000 if point.fmr >= 0.01 else 10_000
    kind, number, called = {
        "same": ("different", f"{of * point.measured_fmr.value:.0f}", "the same"),
        "different": ("same", f"{of * point.fmr:.0f} at most", "different"),
        "cannot tell": ("same", f"{of * point.tmr.value:.0f}", "the same"),
    }[verdict.decision]
    holdout = verifier.holdout
    few = "" if holdout.identities >= FEW_IDENTITIES else f" ({holdout.identities} individuals, which are few)"
    lines = [
        f"{verdict.decision}, {probability_text(verdict.probability)}{prior}: {why}",
        f"of {of:,} {kind} pairs of the hold-out{few} {number} were called {called}",
    ]
    if verdict.decision == "same":
        lines.append("not checked: that both show what it was trained on (dogs, say) and are the right way up")
    return [*lines, f"caution: {verifier.worthless}"] if verifier.worthless else lines


def decide(
    similarity: float, point: OperatingPoint, short: list[tuple[str, Shortfall]]
) -> tuple[Decision, tuple[Reason, ...]]:
    """The decision by the thresholds, unless a photograph falls short of a limit; and all reasons for it."""
    if short:
        found = (Reason(s.measure, name, s.value, s.least, f"{name} is {s}") for name, s in short)
        return "cannot tell", tuple(found)
    low, high = point.band
    if similarity >= high:
        text = f"similarity {similarity:.3f}, the same from {high:.3f}"
        return "same", (Reason("above_threshold", None, similarity, high, text),)
    if similarity < low:
        text = f"similarity {similarity:.3f}, different below {low:.3f}"
        return "different", (Reason("below_threshold", None, similarity, low, text),)
    text = f"similarity {similarity:.3f}, different below {low:.3f}, the same from {high:.3f}"
    return "cannot tell", (Reason("uncertain", None, similarity, high, text),)
