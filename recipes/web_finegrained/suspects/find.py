"""Find wrong labels: ../results/suspects.csv, decisions.jsonl, labels.csv, summary.txt and summary.json."""

from pathlib import Path

from noseprint.cleaning.options import CleaningOptions, run_cleaning

HERE = Path(__file__).resolve().parent
FAMILY = HERE.parent


def main(options: CleaningOptions) -> None:
    """Judge each label by classifiers that have not seen it; decide what the training leaves out."""
    from noseprint.cleaning.find import find_suspects, read_images
    from noseprint.cleaning.trained_folds import read_trained_folds

    images, outputs = read_images(options, options.results(FAMILY / "features") / "features.safetensors")
    trained = None
    if options.trained_rounds:
        folds = options.results(FAMILY / "folds")
        trained = read_trained_folds(images, results=folds, folds=options.folds, rounds=options.trained_rounds)
    results, own = options.results(FAMILY), options.results(HERE)
    find_suspects(images, outputs, options=options, results=results, own=own, trained=trained)


if __name__ == "__main__":
    run_cleaning(main, family=FAMILY)
