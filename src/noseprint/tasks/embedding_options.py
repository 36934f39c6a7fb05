"""Options of a recipe that trains an embedding, known without torch."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from noseprint.errors import NoseprintError
from noseprint.losses import LossName
from noseprint.models.weights_header import read_header
from noseprint.training.fit_options import FitOptions, check_side


@dataclass(frozen=True)
class EmbeddingOptions(FitOptions):
    """Options of a recipe that trains an embedding; its train.py sets the defaults."""

    backbone: Annotated[str | None, tyro.conf.arg(aliases=["--trunk"])] = None
    """timm name.tag of the backbone. None: that of the start weights."""
    image_size: int | None = None
    """Side of the square input in pixels. None: that of the start weights in stage 2, otherwise the one at which the
    untrained network finds your training photographs best."""
    train_size: int | None = None
    """Side of the training images. None: that of the input; with --small, about three quarters of it, if the backbone
    takes any size."""
    loss: LossName = "supcon"
    """supcon, batch-hard triplet, arcface or softmax (a classifier of the pooled feature); +smoothing adds CGD's
    auxiliary classifier."""
    temperature: float = 0.07
    """Temperature of supcon."""
    images_per_identity: int = 4
    """Images of each identity in a batch."""
    holdout: float = 0.05
    """Share of the identities that are never trained on and score the network. At least 32 or a fifth of all are held
    out, whichever is fewer; in any case at least 8 and at most a third. 0: train on all; then nothing shows how good
    the network is."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        if not 0 < self.temperature < math.inf:
            raise NoseprintError(f"--temperature {self.temperature}: must be above 0 and finite")
        for name in ("image_size", "train_size"):
            check_side(name, getattr(self, name))
        if self.images_per_identity < 2:
            raise NoseprintError(f"--images-per-identity {self.images_per_identity}: must be at least 2")


@dataclass(frozen=True)
class Stage1Options(EmbeddingOptions):
    """Options of a recipe that also trains on pseudo-identities."""

    pseudo: bool = True
    """Also train on the pseudo-identities that pseudo_produce found."""


@dataclass(frozen=True)
class Stage2Options(Stage1Options):
    """Options of a recipe that continues the training of another one."""

    start_from: Path | None = None
    """Weights to start from. None: those that stage 1 of this network left in the same run."""


def require_same_holdout(start: Path, options: EmbeddingOptions) -> None:
    """Refuse to hold out identities that the weights in `start` have been trained on.

    A larger share holds out the same identities and more (`split_holdout`), so the stage before must have held out at
    least as large a share. With the same share, version 0.1 held out fewer.
    """
    from noseprint.data.holdout import held_out_fewer  # noqa: PLC0415 - takes a second to load
    from noseprint.data.tables import read_train  # noqa: PLC0415

    header = read_header(start)
    share = header.holdout_share
    if share is not None and share < options.holdout:
        raise NoseprintError(
            f"{start} was trained with --holdout {share}, on identities that --holdout {options.holdout} would score "
            f"as unseen: train it again, or pass --holdout {share}"
        )
    if share and options.holdout and header.version.startswith("0.1."):
        identities = read_train(options.data, missing_ok=True).identities
        if held_out_fewer(identities, share=share, recorded=header.extra.get("held_out")):
            raise NoseprintError(
                f"{start} was trained with noseprint {header.version}, which held out fewer identities, so on some "
                "that are held out now: train it again, or continue with that version"
            )
