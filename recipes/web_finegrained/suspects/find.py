"""Find wrong labels: ../results/suspects.csv, decisions.jsonl, labels.csv and summary.txt."""

from pathlib import Path

from noseprint.cleaning.options import CleaningOptions, run_cleaning

HERE = Path(__file__).resolve().parent
FAMILY = HERE.parent


def main(options: CleaningOptions) -> None:
    """Judge each label by classifiers that have not seen it; decide what the training leaves out."""
    from noseprint.cleaning.find import find_suspects, read_images

    images, outputs = read_images(options, options.results(FAMILY / "features") / "features.safetensors")
    find_suspects(images, outputs, options=options, results=options.results(FAMILY), own=options.results(HERE))


if __name__ == "__main__":
    run_cleaning(main, family=FAMILY)
