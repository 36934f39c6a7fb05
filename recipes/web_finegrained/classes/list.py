"""List the classes to look at, which have few images or are in disorder: ../results/classes.csv. Nothing is dropped."""

from pathlib import Path

from noseprint.cleaning.options import CleaningOptions, run_cleaning

FAMILY = Path(__file__).resolve().parents[1]
FEW = 50
"""Images of a class."""
DISORDER = 0.5
"""A class is in disorder if less than this share of its images is predicted as it."""


def main(options: CleaningOptions) -> None:
    """Read what the step suspects found."""
    from noseprint.cleaning.class_list import write_class_list
    from noseprint.cleaning.find import load_found, read_images

    images, _ = read_images(options, options.results(FAMILY / "features") / "features.safetensors")
    found = load_found(options.results(FAMILY / "suspects") / "out_of_fold.npz")
    write_class_list(options.results(FAMILY) / "classes.csv", images, found, few=FEW, disorder=DISORDER)


if __name__ == "__main__":
    run_cleaning(main, family=FAMILY)
