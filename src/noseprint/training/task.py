"""The interface between `fit`, which knows how to train, and a task, which knows what is trained."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from torch.utils.data import Dataset

from noseprint.data.datasets import Sample
from noseprint.data.samplers import Batches
from noseprint.distributed import World
from noseprint.metrics.bootstrap import Score, bootstrap_difference
from noseprint.models.network import Network
from noseprint.training.fit_options import OptimizerName


@dataclass(frozen=True)
class Part:
    """Weights that learn at the same rate: `lr_scale` times the learning rate of the step."""

    name: str
    module: nn.Module
    lr_scale: float = 1.0


@dataclass(frozen=True)
class Phase:
    """A stretch of a training, with a warm-up and a schedule of its own.

    share: its share of the steps. trains: names of the parts that learn; None: all of them. lr: the peak learning rate;
    None: that of the options. optimizer: likewise. An optimizer keeps its state from one of its phases to the next.
    """

    share: float
    trains: tuple[str, ...] | None = None
    lr: float | None = None
    optimizer: OptimizerName | None = None


@dataclass(frozen=True)
class Scores:
    """How good a network is on the hold-out.

    values: scores by name, for the log. by: the name of the score that decides which weights are kept; higher is
    better. size: a text that says how much is held out. per_item: (N,) that score of each held-out item; their mean is
    the score, in 0..1. groups: (N,) the group of each item. The items of one group, such as the photographs of an
    individual, are not independent.
    """

    values: dict[str, float]
    by: str
    size: str
    per_item: npt.NDArray[np.float64]
    groups: npt.NDArray[np.str_]

    def gain_over(self, before: "Scores") -> Score:
        """The difference to the scores of the same items before, with its 95 % interval, paired over groups."""
        return bootstrap_difference(self.per_item, before.per_item, self.groups, seed=0)


class Task(ABC):
    """What a training is about: its data, its loss, what is trained, and which weights are kept.

    `fit` calls `prepare` first, on every rank; everything else may rely on it.
    """

    network: Network
    """Trained, averaged and kept."""
    criterion: nn.Module
    """The loss's own weights, such as class centres. They are trained and resumed, but not kept with the network."""

    @abstractmethod
    def prepare(self, world: World, results: Path) -> None:
        """Read, check and split the data. Raises NoseprintError if they cannot be trained on."""

    @abstractmethod
    def dataset(self) -> Dataset[Sample]:
        """The training samples, by (step, row)."""

    @property
    @abstractmethod
    def epoch_steps(self) -> int:
        """Steps of an epoch."""

    @abstractmethod
    def batches(self, *, steps: int, first_step: int) -> Batches:
        """The batches `first_step` to `steps` of the training, of this rank."""

    def begin_step(self, step: int) -> None:  # noqa: B027 - most tasks need nothing here
        """Called before the loss of update number `step` (from 0), for what changes with the step."""

    @abstractmethod
    def loss(self, forward: Callable[..., Tensor], batch: Sample) -> Tensor:
        """The loss of a batch, a scalar.

        forward: call this in place of the network; it may be compiled, or work in chunks. Under torchrun `batch` is
        this rank's share; the loss must be that of the whole batch, over rows that `distributed.gather` has collected.
        torch's generator has been seeded by (seed, step, rank): random layers, and a task that mixes images, draw from
        it.
        """

    def parts(self) -> Sequence[Part]:
        """What is trained, and at which rate."""
        return Part("network", self.network), Part("criterion", self.criterion)

    def phases(self) -> Sequence[Phase]:
        """What is trained when. Only a training with a given number of steps can have more than one phase."""
        return (Phase(1.0),)

    @abstractmethod
    def score(self, network: Network, *, untrained: bool = False) -> Scores | None:
        """The scores of the network, on rank 0; None on the other ranks, and if nothing is held out.

        Every rank calls it. untrained: they are the weights that the training starts from. Raises NoseprintError for
        other weights that are not worth keeping.
        """

    @abstractmethod
    def header(self) -> dict[str, str]:
        """What the weights file says of its training. Called after `score`, for the weights that are kept."""

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """What must not change, besides the options, between the start of a training and its resume."""

    data_settings: frozenset[str] = frozenset()
    """The names in `settings` that change when broken photographs are left out."""

    @abstractmethod
    def describe(self) -> str:
        """What is trained on, in a line."""

    @abstractmethod
    def identify(self, rows: Sequence[int]) -> list[tuple[str, Path]]:
        """The target and the photograph of each row of the dataset, for messages."""
