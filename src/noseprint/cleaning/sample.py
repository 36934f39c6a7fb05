"""The share of wrong labels, estimated from images that are drawn at random and looked at by a person."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from noseprint.cleaning.decisions import RULE, Decision, in_force
from noseprint.errors import NoseprintError

SAMPLE_RULE = "sample"
"""The `rule` of decisions about the sample, which is reviewed without seeing what a network proposes."""
LEAST_DRAWN = 60
"""The smallest sample, if there are so many images: a smaller one says little about the share of wrong labels."""


@dataclass(frozen=True)
class NoiseRate:
    """An estimate of the share of wrong labels, with its 95 % Wilson score interval.

    wrong, reviewed, drawn: numbers of images of the sample. rate, low, high: in 0..1; None if nothing is reviewed.
    """

    wrong: int
    reviewed: int
    drawn: int
    rate: float | None = None
    low: float | None = None
    high: float | None = None


def draw_sample(names: Sequence[str], *, share: float, seed: int = 0) -> list[str]:
    """Draw a share of the images in random order: at least LEAST_DRAWN, or all if there are fewer.

    They are those with the smallest hashes of (seed, name). So the order of the names does not matter, further images
    change the sample little, and a larger share draws the same images first and then more. A person who stops halfway
    has looked at a random sample, too. Raises NoseprintError for a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise NoseprintError(f"--share {share}: must be above 0 and at most 1, a share of the images")
    from noseprint.data.holdout import ordered_by_hash  # noqa: PLC0415 - it loads scikit-learn

    ranked = ordered_by_hash(set(names), seed=seed)
    return ranked[: max(LEAST_DRAWN, round(share * len(ranked)))]


def margin_of_error(drawn: int) -> float:
    """Half the width of the 95 % interval that a reviewed sample of this size gives where 20 % are wrong, in 0..1."""
    low, high = _wilson(round(0.2 * drawn), drawn)
    return (high - low) / 2


def reviewed_blind(lines: Sequence[Decision]) -> set[str]:
    """The names of the images about which a person has decided in the sample's review."""
    return {line.image for line in in_force(lines) if line.who != RULE and line.rule == SAMPLE_RULE}


def noise_rate(lines: Sequence[Decision], sample: Collection[str] | None = None) -> NoiseRate:
    """The share of wrong labels among the images of `sample` about which a person decided in the sample's review.

    lines: the log. sample: the names of its images; None: all about which a person decided there. Every decision but
    keep says that the label is wrong. Decisions about suspects do not count here: a person who sees the proposal of a
    network is no longer impartial, and suspects are not a random sample.
    """
    last = {
        line.image: line.decision
        for line in in_force(lines)
        if line.who != RULE and line.rule == SAMPLE_RULE and (sample is None or line.image in sample)
    }
    wrong, drawn = sum(decision != "keep" for decision in last.values()), len(last if sample is None else sample)
    if not last:
        return NoiseRate(0, 0, drawn)
    return NoiseRate(wrong, len(last), drawn, wrong / len(last), *_wilson(wrong, len(last)))


def _wilson(wrong: int, of: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of the share of wrong ones."""
    from scipy.stats import binomtest  # noqa: PLC0415 - it takes a second to load

    interval = binomtest(wrong, of).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
