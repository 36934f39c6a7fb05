"""Compute the features of the pictures in --not-members, for the step not-members: results/examples.safetensors."""

from pathlib import Path

from noseprint.cleaning.options import CleaningOptions, run_cleaning

HERE = Path(__file__).resolve().parent


def main(options: CleaningOptions) -> None:
    """Embed each picture as the training images were; without --not-members, write an empty table."""
    import torch
    from dataset import evaluation_transform
    from model import build_model

    from noseprint.data.listing import list_photographs
    from noseprint.data.readable import readable_photographs
    from noseprint.devices import choose_device
    from noseprint.inference.classify import classify_photographs, empty_outputs, read_outputs, write_outputs

    results, folder = options.results(HERE), options.not_members
    trained = read_outputs(results / "features.safetensors")
    outputs = empty_outputs(trained)
    if folder is not None:
        paths = [folder / name for name in list_photographs(folder)[1]]
        readable = readable_photographs(paths, skip_bad=options.skip_bad, skipped_csv=results / "skipped_examples.csv")
        torch.manual_seed(0)  # of the head, which is not used
        outputs = classify_photographs(
            build_model(trained.classes, small=options.small),
            [path for path in paths if path in readable],
            transform=evaluation_transform,
            device=choose_device(options.device),
            workers=options.workers,
        )
    write_outputs(results / "examples.safetensors", outputs)


if __name__ == "__main__":
    run_cleaning(main, family=HERE.parent)
