"""Check the table and the photographs of a folder of classes; report every fault, and train nothing."""

from pathlib import Path

from noseprint.cleaning.options import CleaningOptions, run_cleaning

HERE = Path(__file__).resolve().parent


def main(options: CleaningOptions) -> None:
    """Read everything, and say how many images and classes there are."""
    from noseprint.inspection.check_classes import check_classes

    print(check_classes(options.data, columns=options.columns), flush=True)


if __name__ == "__main__":
    run_cleaning(main, family=HERE.parent)
