"""A synthetic data folder in the challenge's layout: the whole method can be seen and scored without real data."""

import csv
import itertools
import string
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from noseprint.data.demo_noses import LOOKS, draw_nose, photograph
from noseprint.errors import NoseprintError
from noseprint.files import scratch_folder

SHOTS, PAIRS = 4, 3  # of each unlabelled identity: photographs; pairs of the same dog, and as many of different ones
VERSION = 1  # raise it when the same parameters draw other bytes
SHORT_SIDE = {"train": (160, 250), "validation": (86, 120), "test": (86, 120)}  # px, drawn uniformly
MOTION = {"train": (0.0, 0.0), "validation": (0.0, 0.0), "test": (0.03, 0.07)}  # blur path over the short side


def write_demo(folder: Path, *, train_identities: int = 56, pair_identities: int = 48, seed: int = 0) -> None:
    """Write a synthetic data folder in the challenge's layout, or leave it if it is there already.

    Args:
        folder: made whole or not at all: built in a hidden sibling, then renamed.
        train_identities: labelled identities, at least 2, of 4 to 8 photographs each (a few of only 2).
        pair_identities: identities of each of the two unlabelled splits, at least 2, with 4 photographs each.
        seed: one seed gives the same bytes.

    Raises:
        NoseprintError: the folder exists and is not this very demo (nothing is touched), or a number is too small,
            or the disk refuses.

    """
    given = f"train_identities={train_identities} pair_identities={pair_identities} seed={seed}"
    if min(train_identities, pair_identities) < 2 or seed < 0:
        raise NoseprintError(f"{given}: a demo needs at least 2 identities of each sort, and a seed of at least 0")
    mark = f"<!-- noseprint demo {VERSION}: {given} files="
    if folder.exists():
        _require_same(folder, mark)
        return
    try:
        with scratch_folder(folder) as part:
            whole = part / "demo"
            whole.mkdir()
            _write_splits(whole, train_identities=train_identities, pair_identities=pair_identities, seed=seed)
            text = _README.format(mark=mark, files=_count(whole))
            (whole / "README.md").write_text(text, encoding="utf-8", newline="\n")
            _put_in_place(whole, folder, mark=mark)
    except OSError as error:
        raise NoseprintError(f"{folder} could not be written ({error}): name another folder or free it") from error


def _put_in_place(whole: Path, folder: Path, *, mark: str) -> None:
    try:
        whole.rename(folder)
    except OSError:
        if not folder.exists():
            raise
        _require_same(folder, mark)  # another process was quicker


def _require_same(folder: Path, mark: str) -> None:
    """Raise NoseprintError unless `folder` is the demo that `mark` names, with no image or table lost."""
    readme = folder / "README.md"
    lines = readme.read_text(encoding="utf-8", errors="replace").splitlines() if readme.is_file() else []
    counts = [line.removeprefix(mark).removesuffix(" -->") for line in lines if line.startswith(mark)]
    if counts == [str(_count(folder))]:
        return
    reason = "has lost or gained files since it was written" if counts else "is not the demo asked for"
    raise NoseprintError(f"{folder} exists and {reason}: name a folder that does not exist, or remove this one first")


def _count(folder: Path) -> int:
    """How many images and tables lie where a demo has them."""
    return sum(1 for pattern in ("*/images/*.jpg", "*/*.csv", "*.csv") for _ in folder.glob(pattern))


# -- tables ------------------------------------------------------------------------------------------------------------


def _write_splits(folder: Path, *, train_identities: int, pair_identities: int, seed: int) -> None:
    first, second = train_identities, train_identities + pair_identities
    _write_train(folder / "train", range(first), seed=seed)
    _write_pairs(folder / "validation", "valid_data.csv", range(first, second), split="validation", seed=seed)
    ids = range(second, second + pair_identities)
    photos = _write_pairs(folder / "test", "test_data.csv", ids, split="test", seed=seed)
    roles = [("test", "gallery" if shot else "query", identity, name) for identity, shot, name in photos]
    _write_rows(folder / "retrieval.csv", ("folder", "role", "identity", "image"), roles)


def _write_train(folder: Path, identities: range, *, seed: int) -> None:
    rows: list[tuple[object, ...]] = []
    for identity in identities:
        rng = np.random.default_rng((seed, 1, identity))
        shots = 2 if identity % 14 == 13 else int(rng.integers(4, 9))
        names = _write_photos(folder / "images", identity, shots=shots, split="train", seed=seed)
        rows += [(identity, name) for name in names]
    _write_rows(folder / "train_data.csv", ("dog ID", "nose print image"), rows)


def _write_pairs(folder: Path, table: str, identities: range, *, split: str, seed: int) -> list[tuple[int, int, str]]:
    """Write an unlabelled split with its labels beside it; return (identity, photograph, name) of every image."""
    names = {i: _write_photos(folder / "images", i, shots=SHOTS, split=split, seed=seed) for i in identities}
    rng = np.random.default_rng((seed, 2, identities.start))
    pairs: set[tuple[str, str, int]] = set()
    for identity in identities:
        same = list(itertools.combinations(names[identity], 2))
        pairs |= {(*same[k], 1) for k in rng.permutation(len(same))[:PAIRS]}
        others = [i for i in identities if i != identity]
        alike = [i for i in others if i % LOOKS == identity % LOOKS] or others  # the same look: not trivially different
        for k in range(PAIRS):
            other = int(rng.choice(alike if k else others))
            a, b = sorted((names[identity][rng.integers(SHOTS)], names[other][rng.integers(SHOTS)]))
            pairs.add((a, b, 0))
    ordered = sorted(pairs)
    rows = [ordered[k] for k in rng.permutation(len(ordered))]
    _write_rows(folder / table, ("imageA", "imageB"), [row[:2] for row in rows])
    _write_rows(folder / "labels.csv", ("imageA", "imageB", "label"), rows)
    return [(i, shot, name) for i in identities for shot, name in enumerate(names[i])]


def _write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def _write_photos(folder: Path, identity: int, *, shots: int, split: str, seed: int) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    nose = draw_nose(identity, seed=seed)
    names = []
    for shot in range(shots):
        rng = np.random.default_rng((seed, 3, identity, shot))
        letters = "".join(rng.choice(list(string.ascii_letters + string.digits), 16))
        star = "A*" if rng.random() < 0.4 else ""  # as in the challenge
        names.append(f"{star}{letters}.jpg")
        short = int(rng.integers(*SHORT_SIDE[split], endpoint=True))
        photo = photograph(nose, short=short, motion=short * rng.uniform(*MOTION[split]), rng=rng)
        quality = int(rng.integers(60, 96))
        _, data = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, quality])
        (folder / names[-1]).write_bytes(data.tobytes())
    return names


_README = """# Synthetic dog nose prints

Drawn by `noseprint demo-data`, not photographed: something to try the method on. The layout is the pet biometric
challenge's; scores on these images say nothing about real dogs.

| file | what |
|---|---|
| `train/train_data.csv` | labelled images, short side about 200 px |
| `validation/valid_data.csv` | pairs of other dogs, short side about 100 px |
| `test/test_data.csv` | pairs of yet other dogs, short side about 100 px and motion-blurred |
| `validation/labels.csv`, `test/labels.csv` | the same rows with `label`, 1 = same dog: for scoring only |
| `retrieval.csv` | the test dogs again, one query and the rest gallery each |

{mark}{files} -->
"""
