"""A synthetic data folder in the challenge's layout, to try and score the whole method without real data."""

import itertools
import string
from pathlib import Path

import cv2
import numpy as np

from noseprint.data.csv_rows import write_csv
from noseprint.data.demo_noses import LOOKS, draw_nose, photograph
from noseprint.data.drawn_folder import write_drawn_folder
from noseprint.data.tables import LABEL_HEADER, PAIR_HEADER, RETRIEVAL_HEADER, TRAIN_HEADER
from noseprint.errors import NoseprintError

SHOTS = 4  # photographs of each unlabelled identity
PAIRS = 3  # same pairs of each unlabelled identity, and as many different pairs
VERSION = 1  # raise it when the same parameters give other bytes
SHORT_SIDE = {"train": (160, 250), "validation": (86, 120), "test": (86, 120)}  # px, drawn uniformly
MOTION = {"train": (0.0, 0.0), "validation": (0.0, 0.0), "test": (0.03, 0.07)}  # length of the blur over the short side


def write_demo(folder: Path, *, train_identities: int = 56, pair_identities: int = 48, seed: int = 0) -> None:
    """Write a synthetic data folder in the challenge's layout; do nothing if it exists already.

    `folder` is written whole or not at all: it is drawn in a hidden folder beside it, which is then renamed.
    train_identities: number of labelled identities, at least 2, with 4 to 8 photographs each (a few with 2).
    pair_identities: number of identities in each of the two unlabelled splits, at least 2, with 4 photographs each.
    The same seed gives the same bytes.
    Raises NoseprintError if `folder` exists and is not the same demo (it is not changed), a number is too small, or
    the folder cannot be written.
    """
    given = f"train_identities={train_identities} pair_identities={pair_identities} seed={seed}"
    if min(train_identities, pair_identities) < 2 or seed < 0:
        raise NoseprintError(f"{given}: a demo needs at least 2 identities of each kind, and a seed of at least 0")
    write_drawn_folder(
        folder,
        draw=lambda new: _write_splits(
            new, train_identities=train_identities, pair_identities=pair_identities, seed=seed
        ),
        readme=_README,
        signature=f"demo {VERSION}: {given}",
        patterns=("*/images/*.jpg", "*/*.csv", "*.csv"),
    )


def _write_splits(folder: Path, *, train_identities: int, pair_identities: int, seed: int) -> None:
    first, second = train_identities, train_identities + pair_identities
    _write_train(folder / "train", range(first), seed=seed)
    _write_pairs(folder / "validation", "valid_data.csv", range(first, second), split="validation", seed=seed)
    ids = range(second, second + pair_identities)
    photos = _write_pairs(folder / "test", "test_data.csv", ids, split="test", seed=seed)
    roles = [("test", "gallery" if shot else "query", identity, name) for identity, shot, name in photos]
    write_csv(folder / "retrieval.csv", RETRIEVAL_HEADER, roles)


def _write_train(folder: Path, identities: range, *, seed: int) -> None:
    rows: list[tuple[object, ...]] = []
    for identity in identities:
        rng = np.random.default_rng((seed, 1, identity))
        shots = 2 if identity % 14 == 13 else int(rng.integers(4, 9))
        names = _write_photos(folder / "images", identity, shots=shots, split="train", seed=seed)
        rows += [(identity, name) for name in names]
    write_csv(folder / "train_data.csv", TRAIN_HEADER, rows)


def _write_pairs(folder: Path, table: str, identities: range, *, split: str, seed: int) -> list[tuple[int, int, str]]:
    """Write an unlabelled split, and its labels beside it; return (identity, shot, name) for every image."""
    names = {i: _write_photos(folder / "images", i, shots=SHOTS, split=split, seed=seed) for i in identities}
    rng = np.random.default_rng((seed, 2, identities.start))
    pairs: set[tuple[str, str, int]] = set()
    for identity in identities:
        same = list(itertools.combinations(names[identity], 2))
        pairs |= {(*same[k], 1) for k in rng.permutation(len(same))[:PAIRS]}
        others = [i for i in identities if i != identity]
        similar = [i for i in others if i % LOOKS == identity % LOOKS] or others  # a common look makes a pair harder
        for k in range(PAIRS):
            other = int(rng.choice(similar if k else others))
            a, b = sorted((names[identity][rng.integers(SHOTS)], names[other][rng.integers(SHOTS)]))
            pairs.add((a, b, 0))
    ordered = sorted(pairs)
    rows = [ordered[k] for k in rng.permutation(len(ordered))]
    write_csv(folder / table, PAIR_HEADER, [row[:2] for row in rows])
    write_csv(folder / "labels.csv", LABEL_HEADER, rows)
    return [(i, shot, name) for i in identities for shot, name in enumerate(names[i])]


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
"""
