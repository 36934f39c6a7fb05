"""Train the better student a little longer, without mixing, and average snapshots: first without the hold-out.

That is results/RUN/proof/best.safetensors. If it scores well enough, results/RUN/best.safetensors uses all images.
"""

from dataclasses import replace
from pathlib import Path

from noseprint.command_line import run
from noseprint.tasks.student_options import FinishOptions

HERE = Path(__file__).resolve().parent
FULL = FinishOptions(
    data=HERE.parent / "data",
    epochs=4,
    snapshots=4,
    batch_size=256,
    optimizer="radam",
    lr=1e-6,
    schedule="multi-step",
    milestones=(),  # the rate stays as it is
    warmup=0.0,
    balance="oversample",
    smoothing=0.0,
    eval_every=100,  # the snapshots are scored
)
SMALL = replace(
    FULL,
    run="small",
    small=True,
    epochs=2,
    batch_size=32,
    optimizer="adamw",
    lr=1e-4,  # enough to learn from the hold-out's images, too
    schedule="cosine",
    balance="none",
)


def main(options: FinishOptions) -> None:
    """Train without the hold-out, then on all images if the scores allow it."""
    import dataset  # here, not above: torch takes seconds to load, and --help does not need it

    from noseprint.data.prepared import read_prepared
    from noseprint.inference.out_of_fold import require_unseen
    from noseprint.models.classifier import ClassifierNet
    from noseprint.tasks.classification import ClassificationTask
    from noseprint.tasks.finishing import best_student, finish

    prepared = read_prepared(HERE.parent / "prepare" / "results" / options.run)
    family, train, val = HERE.parent, prepared.split("train"), prepared.split("val")
    students = {name: family / name / "results" / options.run / "best.safetensors" for name in options.student_names}
    student, line = best_student(students)
    require_unseen(students[student], val)
    print(line, flush=True)

    def make_task(network: ClassifierNet, chosen: FinishOptions, is_all: bool) -> ClassificationTask:
        return ClassificationTask(
            network,
            options=replace(chosen, holdout=0.0),
            images=prepared.labelled() if is_all else train,
            holdout=None if is_all else val,
            training_transform=dataset.small_training_transform if options.small else dataset.training_transform,
            evaluation_transform=dataset.evaluation_transform,
            record_images=True,
        )

    results = HERE / "results" / options.run
    print(finish(student, students[student], results=results, options=options, make_task=make_task), flush=True)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
