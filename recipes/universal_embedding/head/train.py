"""Train the head (a projection) of one backbone, --part, on its kept features: results/RUN/PART/best.safetensors.

frozen/ has kept the features. The backbone does not run, so this takes seconds to minutes.
"""

from dataclasses import replace
from pathlib import Path

from noseprint.command_line import run
from noseprint.tasks.phase_options import HeadOptions

HERE = Path(__file__).resolve().parent
FULL = HeadOptions(data=HERE.parent / "data", part="vit_h", epochs=100, lr=1e-3)
SMALL = replace(FULL, run="small", small=True, part="lite0", epochs=30)


def main(options: HeadOptions) -> None:
    """Train, and write the weights to results/."""
    from noseprint.data.instances import distractors, read_instances  # here, not above: torch takes seconds to load
    from noseprint.inference.embedding_sources import read_source
    from noseprint.inference.reduction import join, pca_projection
    from noseprint.inference.whitening import choose_shrinkage, learned_whitening
    from noseprint.models.weights import load_projection
    from noseprint.tasks.feature_head import save_head, train_head

    table = read_instances(options.data, table=options.prepared(HERE.parent))
    frozen = read_source(options.part, options.results(HERE.parent / "frozen"), table, data=options.data)
    train, holdout = table.part("train"), table.part("val")
    features = frozen.features[[part == "train" for part in table.parts]]
    start = None
    if options.start == "whitening":
        shrinkage, _ = choose_shrinkage(features, train.identities, train.domains, options.dim)
        start = learned_whitening(features, train.identities, options.dim, shrinkage=shrinkage)
    elif options.start == "pca":
        start = pca_projection(features, options.dim, whiten=True)
    head = train_head(features, train.identities, options=options, start=start)
    network = join([load_projection(frozen.weights)], projection=(head.weight, head.bias))
    among = distractors(train)
    row_of = {name: row for row, name in enumerate(table.names)}
    held_out = frozen.features[[row_of[name] for name in holdout.names + among.names]]
    print(save_head(options.results(HERE), network, head, held_out, holdout=holdout, among=among))


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
