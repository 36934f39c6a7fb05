"""Step 3: Swin-B/224 from its own stage 1, with the degradation of the test photographs."""

from dataclasses import dataclass, replace
from pathlib import Path

from noseprint.command_line import run
from noseprint.losses import LossName
from noseprint.training.fit_options import FitOptions, require_same_holdout

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Options(FitOptions):
    """Step 3: Swin-B/224 from its own stage 1, with the degradation of the test photographs."""

    backbone: str | None = None
    """timm name.tag that the start weights must be of. None: whatever they are of."""
    image_size: int | None = None
    """Side of the square input in pixels. None: that of the start weights."""
    train_size: int | None = None
    """Side of the training images. None: that of the input; smaller ones train a convolutional backbone faster."""
    loss: LossName = "supcon"
    """supcon, batch-hard triplet, arcface or softmax (a classifier of the pooled feature); +smoothing adds CGD's."""
    temperature: float = 0.07
    """Of supcon."""
    pseudo: bool = True
    """Train on the pseudo-identities of pseudo_produce too."""
    start_from: Path | None = None
    """Weights to start from. None: those that swin224_stage1 left in the same run."""


FULL = Options(data=HERE.parent / "data", epochs=20, batch_size=72, lr=3e-5)
SMALL = replace(FULL, run="small", small=True, train_size=128, epochs=3, batch_size=64, lr=1e-4)


def main(options: Options) -> None:
    """Train, and leave the weights in results/."""
    import torch  # here, not above: it takes seconds to load, and wrong options are told without it
    from dataset import evaluation_transform, training_tables, training_transform

    from noseprint.losses.ladder import build_loss
    from noseprint.models.weights import load_network
    from noseprint.training.fit import fit

    torch.manual_seed(options.seed)
    labelled, pseudo = training_tables(options.data, run=options.run, pseudo=options.pseudo)
    stage1 = HERE.parent / "swin224_stage1" / "results" / options.run / "best.safetensors"
    start = options.start_from or stage1
    network = load_network(start, backbone=options.backbone, image_size=options.image_size)
    require_same_holdout(start, options)
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
