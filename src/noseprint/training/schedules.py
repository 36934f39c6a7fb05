"""The learning rate: each schedule is a pure function of the step, so that a resume needs no state."""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, TypeAlias

ScheduleName: TypeAlias = Literal["cosine", "restarts", "cyclic", "one-cycle", "multi-step"]
LOWEST = 0.01
"""Factor at the bottom of a cycle of "cyclic", and at both ends of "one-cycle"."""
DROP = 0.1
"""Factor of each drop of "multi-step"."""


def learning_rate_factor(
    name: ScheduleName, step: int, *, steps: int, warmup: int, cycles: int = 1, milestones: Sequence[float] = ()
) -> float:
    """Factor on the learning rate at `step` of `steps`, in 0..1: a linear climb over `warmup` steps, then the schedule.

    cosine: half a cosine down to 0 (SGDR without restarts, arXiv 1608.03983, eq. 5).
    restarts: `cycles` such cosines of equal length (SGDR with T_mult 1); each ends in a minimum worth a snapshot.
    cyclic: `cycles` triangles from LOWEST up to 1 and down again (Smith, arXiv 1506.01186, "triangular").
    one-cycle: one triangle with cosine sides (Smith and Topin, arXiv 1708.07120), its peak at 0.3 of the steps.
    multi-step: times DROP at each of `milestones`, shares of the steps.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    step, steps = step - warmup, max(1, steps - warmup)
    done = step / steps
    if name == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * step / steps))
    if name == "restarts":
        return 0.5 * (1 + math.cos(math.pi * (done * cycles % 1)))
    if name == "cyclic":
        return LOWEST + (1 - LOWEST) * (1 - abs(2 * (done * cycles % 1) - 1))
    if name == "one-cycle":
        share = done / 0.3 if done < 0.3 else 1 - (done - 0.3) / 0.7
        return LOWEST + (1 - LOWEST) * 0.5 * (1 - math.cos(math.pi * share))
    return float(DROP ** sum(done >= milestone for milestone in milestones))


def phase_at(step: int, lengths: Sequence[int]) -> tuple[int, int]:
    """The phase that `step` is in, and the number of the step within it; `lengths` are the steps of each phase."""
    ends = list(accumulate(lengths))
    number = next((k for k, end in enumerate(ends) if step < end), len(ends) - 1)
    return number, step - (ends[number] - lengths[number])


def average_decay(update: int, *, half_life: float) -> float:
    """Decay of the averaged weights at update number `update` (from 0), for a half-life in updates.

    0.5 ** (1 / half_life), at first min(decay, (1 + n) / (10 + n)), so that the start weights are soon forgotten.
    """
    return float(min(0.5 ** (1 / half_life), (1 + update) / (10 + update)))
