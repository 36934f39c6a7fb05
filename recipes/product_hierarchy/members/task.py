"""What train.py trains and find_rate.py tries: the numbers of the training, its images and its network."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from model import BACKBONES, build_model

from noseprint.tasks.part_options import PartOptions

if TYPE_CHECKING:
    from noseprint.tasks.classification import ClassificationTask

HERE = Path(__file__).resolve().parent
FULL = PartOptions(
    data=HERE.parent / "data",
    part="resnet50",
    image_size=224,
    epochs=18,
    schedule="restarts",
    cycles=3,
    snapshots=3,
    batch_size=64,
    optimizer="sgd",
    lr=0.01,
    weight_decay=1e-4,
    warmup=0.02,
    smoothing=0.0,
)
SMALL = replace(
    FULL,
    run="small",
    small=True,
    part="lite0",
    image_size=192,
    train_size=192,
    pooling="own",
    dropout=0.2,
    epochs=9,
    batch_size=32,
    optimizer="adamw",
    lr=5e-4,
    weight_decay=0.01,
    warmup=0.05,
)


def make_task(options: PartOptions) -> "ClassificationTask":
    """The task of one network, --part, on the images that filter.py has kept."""
    backbone = options.backbone_of(BACKBONES)

    import dataset  # here, not above: torch takes seconds to load, and --help does not need it
    import torch

    from noseprint.data.class_tables import hold_out
    from noseprint.data.filtered import read_filtered
    from noseprint.tasks.classification import ClassificationTask

    images = read_filtered(options.data, HERE.parent / "filter" / "results" / options.run)
    train, holdout = hold_out(images, options.holdout)
    torch.manual_seed(options.seed)
    network = build_model(
        images.classes,
        backbone,
        image_size=options.image_size,
        pooling=options.pooling,
        dropout=options.dropout,
        **options.start,
    )
    return ClassificationTask(
        network,
        options=options,
        images=train,
        holdout=holdout,
        training_transform=dataset.small_training_transform if options.small else dataset.training_transform,
        evaluation_transform=dataset.evaluation_transform,
        record_images=True,
    )
