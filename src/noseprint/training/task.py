"""The interface between `fit`, which knows how to train, and a task, which knows what is trained."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn
from torch.utils.data import Dataset

from noseprint.data.datasets import Sample
from noseprint.data.samplers import Batches
from noseprint.distributed import World
from noseprint.models.network import Network


@dataclass(frozen=True)
class Part:
    """Weights that learn at the same rate: `lr_scale` times the learning rate of the step."""

    name: str
    module: nn.Module
    lr_scale: float = 1.0


@dataclass(frozen=True)
class Phase:
    """A stretch of a training, with a warm-up and a schedule of its own.

    trains: names of the parts that learn; None: all of them. lr: the peak learning rate; None: that of the options.
    """

    epochs: int
    trains: tuple[str, ...] | None = None
    lr: float | None = None


class Task(ABC):
    """What a training is about: its data, its loss, what is trained, and which weights are kept.

    `fit` calls `prepare` first, on every rank; everything else may rely on it.
    """

    network: Network
    """Trained, averaged and kept."""
    criterion: nn.Module
    """The loss's own weights, such as class centres. They are trained and resumed, but not kept with the network."""
    keep_by: str | None = None
    """The score by which the best weights are kept, higher is better; None: the last weights are kept."""
    tie: float = 0.0
    """Scores closer than this count as equal; of equal scores the later one wins."""

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

    @abstractmethod
    def loss(self, forward: Callable[..., Tensor], batch: Sample) -> Tensor:
        """The loss of a batch, a scalar.

        forward: call this in place of the network; it may be compiled, or work in chunks. Under torchrun `batch` is
        this rank's share; the loss must be that of the whole batch, over rows that `distributed.gather` has collected.
        """

    def parts(self) -> Sequence[Part]:
        """What is trained, and at which rate."""
        return Part("network", self.network), Part("criterion", self.criterion)

    def phases(self, epochs: int) -> Sequence[Phase]:
        """What is trained in which epochs; `epochs` is the option."""
        return (Phase(epochs),)

    @abstractmethod
    def score(self, network: Network) -> dict[str, float]:
        """Scores of the network by name, on rank 0; none on the other ranks, and none if nothing is held out.

        Every rank calls it. Raises NoseprintError for weights that are not worth keeping.
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
