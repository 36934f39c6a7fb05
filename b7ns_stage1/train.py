"""Step 2: EfficientNet-B7 Noisy Student on labelled photographs and pseudo-identities, degraded in resolution."""

from dataclasses import dataclass, replace
from pathlib import Path

from model import BACKBONE, SMALL_BACKBONE

from noseprint.command_line import run
from noseprint.losses import LossName
from noseprint.training.fit_options import FitOptions

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Options(FitOptions):
    """Step 2: EfficientNet-B7 Noisy Student on labelled photographs and pseudo-identities, degraded in resolution."""

    backbone: str = BACKBONE
    """timm name.tag of the backbone."""
    image_size: int = 224
    """Side of the square input in pixels."""
    train_size: int | None = None
    """Side of the training images. None: that of the input; smaller ones train a convolutional backbone faster."""
    loss: LossName = "supcon"
    """supcon, batch-hard triplet, arcface or softmax (a classifier of the pooled feature); +smoothing adds CGD's."""
    temperature: float = 0.07
    """Of supcon."""
    pseudo: bool = True
    """Train on the pseudo-identities of pseudo_produce too."""


FULL = Options(data=HERE.parent / "data", epochs=30, batch_size=32, lr=5e-5)
SMALL = replace(
    FULL,
    run="small",
    small=True,
    backbone=SMALL_BACKBONE,
    image_size=192,
    train_size=128,
    epochs=3,
    batch_size=64,
    lr=3e-4,
)


def main(options: Options) -> None:
    """Train, and leave the weights in results/."""
    import torch  # here, not above: it takes seconds to load, and wrong options are told without it
    from dataset import evaluation_transform, training_tables, training_transform
    from model import build_model

    from noseprint.losses.ladder import build_loss
    from noseprint.training.fit import fit

    torch.manual_seed(options.seed)
    labelled, pseudo = training_tables(options.data, run=options.run, pseudo=options.pseudo)
    network = build_model(options.backbone, image_size=options.image_size, pretrained=options.pretrained)
    loss = build_loss(
        options.loss,
        network=network,
        labelled=labelled,
        pseudo=pseudo,
        holdout=options.holdout,
        temperature=options.temperature,
    )
    fit(
        network,
        step=loss,
        criterion=loss,
        labelled=labelled,
        pseudo=pseudo,
        training_transform=training_transform(network.training_size(options.train_size)),
        evaluation_transform=evaluation_transform(network.image_size),
        results=HERE / "results" / options.run,
        options=options,
    )


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
