"""Leave out broken, tiny and copied images, and write results/RUN/images.csv, which all later steps read."""

from dataclasses import replace
from pathlib import Path

from noseprint.command_line import run
from noseprint.inspection.filter_options import FilterOptions

HERE = Path(__file__).resolve().parent
FULL = FilterOptions(data=HERE.parent / "data")
SMALL = replace(FULL, run="small", small=True)


def main(options: FilterOptions) -> None:
    """Read the table and every photograph, and write what is left of them."""
    from noseprint.data.class_tables import read_classes
    from noseprint.data.class_tree import read_tree
    from noseprint.errors import DataError, NoseprintError, printable
    from noseprint.inspection.class_filter import filter_classes, filter_text, write_filtered
    from noseprint.lock import lock

    try:
        table = read_classes(options.data, columns=options.columns)
        if options.check or options.check_tree:
            print(read_tree(table, data=options.data, tree=options.tree, levels=options.level_names).summary)
    except DataError as error:
        raise NoseprintError("\n".join(printable(fault) for fault in error.faults)) from None
    if options.check_tree:
        return
    if options.check:
        print(filter_text(*filter_classes(table, least_side=options.least_side)), flush=True)
        return
    results = HERE / "results" / options.run
    with lock(results):
        left, left_out = filter_classes(table, least_side=options.least_side)
        write_filtered(left, left_out, results)
        print(filter_text(left, left_out), flush=True)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
