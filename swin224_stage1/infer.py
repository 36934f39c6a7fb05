"""Score the pairs of a split with the network of swin224_stage1: results/similarity.csv."""

from pathlib import Path

from noseprint.inference.infer_options import InferOptions, run_infer

HERE = Path(__file__).resolve().parent


def main(options: InferOptions) -> None:
    """Write imageA,imageB,prediction for each pair."""
    from dataset import degraded_transform, evaluation_transform  # here, not above: torch takes seconds to load
    from model import build_model

    from noseprint.inference.infer import infer_folder

    infer_folder(HERE, build_model, options, evaluation=evaluation_transform, degraded=degraded_transform)


if __name__ == "__main__":
    run_infer(main, folder=HERE)
