"""Compute what b5 answers: results/holdout.safetensors, test.safetensors, unlabelled.safetensors."""

from pathlib import Path

from noseprint.inference.infer_options import MemberInferOptions, run_member_infer

HERE = Path(__file__).resolve().parent


def main(options: MemberInferOptions) -> None:
    """Write logits and features of the images that were held out, of test and of unlabelled, or of a folder."""
    from dataset import evaluation_transform  # here, not above: torch takes seconds to load

    from noseprint.cleaning.label_files import cleaned_table
    from noseprint.inference.infer_classes import infer_classes

    labels = options.cleaned_labels(HERE.parent / "results" / options.run)
    infer_classes(
        HERE / "results" / options.run,
        options=options,
        table=None if options.images else cleaned_table(options.data, columns=options.columns, labels=labels),
        transform=evaluation_transform,
    )


if __name__ == "__main__":
    run_member_infer(main, folder=HERE)
