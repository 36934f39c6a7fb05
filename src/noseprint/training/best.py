"""The best weights of a training."""

from pathlib import Path
from typing import Any

from noseprint.distributed import World
from noseprint.models.network import Network
from noseprint.models.weights import save_weights
from noseprint.training.task import Task


class BestWeights:
    """Scores weights by the task and keeps the best in `results`/best.safetensors; `extra` goes into their header."""

    def __init__(self, task: Task, *, world: World, results: Path, extra: dict[str, str]) -> None:
        self._task, self._world, self._results, self._extra = task, world, results, extra
        self._highest = 0.0

    def score_and_keep(self, network: Network) -> dict[str, float]:
        """Score the network; keep its weights if none were better, or if there is nothing to score them by.

        Every rank calls it: they share the work. Rank 0 writes and returns the scores, the others return nothing.
        """
        scores = self._task.score(network)
        if not self._world.is_main:
            return {}
        score = scores.get(self._task.keep_by or "")
        if score is not None:
            self._highest = max(self._highest, score)
        if score is None or score >= self._highest - self._task.tie:
            save_weights(self._results / "best.safetensors", network, extra={**self._extra, **self._task.header()})
        return scores

    def state(self) -> dict[str, Any]:
        """The highest score so far, for a resume."""
        return {"highest_score": self._highest}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self._highest = state["highest_score"]
