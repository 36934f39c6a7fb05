import numpy as np
import pytest

from noseprint.inspection.orientation import MIN_ACCURACY, _histograms, find_turned
from noseprint.inspection.summaries import summarise


@pytest.fixture(scope="module")
def thumbnails(many):
    return [look.thumbnail for look in summarise(sorted(many.glob("*/images/*.jpg")))]


def test_turned_photographs_are_told_and_upright_ones_are_not(thumbnails):
    rng = np.random.default_rng(0)
    turns = {int(k): int(rng.integers(1, 4)) for k in rng.permutation(len(thumbnails))[:6]}
    found = find_turned([np.rot90(image, turns.get(k, 0)) for k, image in enumerate(thumbnails)])
    assert found.accuracy > 0.9
    right = sum(turns.get(k, 0) * 90 == degrees for k, degrees in found.turned.items())
    assert right >= 3
    assert len(found.turned) - right <= 1  # of 250


def test_nothing_is_said_where_nothing_can_be_told(thumbnails):
    rng = np.random.default_rng(0)
    anyhow = find_turned([np.rot90(image, rng.integers(4)) for image in thumbnails])
    assert anyhow.accuracy < MIN_ACCURACY
    assert anyhow.turned == {}
    assert find_turned(thumbnails[:99]) is None


def test_one_grey_is_no_direction():
    found = find_turned([np.full((64, 64), 90, np.uint8)] * 100)
    assert found.turned == {}


def test_a_turned_histogram_is_the_histogram_of_the_turned_picture(thumbnails):
    images = np.stack(thumbnails[:5])
    turned = np.roll(np.rot90(_histograms(images), 1, axes=(1, 2)), -2, axis=3)
    np.testing.assert_allclose(turned, _histograms(np.rot90(images, 1, axes=(1, 2))), atol=1e-5)
