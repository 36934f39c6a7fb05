"""Options of trainings for the retrieval of instances, and their phases; known without torch."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from tyro.conf import Fixed, Suppress

from noseprint.command_line import check_run_name
from noseprint.data.instance_options import InRun, check_part
from noseprint.errors import NoseprintError
from noseprint.losses.margin_options import Margin
from noseprint.training.fit_options import FitOptions, OptimizerName, option
from noseprint.training.schedules import ScheduleName

PartName: TypeAlias = Literal["backbone", "head", "classifier"]
T = TypeVar("T")
ALL: tuple[PartName, ...] = ("backbone", "head", "classifier")


@dataclass(frozen=True, kw_only=True)
class TrainingPhase:
    """A stretch of a training, with data, a schedule and an optimizer of its own."""

    name: str
    """Names the phase's folder: letters, digits, "-" and "_"."""
    epochs: int
    lr: float
    """Peak learning rate of head and classifier."""
    trains: tuple[PartName, ...] = ALL
    """backbone: the backbones. head: the projection. classifier: the centres of the identities."""
    backbone_lr_scale: float = 1 / 80
    """The backbone learns at this share of `lr`."""
    layer_decay: float = 1.0
    """Each layer of the backbone learns at this share of the rate of the layer above it."""
    size: int | None = None
    """Side of the network's input in pixels. None: as before."""
    train_size: int | None = None
    """Side of the training images: a smaller one takes less time. None: that of the input."""
    stride: int | None = None
    """Pixels from one patch of a vision transformer to the next. None: as before."""
    domains: tuple[str, ...] | None = None
    """Learn from these domains alone. None: from all."""
    batch_size: int = 32
    margin: Margin = field(default_factory=Margin)
    optimizer: OptimizerName = "adamw"
    weight_decay: float = 0.01
    schedule: ScheduleName = "cosine"
    milestones: tuple[float, ...] = (0.6, 0.8)
    warmup: float = 0.05

    def __post_init__(self) -> None:
        """Refuse impossible values; `FitOptions` checks those that it has, too."""
        where = f"phase {self.name!r}"
        if not self.name or not all(character.isalnum() or character in "-_" for character in self.name):
            raise NoseprintError(f"{where}: name it with letters, digits, - and _")
        if not self.trains or set(self.trains) - set(ALL):
            raise NoseprintError(f"{where} trains {', '.join(self.trains)}: give one or more of {', '.join(ALL)}")
        for name in ("backbone_lr_scale", "layer_decay"):
            if not 0 < getattr(self, name) <= 1:
                raise NoseprintError(f"{where}: {name} {getattr(self, name)}: must be above 0 and at most 1")
        for name in ("size", "train_size"):
            side = getattr(self, name)
            if side is not None and not 16 <= side <= 4096:
                raise NoseprintError(f"{where}: {name} {side}: must be in 16..4096 pixels")

    def require_domains(self, known: Iterable[str]) -> None:
        """Raise NoseprintError if the phase learns from a domain that is none of `known`."""
        if unknown := sorted(set(self.domains or ()) - set(known)):
            raise NoseprintError(
                f"phase {self.name!r} learns from the domain {', '.join(unknown)}, but the training images are of "
                f"{', '.join(sorted(set(known)))}: correct it in phases.py"
            )


class BackboneFolder(InRun):
    """What the options of all stages that train a backbone or its head share."""

    part: str

    def results(self, folder: Path) -> Path:
        """Where `folder` keeps the files of this backbone."""
        return super().results(folder) / self.part

    def choose(self, known: Mapping[str, T], name: str) -> T:
        """What `known` has under the value of the option `name`. Raises NoseprintError if it has nothing."""
        value = getattr(self, name)
        if value not in known:
            raise NoseprintError(f"{option(name)} {value}: there is none of this name; choose from {', '.join(known)}")
        return known[value]


