"""Member b5: EfficientNet-B5 on the cleaned labels, with strong augmentation; RAdam, then SGD."""

from dataclasses import replace
from pathlib import Path

from model import BACKBONE, SMALL_BACKBONE

from noseprint.command_line import run
from noseprint.tasks.classification_options import MemberOptions

HERE = Path(__file__).resolve().parent
FULL = MemberOptions(
    data=HERE.parent / "data",
    backbone=BACKBONE,
    image_size=380,
    epochs=30,
    batch_size=2000,  # of the method, for half a million images; with few thousand, take about 100
    chunk_size=25,
    optimizer="radam",
    lr=1e-3,
    sgd_share=0.5,
    sgd_lr=0.03,
    weight_decay=1e-4,
    balance="oversample",
    mixing="cutmix",
)
SMALL = replace(  # SGD at 0.03, CutMix and all of the augmentation need a longer training than this
    FULL,
    run="small",
    small=True,
    backbone=SMALL_BACKBONE,
    image_size=160,
    train_size=160,
    epochs=14,
    minutes=45,
    batch_size=32,
    chunk_size=None,
    optimizer="adamw",
    lr=5e-4,
    sgd_share=0.0,
    weight_decay=0.01,
    smoothing=0.1,
    balance="none",  # the answers favour rare classes instead, as far as that costs nothing on the hold-out
    mixing="none",
)


def main(options: MemberOptions) -> None:
    """Train, and leave the weights in results/."""
    import dataset  # here, not above: torch takes seconds to load, and --help does not need it
    import torch
    from model import build_model

    from noseprint.cleaning.label_files import training_images
    from noseprint.data.class_tables import hold_out
    from noseprint.tasks.classification import ClassificationTask
    from noseprint.training.fit import fit

    labels = options.cleaned_labels(HERE.parent / "results" / options.run)
    train, holdout = hold_out(training_images(options.data, columns=options.columns, labels=labels), options.holdout)
    torch.manual_seed(options.seed)
    network = build_model(
        train.classes,
        options.backbone or BACKBONE,
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
    )
    fit(task, results=HERE / "results" / options.run, options=options)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
