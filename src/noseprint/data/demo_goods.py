"""A drawn data folder of goods in a tree of four levels, for trying a classifier that uses the tree.

A department decides the look, an aisle the shape, a kind its proportions, and a product one mark. So products of a kind
are confused most, and products of two departments least.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from noseprint.data.csv_rows import write_csv
from noseprint.data.drawn_folder import write_drawn_folder
from noseprint.data.drawn_photograph import Canvas, Photo, Points, ground, photograph, place
from noseprint.errors import NoseprintError
from noseprint.files import file_hash, friendly_write_errors

VERSION = 1  # raise it when the same seed gives other bytes
TREE = {
    "fresh": {
        "fruit": {"apple": ("plain", "striped"), "pear": ("plain", "spotted")},
        "vegetables": {"carrot": ("plain", "ringed"), "marrow": ("plain", "striped")},
    },
    "packaged": {
        "bottles": {"juice": ("circle", "square"), "milk": ("one", "two")},
        "boxes": {"cereal": ("circle", "square"), "tea": ("one", "two")},
    },
}
"""Department -> aisle -> kind -> the marks of its products. A product is called KIND-MARK."""
TREE_HEADER = ("class", "kind", "aisle", "department")
PRODUCTS = tuple(
    sorted(
        (f"{kind}-{mark}", kind, aisle, department)
        for department, aisles in TREE.items()
        for aisle, kinds in aisles.items()
        for kind, marks in kinds.items()
        for mark in marks
    )
)
"""The rows of tree.csv."""
EACH = {"train": 20, "val": 5, "test": 6}
"""Photographs of each product."""
TINY = COPIES = 2
"""Training images that filter.py leaves out: too small, and copies of an image in val."""
_SHOPS = {
    "train": range(10),
    "val": range(8, 12),
    "test": range(10, 15),
}  # whose shelves and light the photographs have


def write_demo_goods(folder: Path, *, seed: int = 0) -> None:
    """Draw 16 products in 8 kinds, 4 aisles and 2 departments; do nothing if `folder` exists already.

    train, val and test have 20, 5 and 6 photographs of each product; test is in other shops than train. Two more images
    in train are too small to show anything, and two are copies of images in val. tree.csv is class,kind,aisle,
    department. The same seed gives the same bytes. Takes a few seconds.
    Raises NoseprintError if `folder` exists and is not the same demo (it is not changed), the seed is negative, or the
    folder cannot be written.
    """
    if seed < 0:
        raise NoseprintError(f"seed={seed}: a demo needs a seed of at least 0")
    write_drawn_folder(
        folder,
        draw=lambda new: _write(new, seed),
        readme=_README,
        signature=f"demo-goods {VERSION}: seed={seed}",
        patterns=("*/*/*.jpg", "tree.csv"),
    )


def write_demo_lists(goods: Path, lists: Path) -> None:
    """Write the lists that fetch a copy of `goods`, the folder of `write_demo_goods`, by file:// URLs.

    `lists`/train.csv and val.csv are id,url,class,sha256, and test.csv is without class. Three URLs of train fail: a
    file that is gone, one that is no image, and one with another checksum.
    Raises NoseprintError if the disk refuses.
    """
    with friendly_write_errors(lists):
        lists.mkdir(parents=True, exist_ok=True)
        page = lists / "page.html"
        page.write_text("<html>This image is no longer here.</html>\n", encoding="utf-8", newline="\n")
    for split in EACH:
        paths = sorted((goods / split).glob("*/*.jpg"), key=lambda path: path.stem)
        rows = [[path.stem, path.resolve().as_uri(), path.parent.name, file_hash(path)] for path in paths]
        if split == "train":
            rows[30][1], rows[130][1] = (goods / "gone.jpg").resolve().as_uri(), page.resolve().as_uri()
            rows[230][3] = rows[0][3]
        if split == "test":
            rows = [[name, url, "", sha256] for name, url, _, sha256 in rows]
        write_csv(lists / f"{split}.csv", ("id", "url", "class", "sha256"), rows)


def draw_product(name: str, shop: int, *, rng: np.random.Generator, seed: int) -> Photo:
    """Draw the product `name`, one of PRODUCTS: (H, W, 3) uint8 BGR, sides 144 px and 144 to 176 px.

    shop (>= 0): whose shelf and light it has; `seed` draws these, `rng` the rest.
    """
    canvas = ground(shop, rng=rng, seed=seed)
    for _ in range(int(rng.integers(1, 4))):  # parts of other products at the edge
        other = PRODUCTS[int(rng.integers(len(PRODUCTS)))][0].partition("-")
        where = place(rng, shift=float(rng.uniform(0.8, 1.0)), scale=0.5)
        _paint(canvas, other[0], other[2], where=where, rng=rng)
    kind, _, mark = name.partition("-")
    _paint(canvas, kind, mark, where=place(rng, shift=0.12), rng=rng)
    return photograph(canvas, shop, rng=rng, seed=seed)


def _write(folder: Path, seed: int) -> None:
    names = [row[0] for row in PRODUCTS]
    rows = [(split, name) for split, each in EACH.items() for name in names for _ in range(each)]
    judged = [(number, name) for number, (split, name) in enumerate(rows) if split == "val"]
    for number, (split, name) in enumerate(rows):
        rng = np.random.default_rng((seed, 1, number))
        photo = draw_product(name, int(rng.choice(_SHOPS[split])), rng=rng, seed=seed)
        _save(folder / split / name / f"{number:04}.jpg", photo, quality=int(rng.integers(65, 93)))
    for extra in range(TINY + COPIES):
        number, name = judged[extra * len(judged) // (TINY + COPIES)]
        photo = np.asarray(cv2.imread(str(folder / "val" / name / f"{number:04}.jpg")), np.uint8)
        side = 24 if extra < TINY else 120  # px; the copies are also darker
        changed = np.asarray(cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA) * 0.9, np.uint8)
        _save(folder / "train" / name / f"{len(rows) + extra:04}.jpg", changed, quality=80)
    write_csv(folder / "tree.csv", TREE_HEADER, PRODUCTS)


def _save(path: Path, photo: Photo, *, quality: int) -> None:
    _, data = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, quality])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())


# -- the drawing -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Brush:
    """Paints points of a product's plane, about -1..1 with its top up, on the canvas."""

    canvas: Canvas
    where: Points
    """The affine map (2, 3) from the plane to the canvas."""

    def on_canvas(self, points: Points) -> npt.NDArray[np.int32]:
        """Return the points in 1/16 px of the canvas."""
        moved = np.asarray(points) @ self.where[:, :2].T + self.where[:, 2]
        return np.asarray((moved * 16).round(), np.int32)

    def fill(self, points: Points, paint: Points) -> None:
        cv2.fillPoly(self.canvas, [self.on_canvas(points)], paint.tolist(), cv2.LINE_AA, 4)

    def line(self, points: Points, paint: Points, thickness: int) -> None:
        cv2.polylines(self.canvas, [self.on_canvas(points)], False, paint.tolist(), thickness, cv2.LINE_AA, 4)


