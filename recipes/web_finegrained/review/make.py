"""Make the page on which a person decides about the suspects: ../results/review.html."""

import shutil
from pathlib import Path

from noseprint.cleaning.options import CleaningOptions, run_cleaning

HERE = Path(__file__).resolve().parent
FAMILY = HERE.parent


def main(options: CleaningOptions) -> None:
    """Show the suspects about which nobody has decided, after a random sample."""
    from noseprint.cleaning.find import load_found
    from noseprint.data.class_tables import read_classes
    from noseprint.files import atomic_write
    from noseprint.inference.classify import read_outputs
    from noseprint.reporting.review_page import render_review, review_data

    images = read_classes(options.data, columns=options.columns).split("train")
    outputs = read_outputs(options.results(FAMILY / "features") / "features.safetensors")
    found = load_found(options.results(FAMILY / "suspects") / "out_of_fold.npz")
    log = options.results(FAMILY) / "decisions.jsonl"
    page = options.results(HERE) / "review.html"
    with atomic_write(page) as part:
        part.write_text(render_review(review_data(images, outputs, found, options=options, log=log)), encoding="utf-8")
    shutil.copyfile(page, options.results(FAMILY) / "review.html")


if __name__ == "__main__":
    run_cleaning(main, family=FAMILY)
