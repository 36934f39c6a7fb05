"""Classify the test images with the chosen networks: ../results/RUN/prediction.csv and submission.csv.

With --images FOLDER --out FILE, classify the photographs in FOLDER instead.
"""

from dataclasses import replace
from pathlib import Path

from noseprint.command_line import run
from noseprint.inference.hierarchy_options import HierarchyPredictOptions

HERE = Path(__file__).resolve().parent
FAMILY = HERE.parent
FULL = HierarchyPredictOptions(data=FAMILY / "data")
SMALL = replace(FULL, run="small", small=True)


def main(options: HierarchyPredictOptions) -> None:
    """Write the answers, and print how many are right if the classes are known."""
    import dataset  # here, not above: torch takes seconds to load, and --help does not need it

    from noseprint.inference.hierarchy_answers import answer_images

    views = (dataset.evaluation_transform, dataset.mirrored_transform)[: 1 + options.tta]
    for line in answer_images(options, family=FAMILY, results=options.results(HERE), transforms=views):
        print(line, flush=True)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
