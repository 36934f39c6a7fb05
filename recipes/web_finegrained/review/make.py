"""Make the page on which a person decides about the suspects: ../results/review.html."""

from pathlib import Path

from noseprint.cleaning.options import CleaningOptions, run_cleaning

FAMILY = Path(__file__).resolve().parents[1]


def main(options: CleaningOptions) -> None:
    """Show the suspects about which nobody has decided, after a random sample."""
    from noseprint.cleaning.find import load_found, read_images
    from noseprint.files import atomic_write
    from noseprint.reporting.review_page import render_review, review_data

    images, outputs = read_images(options, options.results(FAMILY / "features") / "features.safetensors")
    found = load_found(options.results(FAMILY / "suspects") / "out_of_fold.npz")
    log = options.results(FAMILY) / "decisions.jsonl"
    html = render_review(review_data(images, outputs, found, options=options, log=log))
    page = options.results(FAMILY) / "review.html"
    with atomic_write(page) as part:
        part.write_text(html, encoding="utf-8")


if __name__ == "__main__":
    run_cleaning(main, family=FAMILY)
