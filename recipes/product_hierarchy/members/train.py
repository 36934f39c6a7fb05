"""Train one network, --part, in cycles, and keep its weights at the end of each: results/RUN/NAME/snapshots/.

results/RUN/NAME/best.safetensors has the averaged weights. task.py has the numbers.
"""

from task import FULL, HERE, SMALL, make_task

from noseprint.command_line import run
from noseprint.tasks.part_options import PartOptions


def main(options: PartOptions) -> None:
    """Train, and write the weights to results/."""
    options = options.with_found_rate()
    task = make_task(options)

    from noseprint.training.fit import fit  # here, not above: it takes seconds to load, and --help does not need it

    fit(task, results=options.results(HERE), options=options)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
