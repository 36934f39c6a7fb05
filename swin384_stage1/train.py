"""Step 2: Swin-B/384 on labelled photographs and pseudo-identities, degraded in resolution."""

from dataclasses import replace
from pathlib import Path

from model import BACKBONE, SMALL_BACKBONE

from noseprint.command_line import run
from noseprint.tasks.embedding_options import Stage1Options

HERE = Path(__file__).resolve().parent
FULL = Stage1Options(data=HERE.parent / "data", backbone=BACKBONE, image_size=384, epochs=30, batch_size=32, lr=5e-5)
SMALL = replace(
    FULL,
    run="small",
    small=True,
    backbone=SMALL_BACKBONE,
    image_size=None,
    epochs=None,
    batch_size=64,
    lr=3e-4,
)


def main(options: Stage1Options) -> None:
    """Train, and leave the weights in results/."""
    import torch  # here, not above: it takes seconds to load, and --help does not need it
    from dataset import cropped_transform, evaluation_transform, training_tables, training_transform
    from model import build_model

    from noseprint.tasks.embedding import EmbeddingTask
    from noseprint.training.fit import fit

    labelled, pseudo = training_tables(options.data, run=options.run, pseudo=options.pseudo)
    torch.manual_seed(options.seed)
    network = build_model(options.backbone, image_size=options.image_size, **options.start)
    task = EmbeddingTask(
        network,
        options=options,
        labelled=labelled,
        pseudo=pseudo,
        training_transform=cropped_transform if options.small else training_transform,
        evaluation_transform=evaluation_transform,
        larger=True,
    )
    fit(task, results=HERE / "results" / options.run, options=options)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
