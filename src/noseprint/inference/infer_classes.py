"""What one member of an ensemble of classifiers computes of a folder of classes, or of any photographs."""

from collections.abc import Callable
from pathlib import Path

from noseprint.data.class_folders import ClassSplit
from noseprint.data.class_tables import ClassTable, hold_out
from noseprint.data.holdout import holdout_hash
from noseprint.data.listing import list_photographs
from noseprint.data.readable import readable_photographs
from noseprint.data.transforms import Transform
from noseprint.devices import choose_device
from noseprint.errors import NoseprintError
from noseprint.files import skipped_table
from noseprint.inference.classify import classify_photographs, write_outputs
from noseprint.inference.infer_options import MemberInferOptions
from noseprint.lock import lock
from noseprint.models.weights_header import read_header


def infer_classes(
    results: Path, *, options: MemberInferOptions, table: ClassTable | None, transform: Callable[[int], Transform]
) -> None:
    """Write `ClassifierOutputs` of best.safetensors in `results` beside it, a file for each kind of image.

    table: the data folder, with the labels that the training had. holdout.safetensors is of the images that the
    training held out; test.safetensors and unlabelled.safetensors of these splits, where there are any. None:
    images.safetensors is of the photographs in `options.images`, named from there on. transform: makes the transform of
    each image, for the side of the input in pixels.
    Raises NoseprintError as `classify_photographs` does, for photographs that cannot be read without
    `options.skip_bad`, and if the training held out other images.
    """
    weights = results / "best.safetensors"
    header = read_header(weights)
    if table is None:
        assert options.images is not None
        kinds = {"images": photographs_in(options.images)}
    else:
        _, held_out = hold_out(table, header.holdout_share or 0)
        kinds = {"holdout": held_out, "test": table.split("test"), "unlabelled": table.split("unlabelled")}
    with lock(results):
        for kind, images in kinds.items():
            out = results / f"{kind}.safetensors"
            skipped = skipped_table(out)
            good = readable_photographs(images.paths, skip_bad=options.skip_bad, skipped_csv=skipped)
            images = images.where(path in good for path in images.paths)  # noqa: PLW2901
            if kind == "holdout":
                _require_held_out(images, header.extra.get("held_out"), weights)
            if not images.paths:
                out.unlink(missing_ok=True)
                continue
            print(f"{kind}: classifying {len(images):,} images ...", flush=True)
            outputs = classify_photographs(
                weights,
                images.paths,
                names=images.names,
                transform=transform,
                device=choose_device(options.device),
                workers=options.workers,
                engine=options.engine,
            )
            write_outputs(out, outputs)
            print(f"{kind}: {len(outputs.names)} images, {out}", flush=True)


def photographs_in(folder: Path) -> ClassTable:
    """The photographs in a folder, whose classes are not known. Raises NoseprintError as `list_photographs` does."""
    folder, names = list_photographs(folder)
    test: ClassSplit = "test"
    paths = tuple(folder / name for name in names)
    return ClassTable(paths, ("",) * len(names), (test,) * len(names), names)


def _require_held_out(images: ClassTable, recorded: str | None, weights: Path) -> None:
    """Refuse a hold-out that is not that of the training, which would make the network look better than it is."""
    rows = zip(images.labels, images.paths, strict=True)
    if recorded != holdout_hash(f"{label}/{path.name}" for label, path in rows):
        raise NoseprintError(
            f"{weights}: its training held out other images than those of the data now: pass the same --labels, table "
            "and --skip-bad as to train.py, or train again"
        )
