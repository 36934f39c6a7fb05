"""What the fusion answers, from the features that the members' infer.py stored: results/test.safetensors and others."""

from pathlib import Path

from noseprint.inference.infer_options import MemberInferOptions, run_member_infer

HERE = Path(__file__).resolve().parent


def main(options: MemberInferOptions) -> None:
    """Write logits and features of the images that were held out, of test and of unlabelled, or of a folder."""
    from noseprint.inference.fusion_head import infer_fusion

    kinds = ["images"] if options.images else ["holdout", "test", "unlabelled"]
    infer_fusion(HERE / "results" / options.run, family=HERE.parent, run=options.run, kinds=kinds)


if __name__ == "__main__":
    run_member_infer(main, folder=HERE)
