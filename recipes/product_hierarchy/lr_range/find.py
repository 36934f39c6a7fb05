"""Look for the learning rate of one network, --part, in a short training whose rate rises until the loss diverges.

Each step's loss is in results/RUN/NAME/lr_range.csv, and the suggestions are in lr_range.json beside it. The options
are those of members/train.py, and so are their defaults.
"""

from dataclasses import replace
from pathlib import Path

from model import BACKBONES

from noseprint.command_line import run
from noseprint.tasks.part_options import PartOptions

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


def main(options: PartOptions) -> None:
    """Run the test, and write the curve to results/."""
    import dataset  # here, not above: torch takes seconds to load, and --help does not need it
    import torch
    from model import build_model

    from noseprint.data.class_tables import hold_out
    from noseprint.data.filtered import read_filtered
    from noseprint.tasks.classification import ClassificationTask
    from noseprint.training.lr_range import find_rates, write_curves

    backbone, results = options.backbone_of(BACKBONES), options.results(HERE)
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
    task = ClassificationTask(
        network,
        options=options,
        images=train,
        holdout=holdout,
        training_transform=dataset.small_training_transform if options.small else dataset.training_transform,
        evaluation_transform=dataset.evaluation_transform,
        record_images=True,
    )
    curve = find_rates(task, results=results, options=options)
    write_curves(results, {options.part: curve})
    found = ", ".join(f"{name} {rate:.1e}" for name, rate in curve.suggestions().items())
    print(f"{options.part}: {found}", flush=True)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
