"""Compute the features of the training images: results/features.safetensors."""

from pathlib import Path

from noseprint.cleaning.options import CleaningOptions, run_cleaning

HERE = Path(__file__).resolve().parent


def main(options: CleaningOptions) -> None:
    """Check each image, then embed it with the backbone as it was published."""
    from noseprint.data.class_tables import read_classes
    from noseprint.inspection.contradictions import usable_images

    results = options.results(HERE)
    images = read_classes(options.data, columns=options.columns).split("train")
    print(f"Checking {len(images):,} training images ...", flush=True)
    images = usable_images(images, skip_bad=options.skip_bad, skipped_csv=results / "skipped.csv")

    import torch  # here, not above: it takes seconds to load, and wrong data is reported before
    from dataset import evaluation_transform
    from model import build_model

    from noseprint.devices import choose_device
    from noseprint.inference.classify import classify_photographs, write_outputs

    print(f"Computing the features of {len(images):,} images ...", flush=True)
    torch.manual_seed(0)  # of the head, which is not used
    outputs = classify_photographs(
        build_model(images.classes, small=options.small),
        images.paths,
        names=images.names,
        transform=evaluation_transform,
        device=choose_device(options.device),
        workers=options.workers,
    )
    write_outputs(results / "features.safetensors", outputs)


if __name__ == "__main__":
    run_cleaning(main, family=HERE.parent)
