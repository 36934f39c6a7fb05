"""Train a teacher on all folds but one, and classify the images of that one with it: results/RUN/foldF/.

A teacher never sees the hold-out. Its predictions for its own training images would be little more than their labels.
"""

from dataclasses import replace
from pathlib import Path

from model import BACKBONE, SMALL_BACKBONE

from noseprint.command_line import run
from noseprint.tasks.student_options import TeacherOptions

HERE = Path(__file__).resolve().parent
FULL = TeacherOptions(
    data=HERE.parent / "data",
    backbone=BACKBONE,
    image_size=240,
    epochs=20,
    batch_size=160,
    optimizer="radam",
    lr=1e-3,
    warmup=0.0,
    balance="oversample",
    mixing="cutmix",
    smoothing=0.0,
    holdout=0.0,  # its own fold scores it, after the training
)
SMALL = replace(
    FULL,
    run="small",
    small=True,
    backbone=SMALL_BACKBONE,
    image_size=192,
    epochs=6,
    minutes=45,
    batch_size=32,
    optimizer="adamw",
    lr=5e-4,
    warmup=0.05,
    balance="none",
    mixing="none",
    smoothing=0.1,
)


def main(options: TeacherOptions) -> None:
    """Train, then classify the images of the fold."""
    import dataset  # here, not above: torch takes seconds to load, and --help does not need it
    import torch
    from model import build_model

    from noseprint.data.prepared import read_prepared
    from noseprint.inference.out_of_fold import judge_fold
    from noseprint.tasks.classification import ClassificationTask
    from noseprint.training.fit import fit

    prepared = read_prepared(HERE.parent / "prepare" / "results" / options.run)
    train, own = prepared.fold(options.fold)
    results = options.results(HERE)
    torch.manual_seed(options.seed)
    network = build_model(
        prepared.images.classes,
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
        training_transform=dataset.small_training_transform if options.small else dataset.training_transform,
        evaluation_transform=dataset.evaluation_transform,
        record_images=True,
    )
    fit(task, results=results, options=options)
    judge_fold(prepared.split("train"), own, options=options, results=results, transform=dataset.evaluation_transform)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
