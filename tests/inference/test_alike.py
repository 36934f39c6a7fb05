import numpy as np
import pytest

from noseprint.calibration.curves import Platt
from noseprint.inference import alike as module
from noseprint.inference.alike import AlikeIndividuals, alike_individuals
from noseprint.inference.gallery import GalleryEmbeddings

CURVE = Platt(20.0, -10.0)
NAMES = ("a1", "a2", "b1", "b2", "c1", "stranger")
IDENTITIES = dict(zip(NAMES, "aabbc", strict=False))


def unit(*values):
    row = np.array(values, np.float32)
    return row / np.linalg.norm(row)


def gallery(rows, records=None):
    return GalleryEmbeddings(np.stack(rows), NAMES, (), "", None, records)


def found(rows, *, identities=4, suspects=(), records=None):
    return alike_individuals(
        gallery(rows, records), IDENTITIES, CURVE, gallery_identities=identities, suspects=suspects
    )


CLOSE = [unit(1, 0, 0), unit(1, 0.1, 0), unit(1, 0, 0.1), unit(1, 0.1, 0.1), unit(0, 0, 1), unit(1, 0, 0)]


def test_individuals_whose_images_are_alike_are_named_with_their_probability():
    (pair,) = found(CLOSE)
    mean = np.mean([CLOSE[i] @ CLOSE[j] for i in (0, 1) for j in (2, 3)])
    odds = np.exp(20 * mean - 10) / 4
    assert (pair.a, pair.b) == ("a", "b")
    assert pair.probability == pytest.approx(odds / (1 + odds), rel=1e-4)


def test_one_similar_image_of_several_does_not_make_two_individuals_alike():
    rows = [unit(1, 0, 0), unit(0, 1, 0), unit(1, 0, 0), unit(0, 0, 1), unit(0, -1, 0), unit(0, 0, -1)]
    assert found(rows) == []


def test_more_individuals_need_a_higher_similarity_and_suspects_a_lower_one():
    probability = found(CLOSE)[0].probability
    even = 4 * probability / (1 - probability)
    assert found(CLOSE, identities=int(even / 2)) == []
    (pair,) = found(CLOSE, identities=int(even / 2), suspects=[("a", "b")])
    assert pair.probability == pytest.approx(even / (1 + even))
    less = [*CLOSE[:2], *(unit(1, 1.8, 0),) * 2, *CLOSE[4:]]  # about even odds
    assert found(less, suspects=[("a", "b")]) == []


def test_in_a_large_gallery_only_suspects_are_compared(monkeypatch):
    monkeypatch.setattr(module, "MAX_INDIVIDUALS", 2)
    assert found(CLOSE) == []
    assert [(pair.a, pair.b) for pair in found(CLOSE, suspects=[("a", "b")])] == [("a", "b")]


def test_one_picture_under_two_names_is_named_whatever_the_curve_says():
    records = np.arange(6 * 32, dtype=np.uint8).reshape(6, 32)
    records[4, 16:] = records[0, 16:]  # c1 shows what a1 shows; only the digests count
    far = [unit(1, 0, 0), unit(1, 0, 0), unit(0, 1, 0), unit(0, 1, 0), unit(0, 0, 1), unit(-1, 0, 0)]
    (pair,) = found(far, records=records)
    assert pair == AlikeIndividuals("a", "c", pytest.approx(1))
