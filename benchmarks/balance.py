"""What helps with classes of unequal size: python benchmarks/balance.py DATA --work FOLDER

Equally long trainings of one network of recipes/product_hierarchy, each with another way to balance the classes. The
table shows top-1 and the mean per class on the split test, and the differences to the plain training, paired by image.
Finished trainings are kept in the work folder, and an interrupted run continues.
"""

from hierarchy_runs import Runs, parser

ARMS = {
    "plain": [],
    "weighted sampler": ["--balance", "weighted"],
    "subset first": ["--balance", "subset-first"],
    "focal": ["--loss", "focal"],
    "weighted loss": ["--loss", "weighted"],
    "logit adjustment": ["--balance", "logit-adjustment"],
}


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--arms", default="plain,weighted sampler,subset first,focal", help=f"of {', '.join(ARMS)}")
    made.add_argument("--lr", default="5e-4", help="peak learning rate of all")
    options = made.parse_args()
    runs, arms = Runs(options), options.arms.split(",")
    found = {arm: [] for arm in arms}
    for seed in options.seeds.split(","):
        for arm in arms:
            name = f"{arm.replace(' ', '-')}-{seed}"
            length = ("--epochs", options.epochs, "--snapshots", 0, "--cycles", 1, "--lr", options.lr)
            results = runs.train(name, "--seed", seed, *length, *ARMS[arm])
            found[arm].append(runs.probabilities(results / "best.safetensors"))
    runs.report(found, base=arms[0])


if __name__ == "__main__":
    main()
