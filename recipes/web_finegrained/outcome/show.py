"""Say in a few lines what the cleaning found, and how good the members are on the images that were held out."""

from pathlib import Path

from noseprint.inference.infer_options import MemberInferOptions, run_member_infer

HERE = Path(__file__).resolve().parent
FAMILY = HERE.parent
MEMBERS = ("b4", "b5")


def main(options: MemberInferOptions) -> None:
    """Print the lines."""
    from noseprint.cleaning.outcome import outcome

    results = {name: FAMILY / name / "results" / options.run for name in MEMBERS}
    labels = options.cleaned_labels(FAMILY / "results" / options.run)
    print("\n".join(outcome(options.data, columns=options.columns, labels=labels, members=results)), flush=True)


if __name__ == "__main__":
    run_member_infer(main, folder=HERE)
