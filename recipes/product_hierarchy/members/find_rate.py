"""Look for the learning rate of one network, --part, in a short training whose rate rises until the loss diverges.

Each step's loss is in results/RUN/NAME/lr_range.csv, and the suggestions are in lr_range.json beside it. The options
are those of train.py.
"""

from task import FULL, HERE, SMALL, make_task

from noseprint.command_line import run
from noseprint.tasks.part_options import PartOptions


def main(options: PartOptions) -> None:
    """Run the test, and write the curve to results/."""
    task, results = make_task(options), options.results(HERE)

    from noseprint.training.lr_range import find_rates, write_curves  # here, not above: --help does not need it

    curve = find_rates(task, results=results, options=options)
    write_curves(results, {options.part: curve})
    found = ", ".join(f"{name} {rate:.1e}" for name, rate in curve.suggestions().items())
    print(f"{options.part}: {found}", flush=True)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
