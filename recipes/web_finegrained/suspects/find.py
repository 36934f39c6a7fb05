"""Find wrong labels: ../results/suspects.csv, decisions.jsonl and labels.csv."""

from pathlib import Path

from noseprint.cleaning.options import CleaningOptions, run_cleaning

HERE = Path(__file__).resolve().parent
FAMILY = HERE.parent


def main(options: CleaningOptions) -> None:
    """Judge each label by classifiers that have not seen it; decide what the training leaves out."""
    from noseprint.cleaning.find import find_suspects
    from noseprint.data.class_tables import read_classes
    from noseprint.inference.classify import read_outputs

    images = read_classes(options.data, columns=options.columns).split("train")
    outputs = read_outputs(options.results(FAMILY / "features") / "features.safetensors")
    find_suspects(images, outputs, options=options, results=options.results(FAMILY), own=options.results(HERE))


if __name__ == "__main__":
    run_cleaning(main, family=FAMILY)
