"""Check the photographs, hold out identities and cap the rest: results/RUN/instances.csv, for all later steps."""

from dataclasses import replace
from pathlib import Path

from noseprint.command_line import run
from noseprint.data.instance_options import PrepareInstancesOptions

HERE = Path(__file__).resolve().parent
FULL = PrepareInstancesOptions(data=HERE.parent / "data")
SMALL = replace(FULL, run="small", small=True)


def main(options: PrepareInstancesOptions) -> None:
    """Read the table and every photograph, and write what is left of them."""
    from noseprint.data.instances import (
        cap_instances,
        describe_instances,
        hold_out_instances,
        read_instances,
        require_searches,
        write_instances,
    )
    from noseprint.data.readable import readable_photographs
    from noseprint.errors import DataError, NoseprintError, printable
    from noseprint.lock import lock

    try:
        table = read_instances(options.data, table=options.table)
    except DataError as error:
        raise NoseprintError("\n".join(printable(fault) for fault in error.faults)) from None
    results = options.results(HERE)
    skipped = None if options.check else results / "skipped.csv"
    good = readable_photographs(table.paths, skip_bad=options.skip_bad, skipped_csv=skipped)
    table = table.where(path in good for path in table.paths)
    capped = cap_instances(table, most=options.most, least=options.least)
    if left_out := len(table) - len(capped):
        print(f"{left_out} training images are left out by --least {options.least} and --most {options.most}")
    table = hold_out_instances(capped, share=options.holdout)
    require_searches(table)
    print(describe_instances(table), flush=True)
    if not options.check:
        with lock(results):
            write_instances(results / "instances.csv", table)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
