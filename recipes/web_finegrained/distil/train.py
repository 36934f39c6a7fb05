"""The student: one network that learns what the members answer together, also of unlabelled images.

The members were trained on most of these images and their labels, so they are surer of them, and of wrong labels among
them, than of images that they have never seen.
"""

from dataclasses import replace
from pathlib import Path

from model import BACKBONE, SMALL_BACKBONE

from noseprint.command_line import run
from noseprint.tasks.ensemble_options import DistilOptions

HERE = Path(__file__).resolve().parent
FULL = DistilOptions(
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
    smoothing=0.0,  # the targets are soft
)
SMALL = replace(  # as the small members
    FULL,
    run="small",
    small=True,
    backbone=SMALL_BACKBONE,
    image_size=192,
    train_size=192,
    epochs=14,
    minutes=45,
    batch_size=32,
    chunk_size=None,
    optimizer="adamw",
    lr=5e-4,
    sgd_share=0.0,
    weight_decay=0.01,
)


def main(options: DistilOptions) -> None:
    """Train, and leave the weights in results/."""
    import dataset  # here, not above: torch takes seconds to load, and --help does not need it
    import torch
    from model import build_model

    from noseprint.cleaning.label_files import cleaned_table
    from noseprint.data.class_tables import hold_out
    from noseprint.devices import choose_device
    from noseprint.inference.cached_outputs import member_weights, views_of_members
    from noseprint.inference.ensemble import mean_answers
    from noseprint.tasks.classification import ClassificationTask
    from noseprint.tasks.distillation import half_labels, with_unlabelled
    from noseprint.training.fit import fit

    results, labels = HERE / "results" / options.run, options.cleaned_labels(HERE.parent / "results" / options.run)
    table = cleaned_table(options.data, columns=options.columns, labels=labels)
    train, holdout = hold_out(table, options.holdout)
    images = with_unlabelled(train, table.split("unlabelled")) if options.targets == "members" else train
    members = member_weights(HERE.parent, options.member_names, run=options.run)
    images, (seen,) = views_of_members(
        results / "members",
        members,
        images,
        transform=dataset.evaluation_transform,
        skip_bad=options.skip_bad,
        device=choose_device(options.device),
        workers=options.workers,
    )
    targets = mean_answers(seen, classes=train.classes)
    if options.targets == "half":
        targets = half_labels(targets, images.labels, train.classes)
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
        images=images,
        targets=targets,
        holdout=holdout,
        training_transform=dataset.small_training_transform if options.small else dataset.training_transform,
        evaluation_transform=dataset.evaluation_transform,
    )
    fit(task, results=results, options=options)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
