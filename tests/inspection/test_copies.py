import cv2
import numpy as np
import pytest

from noseprint.data.decoding import decode
from noseprint.inspection import copies
from noseprint.inspection.copies import find_copies
from noseprint.inspection.summaries import summarise


def again(image, *, quality=90):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def cropped(image):
    return image[round(0.03 * len(image)) :, round(0.03 * image.shape[1]) :]


def shrunk(image):
    return cv2.resize(image, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)


def brighter(image):
    return np.clip(image * 1.1, 0, 255).astype(np.uint8)


CHANGES = {
    "saved again": lambda image: again(image, quality=70),
    "shrunk": lambda image: again(shrunk(image)),
    "brighter": lambda image: again(brighter(image)),
    "cropped": lambda image: again(cropped(image)),
    "all of it": lambda image: again(brighter(shrunk(cropped(image))), quality=70),
}


@pytest.fixture(scope="module")
def photographs(demo):
    return [decode(path) for path in sorted((demo / "train" / "images").iterdir())]


def summaries_of(images, folder):
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{k}.png" for k in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return summarise(paths)


def test_known_photographs_are_compared_with_the_others_only(photographs, tmp_path):
    two, third = photographs[:2], again(photographs[0])
    summaries = summaries_of([*two, two[1], third, two[1]], tmp_path)
    assert {(copy.first, copy.second) for copy in find_copies(summaries)} == {(0, 3), (1, 2), (1, 4)}
    assert {(copy.first, copy.second) for copy in find_copies(summaries, known=3)} == {(0, 3), (1, 4)}
    assert find_copies(summaries, known=5) == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found_and_nothing_else(photographs, change, tmp_path):
    count = len(photographs)
    found = find_copies(summaries_of([*photographs, *map(CHANGES[change], photographs)], tmp_path / "all"))
    hits = sum((copy.first, copy.second) == (copy.first, copy.first + count) for copy in found)
    assert hits >= 0.95 * count
    assert hits == len(found)
    assert all(0.8 <= copy.correlation <= 1 for copy in found)


def test_equal_pixels_are_paired_with_the_first_of_them(photographs, tmp_path):
    a, b = photographs[:2]
    found = find_copies(summaries_of([a, b, a, b, a], tmp_path))
    assert [(copy.first, copy.second, copy.correlation) for copy in found] == [(0, 2, 1), (0, 4, 1), (1, 3, 1)]


def test_uniform_images_are_not_near_copies(tmp_path):
    flat = [np.full((60, 60, 3), grey, np.uint8) for grey in (0, 40, 90, 255)]
    assert find_copies(summaries_of(flat, tmp_path)) == []
    assert find_copies([]) == []


@pytest.mark.parametrize("known", [0, 20, 60])
def test_proposed_pairs_equal_those_of_a_naive_loop(monkeypatch, known):
    monkeypatch.setattr(copies, "_BLOCK_ROWS", 7)
    monkeypatch.setattr(copies, "MAX_NEIGHBOURS", 3)
    rng = np.random.default_rng(0)
    bits = rng.random((1, 256)) < rng.uniform(0.2, 0.8, (60, 1))  # distances of all sizes
    bits ^= rng.random((60, 256)) < 0.15
    hashes = np.packbits(bits, axis=1).view(np.uint64)
    expected = []
    for i in range(60):
        distances = [(int((bits[i] ^ bits[j]).sum()), j) for j in range(max(i + 1, known), 60)]
        expected += [(i, j) for distance, j in sorted(distances)[:3] if distance <= copies.MAX_DISTANCE]
    assert bool(expected) == (known < 60)
    assert list(copies._near_pairs(hashes, known=known)) == expected
