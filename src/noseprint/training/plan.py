"""How long a training goes on, and after which steps its weights are scored."""

from collections.abc import Sequence
from typing import Any

from noseprint.training.fit_options import OPEN_ENDED_MINUTES, FitOptions

FIRST_SCORED = 64
"""An open-ended training is scored after this many steps, then after 1.5, 2, 3, 4, 6, 8, ... times as many."""
MEASURED_FROM = 4
"""Steps before this one are not timed: they set up memory, and read files for the first time."""
FLAT = 0.05
"""The loss has stopped falling if it has fallen by less than this share of its whole fall since the last score."""
BEGUN = 0.05
"""A training has begun to learn once its loss has fallen by this share."""


class Plan:
    """When a training ends, and after which steps its weights are scored.

    open_ended: no length is given; the training goes on until nothing more is learned, or its time is up.
    steps: the last step. In an open-ended training, an estimate of how many steps fit; None before the first estimate.
    """

    def __init__(self, options: FitOptions, *, epoch_steps: int) -> None:
        self._epoch_steps, self._eval_every = epoch_steps, options.eval_every
        self.open_ended = options.steps is None and options.epochs is None
        self.minutes = OPEN_ENDED_MINUTES if self.open_ended and options.minutes is None else options.minutes
        self._seconds = None if self.minutes is None else 60 * self.minutes
        self._given = None if self.open_ended else options.steps or (options.epochs or 0) * epoch_steps
        self.steps = self._given
        self._measured = self._seconds is None
        self._warmup = int((self._given or 0) * options.warmup)
        self._snapshots = min(options.snapshots, (self._given or 0) - self._warmup)

    @property
    def out_of_time(self) -> bool:
        """Whether the limit of time set the number of steps, or (`open_ended`) the end of what can be learned."""
        return self.steps != self._given

    def scores_after(self, step: int) -> bool:
        """Whether the weights are scored after `step`. The last step is always scored."""
        if step == self.steps:
            return True
        if self.open_ended:
            return step >= FIRST_SCORED and step in (2 ** step.bit_length() // 2, 3 * 2 ** (step.bit_length() - 2))
        return step % (self._epoch_steps * self._eval_every) == 0

    def snapshot_after(self, step: int) -> int | None:
        """The number, from 1, of the snapshot that is due after `step`; None if none is. At most one for each step."""
        if not self.steps or step <= self._warmup:
            return None
        length = self.steps - self._warmup
        number = (step - self._warmup) * self._snapshots // length
        return number if number > (step - self._warmup - 1) * self._snapshots // length else None

    def needs_time(self, step: int) -> bool:
        """Whether to call `fit_into_time` after `step`: once, but in an open-ended training at each score.

        Not after the last step, which would never be the last then.
        """
        if self._seconds is None or step == self.steps:
            return False
        return not self._measured or (self.open_ended and self.scores_after(step))

    def fit_into_time(self, step: int, *, elapsed: float, per_step: float, per_score: float) -> None:
        """Plan as many steps as fit into the time that is left after `step`.

        elapsed: seconds since the start of the training. per_step, per_score: seconds that a step and a score take.
        """
        assert self._seconds is not None
        left = self._seconds - elapsed - per_score
        if not self.open_ended:
            per_step += per_score / (self._epoch_steps * self._eval_every)
        fits = max(step + 1, step + int(left / per_step))
        self.steps = fits if self.open_ended or self.steps is None else min(fits, self.steps)
        self._measured = True

    def state(self) -> dict[str, Any]:
        """What a resumed training must know."""
        return {"steps": self.steps, "measured": self._measured}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.steps, self._measured = state["steps"], state["measured"]


def has_stopped_falling(losses: Sequence[float]) -> bool:
    """Whether a training has learned what it can, by the mean loss of each stretch between two scores, oldest first.

    The first value is the mean loss of the first steps. A loss that has not begun to fall may still begin.
    """
    if len(losses) < 3:
        return False
    first, before, now = losses[0], losses[-2], losses[-1]
    return first - now > BEGUN * abs(first) and before - now < FLAT * (first - now)
