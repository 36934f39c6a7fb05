"""Train the student, a small network. Four fifths of its target are the label, a fifth is the teachers' prediction.

With --small its target is the label, since teachers did not raise the accuracy of that student.
"""

from dataclasses import replace
from pathlib import Path

from model import BACKBONE, SMALL_BACKBONE

from noseprint.command_line import run
from noseprint.tasks.student_options import StudentOptions

HERE = Path(__file__).resolve().parent
FULL = StudentOptions(
    data=HERE.parent / "data",
    backbone=BACKBONE,
    image_size=224,
    hidden=1280,
    dropout=0.2,
    targets="argmax",
    epochs=20,
    batch_size=256,
    optimizer="radam",
    lr=1e-3,
    warmup=0.0,
    balance="oversample",
    mixing="cutmix",
    smoothing=0.0,
)
SMALL = replace(
    FULL,
    run="small",
    small=True,
    backbone=SMALL_BACKBONE,
    image_size=192,
    train_size=192,
    hidden=None,
    pooling="own",
    epochs=14,
    minutes=45,
    batch_size=32,
    optimizer="adamw",
    lr=5e-4,
    warmup=0.05,
    targets="labels",
    balance="none",
    mixing="none",
)


def main(options: StudentOptions) -> None:
    """Train, and leave the weights in results/."""
    import dataset  # here, not above: torch takes seconds to load, and --help does not need it
    import torch
    from model import build_model

    from noseprint.data.prepared import read_prepared
    from noseprint.inference.out_of_fold import teacher_probabilities
    from noseprint.tasks.classification import ClassificationTask
    from noseprint.tasks.distillation import soft_labels
    from noseprint.training.fit import fit

    prepared = read_prepared(HERE.parent / "prepare" / "results" / options.run)
    train, teachers = prepared.split("train"), HERE.parent / "teacher" / "results" / options.run
    targets = None
    if options.targets != "labels":
        predicted, argmax = teacher_probabilities(prepared, teachers), options.targets == "argmax"
        targets = soft_labels(predicted, train.labels, train.classes, share=options.soft_share, argmax=argmax)
    torch.manual_seed(options.seed)
    network = build_model(
        train.classes,
        options.backbone or BACKBONE,
        image_size=options.image_size,
        pooling=options.pooling,
        hidden=options.hidden,
        dropout=options.dropout,
        **options.start,
    )
    task = ClassificationTask(
        network,
        options=options,
        images=train,
        targets=targets,
        holdout=prepared.split("val"),
        training_transform=dataset.small_training_transform if options.small else dataset.training_transform,
        evaluation_transform=dataset.evaluation_transform,
        record_images=True,
    )
    fit(task, results=HERE / "results" / options.run, options=options)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
