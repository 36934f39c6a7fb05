"""Train one network, --part, in the phases of --method (see phases.py): results/RUN/PART/best.safetensors.

results/RUN/PART/NUMBER-NAME has the network after each phase; the best of them on the hold-out is kept.
"""

from dataclasses import replace
from pathlib import Path

from phases import FROM_HEAD, METHODS

from noseprint.command_line import run
from noseprint.tasks.phase_options import InstanceOptions

HERE = Path(__file__).resolve().parent
FULL = InstanceOptions(data=HERE.parent / "data", part="vit_h", method="published")
SMALL = replace(FULL, run="small", small=True, part="lite0", method="small")


def main(options: InstanceOptions) -> None:
    """Train, and write the weights to results/."""
    phases = options.choose(METHODS, "method")  # refused before torch loads, which takes seconds

    import dataset
    import torch

    from noseprint.data.instances import read_instances
    from noseprint.tasks.phases import load_start, run_phases

    table = read_instances(options.data, table=options.prepared(HERE.parent))
    network, classifier = load_start(options.results(HERE.parent / "head"), options=options)
    if options.method not in FROM_HEAD:
        torch.manual_seed(options.seed)
        network.projection.reset_parameters()
        classifier = None
    print(
        run_phases(
            network,
            phases,
            options=options,
            results=options.results(HERE),
            train=table.part("train"),
            holdout=table.part("val"),
            classifier=classifier,
            training_transform=dataset.small_training_transform if options.small else dataset.training_transform,
            evaluation_transform=dataset.evaluation_transform,
        )
    )


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
