"""A drawn data folder of things of three domains, for trying one embedding for all of them."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from noseprint.data import demo_goods, demo_leaves, demo_noses
from noseprint.data.csv_rows import write_csv
from noseprint.data.drawn_folder import write_drawn_folder
from noseprint.data.drawn_photograph import Photo
from noseprint.data.holdout import ordered_by_hash
from noseprint.data.instances import COLUMNS, TABLE
from noseprint.errors import NoseprintError

VERSION = 1  # raise it when the same seed gives other bytes
NOSES = 24
DOMAINS = {
    "goods": tuple(row[0] for row in demo_goods.PRODUCTS),
    "leaves": demo_leaves.CLASSES,
    "noses": tuple(f"dog-{number:02}" for number in range(NOSES)),
}
"""Domain -> its identities."""
TEST_SHARE = 1 / 3
"""Of the identities of a domain: these are in no training image."""
TRAIN_EACH, QUERY_EACH, INDEX_EACH = 10, 3, 4
"""Photographs of each identity."""
_PLACES = {"train": range(10), "query": range(10, 13), "index": range(8, 12)}  # grounds of leaves, shops of goods


def write_demo_instances(folder: Path, *, seed: int = 0) -> None:
    """Draw goods, leaves and noses: 52 identities, a third of them for the test; do nothing if `folder` exists already.

    images.csv is image,identity,domain,part,role. Queries have other backgrounds than the training images.
    The same seed gives the same bytes. Takes a few seconds.
    Raises NoseprintError if `folder` exists and is not the same demo (it is not changed), the seed is negative, or the
    folder cannot be written.
    """
    if seed < 0:
        raise NoseprintError(f"seed={seed}: a demo needs a seed of at least 0")
    write_drawn_folder(
        folder,
        draw=lambda new: _write(new, seed),
        readme=_README,
        signature=f"demo-instances {VERSION}: seed={seed}",
        patterns=("images/*/*/*.jpg", TABLE),
    )


def _write(folder: Path, seed: int) -> None:
    rows = []
    for domain, identities in DOMAINS.items():
        test = ordered_by_hash(identities, seed=seed)[: round(TEST_SHARE * len(identities))]
        for number, identity in enumerate(identities):
            uses = ["query"] * QUERY_EACH + ["index"] * INDEX_EACH if identity in test else ["train"] * TRAIN_EACH
            for shot, use in enumerate(uses):
                rng = np.random.default_rng((seed, 1, list(DOMAINS).index(domain), number, shot))
                name = f"images/{domain}/{identity}/{shot:02}.jpg"
                photo = _draw(domain, number, int(rng.choice(_PLACES[use])), rng=rng, seed=seed)
                _, data = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(65, 93))])
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(data.tobytes())
                part, role = ("train", "") if use == "train" else ("test", use)
                rows.append((name, f"{domain}/{identity}", domain, part, role))
    write_csv(folder / TABLE, COLUMNS, rows)


def _draw(domain: str, number: int, where: int, *, rng: np.random.Generator, seed: int) -> Photo:
    if domain == "noses":
        return demo_noses.photograph(_nose(number, seed), short=144, motion=0.0, rng=rng)
    draw = demo_goods.draw_product if domain == "goods" else demo_leaves.draw_leaf
    return draw(DOMAINS[domain][number], where, rng=rng, seed=seed)


@lru_cache(maxsize=1)
def _nose(number: int, seed: int) -> demo_noses.Nose:
    return demo_noses.draw_nose(number, seed=seed)


_README = """# Drawn things of three domains

Drawn, not photographed: for trying one embedding for several domains. There are goods (an identity is a product),
leaves (a kind with one detail) and noses (a dog).

| file | what |
|---|---|
| `images.csv` | image, identity, domain, part (train or test), role (query or index) |
| `images/` | a folder for each domain, and in it one for each identity |

No identity is in both parts.
"""
