"""Score the pairs of a split with the network of v2_stage1: results/similarity.csv."""

from dataclasses import replace
from pathlib import Path

from noseprint.command_line import run
from noseprint.inference.infer_options import InferOptions

HERE = Path(__file__).resolve().parent
FULL = InferOptions(data=HERE.parent / "data")
SMALL = replace(FULL, run="small", small=True)


def main(options: InferOptions) -> None:
    """Write imageA,imageB,prediction for each pair."""
    from dataset import (
        degraded_transform,
        evaluation_transform,
    )  # here, not above: what wants torch takes seconds to load
    from model import build_model

    from noseprint.inference.infer import calibration_of, infer
    from noseprint.models.published import load_published
    from noseprint.models.weights import load_network

    results = HERE / "results" / options.run
    weights = options.weights or results / "best.safetensors"
    if weights.suffix == ".pth":
        network = build_model(pretrained=False)
        load_published(weights, network)
    else:
        network = load_network(weights, recipe=HERE.name if options.weights else None)
    transforms = [evaluation_transform(network.image_size)]
    if options.degraded_transform:
        transforms.append(degraded_transform(network.image_size))
    infer(network, transforms=transforms, calibration=calibration_of(weights), results=results, options=options)


if __name__ == "__main__":
    run(main, full=FULL, small=SMALL)
