"""Step 3: EfficientNet-B7 Noisy Student, continued from stage 1, with the test photographs' degradation."""

from dataclasses import replace
from pathlib import Path

from noseprint.command_line import run
from noseprint.tasks.embedding_options import Stage2Options, require_same_holdout

HERE = Path(__file__).resolve().parent
FULL = Stage2Options(data=HERE.parent / "data", epochs=20, batch_size=60, lr=3e-5)
SMALL = replace(FULL, run="small", small=True, epochs=None, batch_size=64, lr=1e-4)


def main(options: Stage2Options) -> None:
    """Train, and leave the weights in results/."""
    import torch  # here, not above: it takes seconds to load, and --help does not need it
    from dataset import evaluation_transform, training_tables, training_transform

    from noseprint.models.weights import load_supcon
    from noseprint.tasks.embedding import EmbeddingTask
    from noseprint.training.fit import fit

    labelled, pseudo = training_tables(options.data, run=options.run, pseudo=options.pseudo)
    start = options.start_from or HERE.parent / "b7ns_stage1" / "results" / options.run / "best.safetensors"
    require_same_holdout(start, options)
    torch.manual_seed(options.seed)
    network = load_supcon(start, backbone=options.backbone, image_size=options.image_size)
    task = EmbeddingTask(
        network,
        options=options,
        labelled=labelled,
        pseudo=pseudo,
        training_transform=training_transform,
        evaluation_transform=evaluation_transform,
        scoring_transform=training_transform,
    )
    fit(task, results=HERE / "results" / options.run, options=options)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
