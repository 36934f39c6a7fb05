"""Makes small images, a hold-out and folds from a folder of classes, for trainings that read it many times."""

import shutil
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from noseprint.data.class_folders import some
from noseprint.data.class_tables import ClassTable
from noseprint.data.csv_rows import write_csv
from noseprint.data.decoding import Image, decode, pixel_digest
from noseprint.data.holdout import assign_folds
from noseprint.data.prepared import FOLDS, HEADER, SIZE
from noseprint.errors import NoseprintError
from noseprint.files import friendly_write_errors, scratch_folder

SEED = 42
JPEG_QUALITY = 95
_LOSSLESS = (".png", ".bmp", ".tif", ".tiff")


class _Usable(Protocol):
    """Such as `noseprint.inspection.contradictions.usable_images`: the images that `read` can decode."""

    def __call__(self, table: ClassTable, *, read: object) -> ClassTable: ...


def prepare_classes(table: ClassTable, results: Path, *, image_size: int, usable: _Usable) -> str:
    """Write `results`/images and `results`/images.csv, a data folder that `read_prepared` reads; return a summary.

    image_size: side in pixels of a network's input. Images whose shorter side is above 8/7 of it are resized to that;
    the others are copied as they are. usable: returns the images that can be used.

    Split val is that of `table`; without one, it is one of FOLDS parts of train, stratified by class and disjoint by
    group. What is left of train is cut into FOLDS folds likewise. Copies of a picture count as one group, and training
    images that are copies of images in val or test are left out. A class that would be held out whole is not held out.
    The table is written last: without it, nothing is prepared. The same input gives the same bytes.
    The summary names the classes that are not in the hold-out or not in two folds.
    Raises NoseprintError as `usable` does, for too few groups, and if the disk refuses.
    """
    names, digests = dict[Path, str](), dict[Path, bytes]()
    source_of = dict(zip(table.paths, table.names, strict=True))
    sources, side = set(table.names), -(-image_size * 8 // 7)
    with friendly_write_errors(results), scratch_folder(results / "images") as scratch:

        def read(path: Path) -> Image:
            image = decode(path)
            digests[path] = pixel_digest(image)
            names[path] = _write(image, path, scratch / "images", source_of[path], side=side, sources=sources)
            return image

        found = usable(table, read=read)
        kept = _without_copies(found, digests)
        for path in names.keys() - set(kept.paths):
            (scratch / names[path]).unlink()
        groups = _groups(kept, digests)
        splits, folds = _splits_and_folds(kept, groups)
        sizes = [path.stat().st_size for path in kept.paths]
        columns = ([names[path] for path in kept.paths], kept.labels, splits, groups, folds, kept.names, sizes)
        (results / "images.csv").unlink(missing_ok=True)
        if (results / "images").exists():
            shutil.rmtree(results / "images")
        (scratch / "images").rename(results / "images")
        write_csv(results / "images.csv", (*HEADER, SIZE), zip(*columns, strict=True))
    copies = len(found) - len(kept)
    left_out = f"; {copies} training images are left out, since val or test holds a copy" if copies else ""
    held_out = "" if "val" in found.splits else " (a fifth of the training images)"
    counts = ", ".join(f"{number} {split}" for split, number in Counter(splits).items())
    lines = [f"{len(kept)} images of {len(kept.classes)} classes, {counts}{held_out}{left_out}"]
    return "\n".join([*lines, *_thin_classes(kept, splits, folds, groups=table.groups is not None)])


def _thin_classes(table: ClassTable, splits: list[str], folds: list[str], *, groups: bool) -> Iterator[str]:
    """Lines that name the classes that are not in the hold-out, and those that one of the teachers does not know."""
    rows = list(zip(table.labels, splits, folds, strict=True))
    fix = f"add images{' of other groups' if groups else ''}, or expect wrong answers for them"
    unjudged = sorted(set(table.classes) - {label for label, split, _ in rows if split == "val"})
    if unjudged:
        yield (
            f"warning: {len(unjudged)} of the classes have no image in the hold-out, so it cannot judge them "
            f"({some(unjudged)}): {fix}"
        )
    folds_of = {name: {fold for label, _, fold in rows if label == name and fold} for name in table.classes}
    untaught = sorted(name for name, found in folds_of.items() if len(found) < 2)
    if untaught:
        yield (
            f"warning: {len(untaught)} of the classes are in one fold only, so the teacher of that fold does not know "
            f"them ({some(untaught)}): {fix}"
        )


def _write(image: Image, path: Path, folder: Path, source: str, *, side: int, sources: Container[str]) -> str:
    """Write an image, made small if it is large, into `folder`; return its path from the folder above.

    source: its name, one of `sources`. Where the format changes, the name gets another suffix, so that it is new.
    """
    height, width = image.shape[:2]
    scale = side / min(height, width)
    suffix = path.suffix.lower()
    own = source
    if scale < 1 and suffix not in (".jpg", ".jpeg", ".png"):
        while own in sources:
            own += ".png" if suffix in _LOSSLESS else ".jpg"
    name = f"{folder.name}/{own}"
    target = folder.parent / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if scale >= 1:
        shutil.copyfile(path, target)
        return name
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(
        target.suffix.lower(), cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    target.write_bytes(data.tobytes())
    return name


def _without_copies(table: ClassTable, digests: Mapping[Path, bytes]) -> ClassTable:
    """Without the training images of which val or test holds a copy."""
    judged = {digests[path] for path, split in zip(table.paths, table.splits, strict=True) if split in ("val", "test")}
    rows = zip(table.paths, table.splits, strict=True)
    return table.where(split != "train" or digests[path] not in judged for path, split in rows)


def _groups(table: ClassTable, digests: Mapping[Path, bytes]) -> list[str]:
    """The group of each image; "" for one that is alone. Copies among training images join their groups."""
    own = table.groups or table.names
    sets = DisjointSet(own)
    first = dict[bytes, str]()
    for path, split, group in zip(table.paths, table.splits, own, strict=True):
        if split == "train":
            sets.merge(first.setdefault(digests[path], group), group)
    alone = table.groups is None
    return ["" if alone and sets.subset_size(group) == 1 else sets[group] for group in own]


def _splits_and_folds(table: ClassTable, groups: list[str]) -> tuple[list[str], list[str]]:
    """The split and the fold of each image."""
    splits, folds = np.array(table.splits, "<U10"), np.full(len(table), "", "<U1")
    train = np.flatnonzero(splits == "train")
    if "val" not in table.splits:
        held_out = train[_folds(table, groups, train) == 0]
        left = {table.labels[row] for row in set(train.tolist()) - set(held_out.tolist())}
        whole = {groups[row] or row for row in held_out if table.labels[row] not in left}
        splits[[row for row in held_out if (groups[row] or row) not in whole]] = "val"
        train = np.flatnonzero(splits == "train")
    folds[train] = _folds(table, groups, train).astype("<U1")
    return splits.tolist(), folds.tolist()


def _folds(table: ClassTable, groups: list[str], rows: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> np.ndarray:
    """The fold of each of `rows`."""
    own = [groups[row] or f"\0{row}" for row in rows]
    apart = len(set(own)) == len(own)
    try:
        return assign_folds([table.labels[row] for row in rows], folds=FOLDS, groups=None if apart else own, seed=SEED)
    except NoseprintError as error:
        raise NoseprintError(
            f"the training images cannot be cut into a hold-out and folds ({error}): add images, or name another "
            "column of groups"
        ) from error
