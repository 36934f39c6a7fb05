"""Which weights of a training are kept."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noseprint.distributed import World
from noseprint.errors import NoseprintError
from noseprint.files import atomic_write
from noseprint.metrics.bootstrap import MIN_IDENTITIES
from noseprint.models.network import Network
from noseprint.models.weights import save_weights
from noseprint.models.weights_header import read_header
from noseprint.training.task import Scores, Task

UNKNOWN = 2.0
"""Width of the interval of a difference about which nothing is known: -1 to 1."""


class BestWeights:
    """Keeps the last weights in `results`/best.safetensors, unless earlier ones are better beyond chance.

    Beyond chance: the 95 % interval of the difference on the hold-out lies above 0. The interval is a paired one over
    the groups, because both weights are scored on the same items. The earlier weights are those with the highest score
    so far; they may be those that the training started from. `extra` goes into the header of the weights.
    """

    def __init__(self, task: Task, *, world: World, results: Path, extra: dict[str, str]) -> None:
        self._task, self._world, self._results, self._extra = task, world, results, extra
        self._start: Scores | None = None
        self._highest: Scores | None = None
        self.last: Scores | None = None
        """The latest scores; None before the first, and if nothing is held out."""
        self.overtaken = False
        """Whether earlier weights are better than the latest beyond chance; if so, they are kept."""

    def score_and_keep(self, network: Network, *, step: int) -> dict[str, float]:
        """Score the network after `step`, and keep its weights or those with the highest score.

        Every rank calls it: they share the work. Rank 0 writes and returns the scores, the others return nothing.
        """
        scores = self._task.score(network, untrained=step == 0)
        if not self._world.is_main:
            return {}
        best, highest = self._results / "best.safetensors", self._results / "last" / "highest.safetensors"
        extra = {**self._extra, **self._task.header()}
        if scores is None:
            if step:
                save_weights(best, network, extra=extra)
            return {}
        self.last = scores
        self._start = self._start or scores
        self.overtaken = self._highest is not None and self._highest.gain_over(scores).low > 0
        gain, before = scores.gain_over(self._start), float(self._start.per_item.mean())
        extra["gain"] = json.dumps({"by": scores.by, "size": scores.size, "step": step, "before": before, **vars(gain)})
        if self._highest is None or scores.per_item.mean() >= self._highest.per_item.mean():
            self._highest = scores
            save_weights(highest, network, extra=extra)
        if self.overtaken:
            try:
                read_header(highest)
            except NoseprintError as error:
                raise NoseprintError(
                    f"{error}. The best weights of this training are lost: pass --restart to train again"
                ) from error
            with atomic_write(best) as part:
                shutil.copyfile(highest, part)
        elif step:
            save_weights(best, network, extra=extra)
        return scores.values

    def summary(self, *, advise: bool = True, may_train_longer: bool = True) -> list[str]:
        """What the training gained on the hold-out, and which weights are kept, in lines of text.

        advise: whether to say what to try if this training may not have helped. may_train_longer: whether a longer
        training is part of that.
        """
        kept = self._highest if self.overtaken else self.last
        if not kept or not self._start:
            return []
        gain = kept.gain_over(self._start)
        before, after = self._start.per_item.mean(), kept.per_item.mean()
        line = (
            f"hold-out ({kept.size}): {kept.by} {before:.4f} before this training, {after:.4f} after: {gain.value:+.4f}"
        )
        if gain.high - gain.low == UNKNOWN:
            return [
                f"{line}; too few are held out to say more: an interval takes {MIN_IDENTITIES} identities or groups"
            ]
        if kept is self._start:
            harm = "before this training, which did harm: the weights from before it are kept"
            return [f"hold-out ({kept.size}): {kept.by} {before:.4f} {harm}"]
        margin = (gain.high - gain.low) / 2
        power = f"this hold-out can tell differences of about {margin:.2f}"
        lines = [f"{line} [{gain.low:+.4f}, {gain.high:+.4f}]; {power}"]
        if self.overtaken:
            lines.append("earlier weights are kept: on the hold-out, the last ones are worse beyond chance")
        if gain.low <= 0 and advise:
            longer = "longer training (--minutes, --epochs), " if may_train_longer else ""
            lines.append(
                f"this may be chance. Try {longer}larger images (--image-size, --train-size) or more photographs of "
                "each individual or class. With more held out (--holdout), smaller differences can be told"
            )
        return lines

    def state(self) -> dict[str, Any]:
        """What a resumed training must know."""
        scores = {"start": self._start, "highest": self._highest, "latest": self.last}
        return {"overtaken": self.overtaken, **{name: _packed(one) for name, one in scores.items()}}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.overtaken = state["overtaken"]
        self._start, self._highest, self.last = (_unpacked(state[name]) for name in ("start", "highest", "latest"))


def _packed(scores: Scores | None) -> dict[str, Any] | None:
    """Scores as plain values and tensors, which torch loads without running code."""
    if scores is None:
        return None
    groups = [str(group) for group in scores.groups]
    per_item = torch.from_numpy(scores.per_item)
    return {"values": scores.values, "by": scores.by, "size": scores.size, "per_item": per_item, "groups": groups}


def _unpacked(packed: dict[str, Any] | None) -> Scores | None:
    if packed is None:
        return None
    arrays = {"per_item": packed["per_item"].numpy(), "groups": np.asarray(packed["groups"])}
    return Scores(values=packed["values"], by=packed["by"], size=packed["size"], **arrays)