@dataclass(frozen=True, kw_only=True)
class InstanceOptions(BackboneFolder, FitOptions):
    """Options of a training in phases; its train.py sets the defaults. What a phase says is not on the command line."""

    part: str
    """The backbone, as in frozen/."""
    method: str
    """The list of phases: one of those that phases.py names."""
    dim: int = 64
    """Size of the embedding."""
    dropout: float = 0.2
    """Share of the features that is set to zero while training."""
    cap: int = 100
    """An epoch shows at most this many images of an identity."""
    floor: int = 30
    """An epoch shows at least this many images of an identity; those with fewer are repeated."""

    pretrained: Suppress[Fixed[bool]] = False
    backbone_weights: Suppress[Fixed[Path | None]] = None
    epochs: Suppress[Fixed[int | None]] = 1
    steps: Suppress[Fixed[int | None]] = None
    batch_size: Suppress[Fixed[int]] = 32
    lr: Suppress[Fixed[float]] = 1e-3
    optimizer: Suppress[Fixed[OptimizerName]] = "adamw"
    weight_decay: Suppress[Fixed[float]] = 0.01
    schedule: Suppress[Fixed[ScheduleName]] = "cosine"
    milestones: Suppress[Fixed[tuple[float, ...]]] = (0.6, 0.8)
    warmup: Suppress[Fixed[float]] = 0.05
    cycles: Suppress[Fixed[int]] = 1
    snapshots: Suppress[Fixed[int]] = 0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        check_part(self.part)
        check_head(self.dim, self.dropout, cap=self.cap, floor=self.floor)

    def of(self, phase: TrainingPhase) -> "InstanceOptions":
        """The options of `fit` in a phase."""
        own = {each.name for each in fields(self)}
        return replace(self, **{name: value for name, value in vars(phase).items() if name in own})


@dataclass(frozen=True, kw_only=True)
class HeadOptions(BackboneFolder):
    """Options of the training of a projection on kept features; its train.py sets the defaults."""

    data: Path
    """Data folder, laid out as the README says."""
    part: str
    """The backbone, as in frozen/."""
    run: str = ""
    """Name of the run: files go to results/RUN; "" is results/ itself."""
    small: bool = False
    """Use the defaults for machines without a GPU."""
    dim: int = 64
    """Size of the embedding."""
    margin: Margin = field(default_factory=Margin)
    epochs: int
    """Length of the training in epochs."""
    lr: float
    """Peak learning rate."""
    weight_decay: float = 0.01
    batch_size: int = 256
    """Images per batch."""
    dropout: float = 0.2
    """Share of the features that is set to zero while training."""
    batch_norm: bool = False
    """Centre the features first, and divide each by its standard deviation."""
    start: Literal["whitening", "pca", "random"] = "whitening"
    """Where the projection starts."""
    cap: int = 100
    """An epoch shows at most this many images of an identity."""
    floor: int = 30
    """An epoch shows at least this many images of an identity; those with fewer are repeated."""
    seed: int = 0
    """Seed of new weights and batches."""
    skip_bad: bool = False
    """Has no effect, since no photograph is read here; train.sh passes it to every script."""
    restart: bool = False
    """Has no effect, since the head learns in a minute; train.sh passes it to every train.py."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_run_name(self.run)
        check_part(self.part)
        check_head(self.dim, self.dropout, cap=self.cap, floor=self.floor)
        for name, least in (("epochs", 1), ("batch_size", 2)):
            if getattr(self, name) < least:
                raise NoseprintError(f"{option(name)} {getattr(self, name)}: must be at least {least}")
        if not 0 < self.lr < math.inf:
            raise NoseprintError(f"--lr {self.lr}: must be above 0 and finite")
        if not 0 <= self.weight_decay < 1:
            raise NoseprintError(f"--weight-decay {self.weight_decay}: must be at least 0 and below 1")


def check_head(dim: int, dropout: float, *, cap: int, floor: int) -> None:
    """Raise NoseprintError for an impossible size of the embedding, dropout, cap or floor."""
    if not 2 <= dim <= 2**16:
        raise NoseprintError(f"--dim {dim}: must be in 2..{2**16}")
    if not 0 <= dropout < 1:
        raise NoseprintError(f"--dropout {dropout}: must be at least 0 and below 1")
    if not 1 <= floor <= cap:
        raise NoseprintError(f"--floor {floor}, --cap {cap}: give 1 <= floor <= cap")