def _paint(canvas: Canvas, kind: str, mark: str, *, where: Points, rng: np.random.Generator) -> None:
    """Paint one product with its shadow."""
    brush, is_fresh = _Brush(canvas, where), kind in _FRESH
    colour, outline = _colour(rng, is_fresh=is_fresh), _outline(kind, rng)
    shadow = np.zeros(canvas.shape[:2], np.float32)
    cv2.fillPoly(shadow, [brush.on_canvas(outline) + 16 * rng.integers(3, 9, 2).astype(np.int32)], 1.0)
    canvas *= 1 - 0.55 * cv2.GaussianBlur(shadow, (0, 0), 4)[..., None]
    top, bottom = outline[:, 1].min(), outline[:, 1].max()
    stalks, stalk = ((-0.25, 0.0, 0.25), _GREEN) if kind in ("carrot", "marrow") else ((0.1,), _BROWN)
    for lean in stalks if is_fresh else ():
        brush.line(np.array([(0, top + 0.1), (lean, top - 0.2)]), stalk, 5)
    brush.fill(outline, colour)
    rng = rng.spawn(1)[0]  # what a mark draws changes nothing else
    if is_fresh:
        _mark_skin(brush, mark, outline=outline, paint=colour * 0.45, rng=rng)
        return
    brush.fill(np.array([(-0.3, top), (0.3, top), (0.3, top + 0.12), (-0.3, top + 0.12)]), colour * 0.4)  # cap or flap
    label = np.clip(1.2 - 0.3 * colour, 0, 1)
    low, high, half = bottom - 0.75, bottom - 0.12, 0.9 * outline[:, 0].max()
    brush.fill(np.array([(-half, low), (half, low), (half, high), (-half, high)]), label)
    _mark_label(brush, mark, middle=(low + high) / 2, paint=colour * 0.35, rng=rng)


