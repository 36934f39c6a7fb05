"""Find training images that are no member of any class: results/not_members.csv, and ../results/decisions.jsonl."""

from pathlib import Path

from noseprint.cleaning.options import CleaningOptions, run_cleaning

HERE = Path(__file__).resolve().parent
FAMILY = HERE.parent


def main(options: CleaningOptions) -> None:
    """Look for images like those of --not-members and those that people marked. Without an example, all images stay."""
    from noseprint.cleaning.find import read_images
    from noseprint.cleaning.not_members import take_not_members_out
    from noseprint.inference.classify import read_outputs

    features = options.results(FAMILY / "features")
    images, outputs = read_images(options, features / "features.safetensors")
    examples = read_outputs(features / "examples.safetensors")
    log = options.results(FAMILY) / "decisions.jsonl"
    take_not_members_out(
        images, outputs, examples, options=options, log=log, out=options.results(HERE) / "not_members.csv"
    )


if __name__ == "__main__":
    run_cleaning(main, family=FAMILY)
