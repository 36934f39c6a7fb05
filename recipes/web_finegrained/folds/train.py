"""Train one of the networks that judge labels it has not seen: results/RUN/PART/out_of_fold.safetensors.

The training is short, since a network that is trained long learns the wrong labels, too.
"""

from dataclasses import replace
from pathlib import Path

from model import BACKBONE, IMAGE_SIZE, SMALL_BACKBONE, SMALL_IMAGE_SIZE

from noseprint.cleaning.fold_options import FoldOptions
from noseprint.command_line import run

HERE = Path(__file__).resolve().parent
FULL = FoldOptions(
    data=HERE.parent / "data",
    backbone=BACKBONE,
    image_size=IMAGE_SIZE,
    epochs=6,
    batch_size=64,
    lr=5e-4,
    dropout=0.3,
    holdout=0.0,  # the fold itself shows how good the network is
)
SMALL = replace(
    FULL, run="small", small=True, backbone=SMALL_BACKBONE, image_size=SMALL_IMAGE_SIZE, batch_size=32, lr=5e-4
)


def main(options: FoldOptions) -> None:
    """Train on the other folds, then classify the images of this one."""
    import torch  # here, not above: it takes seconds to load, and --help does not need it
    from dataset import evaluation_transform, training_transform
    from model import build_model

    from noseprint.cleaning.find import read_images
    from noseprint.cleaning.trained_folds import images_of_fold
    from noseprint.inference.out_of_fold import write_fold
    from noseprint.tasks.classification import ClassificationTask
    from noseprint.training.fit import fit

    results = options.results(HERE)
    images, _ = read_images(options, HERE.parent / "features" / "results" / options.run / "features.safetensors")
    train, own = images_of_fold(images, options, results=results.parent)
    torch.manual_seed(options.seed)
    network = build_model(
        options.backbone,
        classes=images.classes,
        image_size=options.image_size,
        pooling=options.pooling,
        dropout=options.dropout,
        **options.start,
    )
    task = ClassificationTask(
        network,
        options=options,
        images=train,
        training_transform=training_transform,
        evaluation_transform=evaluation_transform,
    )
    fit(task, results=results, options=options)
    write_fold(images, own, options=options, results=results, transform=evaluation_transform)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