def _outline(kind: str, rng: np.random.Generator) -> Points:
    """The edge of a product, (N, 2)."""
    t = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    x, y, swing = np.sin(t), -np.cos(t), rng.uniform(0.92, 1.08)
    if kind == "apple":
        return np.stack([0.8 * swing * x, 0.72 * y + 0.12 * np.exp(-12 * x**2) * (y < 0)], 1)
    if kind == "pear":
        return np.stack([(0.5 + 0.17 * y) * swing * x, 0.92 * y], 1)
    if kind == "carrot":
        return np.stack([(0.24 - 0.17 * y) * swing * x, 0.95 * y], 1)
    if kind == "marrow":
        return np.stack([0.32 * swing * np.sign(x) * np.abs(x) ** 0.5, 0.95 * y], 1)
    neck, shoulder, half = {
        "juice": (0.2, -0.45, 0.42),
        "milk": (0.3, -0.7, 0.42),
        "cereal": (0.62, -0.9, 0.62),
        "tea": (0.85, -0.55, 0.85),
    }[kind]
    top, half = (-0.95 if kind in ("juice", "milk") else shoulder), half * swing
    bottom = 0.95 if kind != "tea" else 0.5
    right = [(neck * swing, top), (neck * swing, (top + shoulder) / 2), (half, shoulder), (half, bottom)]
    return np.array(right + [(-a, b) for a, b in reversed(right)])


def _mark_skin(brush: _Brush, mark: str, *, outline: Points, paint: Points, rng: np.random.Generator) -> None:
    """Stripes from top to bottom, rings or spots; nothing for plain."""
    if mark == "striped":
        for share in np.linspace(-0.7, 0.7, int(rng.integers(4, 7))):
            side = outline[outline[:, 0] >= 0] * (share, 0.85)
            brush.line(side, paint, 3)
    elif mark == "ringed":
        for y in np.linspace(-0.7, 0.6, int(rng.integers(5, 8))):
            reach = 0.9 * np.abs(outline[np.abs(outline[:, 1] - y) < 0.08, 0]).max()
            brush.line(np.array([(-reach, y), (0, y + 0.06), (reach, y)]), paint, 3)
    elif mark == "spotted":
        inner = outline[rng.integers(len(outline), size=int(rng.integers(12, 20)))]
        for spot in inner * np.sqrt(rng.uniform(0, 0.65, (len(inner), 1))):
            brush.fill(spot + rng.uniform(0.03, 0.06) * _CIRCLE, paint)


def _mark_label(brush: _Brush, mark: str, *, middle: float, paint: Points, rng: np.random.Generator) -> None:
    """A disc, a square, or one or two bars."""
    size = rng.uniform(0.17, 0.24)
    if mark in ("circle", "square"):
        shape = _CIRCLE if mark == "circle" else np.array([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)])
        brush.fill(size * shape + (0, middle), paint)
        return
    for y in (middle,) if mark == "one" else (middle - 0.13, middle + 0.13):
        brush.fill(np.array([(-0.3, y - 0.06), (0.3, y - 0.06), (0.3, y + 0.06), (-0.3, y + 0.06)]), paint)


def _colour(rng: np.random.Generator, *, is_fresh: bool) -> Points:
    """Red to green for fresh goods, any bright colour for a package: (3,) BGR in 0..1."""
    hue = rng.uniform(0, 100) if is_fresh else rng.uniform(0, 360)
    pixel = np.array([[[hue, rng.uniform(0.5, 0.85), rng.uniform(0.5, 0.9)]]], np.float32)
    return np.asarray(cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0], np.float64)


_FRESH = {kind for kinds in TREE["fresh"].values() for kind in kinds}
_GREEN, _BROWN = np.array([0.1, 0.45, 0.15]), np.array([0.1, 0.2, 0.3])
_CIRCLE = np.stack([np.sin(np.linspace(0, 2 * np.pi, 24)), np.cos(np.linspace(0, 2 * np.pi, 24))], 1)
_README = """# Drawn goods

Drawn, not photographed: for trying a classifier that uses the tree of its classes. There are 16 products in 8 kinds, 4
aisles and 2 departments.

| file | what |
|---|---|
| `train/`, `val/`, `test/` | a folder for each product; test is photographed in other shops than train |
| `tree.csv` | class, kind, aisle, department |

Two images in train are too small, and two are copies of images in val: `filter.py` leaves them out.
"""
