"""Train a head on the features of all members together: results/head.safetensors.

The members stay as they are. So each view of each image is computed once and kept, and then the head learns in seconds.
"""

from dataclasses import replace
from pathlib import Path

from noseprint.command_line import run
from noseprint.tasks.ensemble_options import FusionOptions

HERE = Path(__file__).resolve().parent
FULL = FusionOptions(
    data=HERE.parent / "data", views=4, epochs=20, batch_size=256, lr=1e-3, weight_decay=0.05, smoothing=0.2
)
SMALL = replace(FULL, run="small", small=True, batch_size=64, views=0)


def main(options: FusionOptions) -> None:
    """Compute the features, train, and leave the head in results/."""
    import dataset  # here, not above: torch takes seconds to load, and --help does not need it
    import torch
    from model import build_head

    from noseprint.cleaning.label_files import training_images
    from noseprint.data.class_tables import hold_out
    from noseprint.devices import choose_device
    from noseprint.inference.cached_outputs import member_weights, views_of_members
    from noseprint.inference.fusion_head import train_head, write_head

    results, labels = HERE / "results" / options.run, options.cleaned_labels(HERE.parent / "results" / options.run)
    train, _ = hold_out(training_images(options.data, columns=options.columns, labels=labels), options.holdout)
    members = member_weights(HERE.parent, options.member_names, run=options.run)
    train, views = views_of_members(
        results / "views",
        members,
        train,
        transform=dataset.training_transform if options.views else dataset.evaluation_transform,
        views=options.views or 1,
        skip_bad=options.skip_bad,
        device=choose_device(options.device),
        workers=options.workers,
    )
    torch.manual_seed(options.seed)
    head = build_head([of_member.features.shape[1] for of_member in views[0]], len(train.classes), kind=options.head)
    settings = ("epochs", "batch_size", "lr", "weight_decay", "smoothing", "seed")
    train_head(head, views, train.labels, classes=train.classes, **{name: getattr(options, name) for name in settings})
    write_head(results / "head.safetensors", head, classes=train.classes, members=members)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
