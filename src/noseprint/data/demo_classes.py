"""A drawn data folder of fine-grained classes with wrong labels, to try the cleaning and training of classes on."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from noseprint.data.csv_rows import write_csv
from noseprint.data.demo_leaves import CLASSES, KINDS, draw_leaf, draw_other
from noseprint.data.drawn_folder import write_drawn_folder
from noseprint.errors import NoseprintError

VERSION = 1  # raise it when the same parameters give other bytes
LARGEST, SMALLEST = 60, 12  # leaves of a class in train
VAL, TEST, UNLABELLED = 5, 20, 36  # leaves of each class in val and test; unlabelled ones in all
WRONG = 0.2  # share of the training labels of leaves that are wrong
WITHIN_KIND = 0.8  # share of the wrong labels that are of the right kind
OTHERS = 0.05  # share of the training images that show no leaf
PHOTOGRAPHERS: Mapping[str, range] = {"train": range(10), "val": range(10, 13), "test": range(13, 18)}
_KIND_OF = {name: kind for kind, names in KINDS.items() for name in names}


def write_demo_classes(folder: Path, *, seed: int = 0, faults: bool = True) -> None:
    """Draw a data folder of 12 classes of leaves in 4 kinds; do nothing if it exists already.

    train has a long tail (60 to 12 leaves of a class). 20 % of its leaves have a wrong label, mostly of the right kind,
    and 5 % of its images show no leaf. val and test are clean, and by other photographers. images.csv is
    image,label,kind,photographer,split. truth.csv (image,label) gives the right label of each training image, "" for no
    leaf: for scoring only. The same seed gives the same bytes. Takes a few seconds.
    faults: without them, every label is right and every image shows a leaf.
    Raises NoseprintError if `folder` exists and is not the same demo (it is not changed), the seed is negative, or the
    folder cannot be written.
    """
    if seed < 0:
        raise NoseprintError(f"seed={seed}: a demo needs a seed of at least 0")
    write_drawn_folder(
        folder,
        draw=lambda new: _write(new, seed, faults=faults),
        readme=_README.format(name=" with wrong labels" * faults, faults=_FAULTS * faults),
        signature=f"demo-classes {VERSION}: seed={seed}{'' if faults else ' faults=no'}",
        patterns=("*/*/*.jpg", "unlabelled/*.jpg", "*.csv"),
    )


def _write(folder: Path, seed: int, *, faults: bool) -> None:
    rng = np.random.default_rng((seed, 1))
    tail = np.geomspace(LARGEST, SMALLEST, len(CLASSES)).round().astype(int)
    counts = dict(zip(rng.permutation(CLASSES).tolist(), tail.tolist(), strict=True))
    truths = [name for name in CLASSES for _ in range(counts[name])]
    given = list(truths)
    for row in rng.choice(len(truths), round(WRONG * faults * len(truths)), replace=False):
        kind = _KIND_OF[truths[row]]
        is_within = rng.random() < WITHIN_KIND
        given[row] = str(rng.choice([x for x in CLASSES if (_KIND_OF[x] == kind) == is_within and x != truths[row]]))
    others = round(faults * OTHERS / (1 - OTHERS) * len(truths))
    truths += [""] * others
    given += rng.choice(given, others).tolist()
    rows = [("train", given[row], truths[row]) for row in rng.permutation(len(given))]
    rows += [(split, name, name) for split, each in (("val", VAL), ("test", TEST)) for name in CLASSES * each]
    rows += [("unlabelled", "", str(name)) for name in rng.choice(CLASSES, UNLABELLED)]
    table, right = list[tuple[str, ...]](), list[tuple[str, str]]()
    for number, (split, label, truth) in enumerate(rows):
        name = "/".join(filter(None, (split, label, f"{number:04}.jpg")))
        photographer = int(rng.choice(PHOTOGRAPHERS.get(split, PHOTOGRAPHERS["train"])))
        _draw(folder / name, truth, photographer, seed=seed, number=number)
        table.append((name, label, _KIND_OF.get(label, ""), f"photographer {photographer + 1}", split))
        if split == "train":
            right.append((name, truth))
    write_csv(folder / "images.csv", ("image", "label", "kind", "photographer", "split"), sorted(table))
    write_csv(folder / "truth.csv", ("image", "label"), sorted(right))


def _draw(path: Path, truth: str, photographer: int, *, seed: int, number: int) -> None:
    rng = np.random.default_rng((seed, 2, number))
    leaf = draw_leaf(truth, photographer, rng=rng, seed=seed) if truth else draw_other(photographer, rng=rng, seed=seed)
    _, data = cv2.imencode(".jpg", leaf, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(65, 93))])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())


_FAULTS = "; 20 % of the labels are wrong, and 5 % of the images show no leaf"
_README = """# Drawn leaves{name}

Drawn, not photographed: something to try the cleaning and training of classes on. There are 12 classes of leaves in 4
kinds, and the classes of a kind differ by one detail.

| file | what |
|---|---|
| `images.csv` | image, label, kind, photographer, split |
| `train/` | a long tail of classes{faults} |
| `val/`, `test/` | clean, by other photographers |
| `unlabelled/` | leaves without a label |
| `truth.csv` | the right label of each training image, empty for no leaf: for scoring only |
"""
