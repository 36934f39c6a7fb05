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
    judged = None
    if options.network == "trained":
        from noseprint.cleaning.trained_folds import judge_by_trained_folds

        folds = options.results(FAMILY / "folds")
        judged = judge_by_trained_folds(images, results=folds, folds=options.folds, rounds=options.rounds)
    results, own = options.results(FAMILY), options.results(HERE)
    find_suspects(images, outputs, options=options, results=results, own=own, judged=judged)


if __name__ == "__main__":
    run_cleaning(main, family=FAMILY)
