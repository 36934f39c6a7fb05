"""Make small images, a hold-out and five folds: results/RUN/images.csv and images/, for all trainings."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from noseprint.command_line import run
from noseprint.importing.prepare_options import PrepareOptions

HERE = Path(__file__).resolve().parent
FULL = PrepareOptions(data=HERE.parent / "data", image_size=224)
SMALL = replace(FULL, run="small", small=True, image_size=192)


def main(options: PrepareOptions) -> None:
    """Read the table and every photograph, report every fault, and write the images."""
    from noseprint.data.class_tables import read_classes
    from noseprint.importing.prepared_classes import prepare_classes
    from noseprint.inspection.check_classes import check_classes
    from noseprint.inspection.contradictions import usable_images
    from noseprint.lock import lock

    if options.check:
        print(check_classes(options.data, columns=options.columns), flush=True)
        return
    results = HERE / "results" / options.run
    usable = partial(usable_images, skip_bad=options.skip_bad, skipped_csv=results / "skipped.csv")
    with lock(results):
        table = read_classes(options.data, columns=options.columns)
        print(prepare_classes(table, results, image_size=options.image_size, usable=usable), flush=True)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
