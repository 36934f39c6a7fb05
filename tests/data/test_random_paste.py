import numpy as np
import pytest

from noseprint.data.random_paste import RandomPaste
from noseprint.data.transforms import A, apply_transform

IMAGE = np.full((40, 60, 3), 200, np.uint8)


def pasted(seed: int, **options) -> np.ndarray:
    return apply_transform(A.Compose([RandomPaste(p=1.0, **options)]), IMAGE, (seed,))


def test_the_image_is_smaller_and_elsewhere_on_canvases_of_both_kinds():
    plain, corners = 0, set()
    for seed in range(60):
        result = pasted(seed, scale=(0.5, 0.5))
        assert result.shape == IMAGE.shape
        assert result.dtype == np.uint8
        rows, columns = np.nonzero((result == 200).all(axis=2))
        colours = np.unique(result.reshape(-1, 3), axis=0)
        plain += len(colours) == 2
        if len(colours) == 2:
            assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (20, 30)
            corners.add((rows.min(), columns.min()))
        else:
            assert len(colours) > 500
    assert 15 < plain < 45
    assert len(corners) > 10


def test_the_scale_is_drawn_within_its_range():
    areas = [(pasted(seed, scale=(0.4, 0.8)) == 200).all(axis=2).mean() for seed in range(60)]
    assert 0.15 < min(areas) < 0.3
    assert 0.5 < max(areas) < 0.66
    np.testing.assert_array_equal(pasted(0, scale=(1.0, 1.0)), IMAGE)


def test_the_seed_decides_and_the_image_stays_as_it_was():
    before = IMAGE.copy()
    assert np.array_equal(pasted(3), pasted(3))
    assert not np.array_equal(pasted(3), pasted(4))
    np.testing.assert_array_equal(IMAGE, before)


@pytest.mark.parametrize("scale", [(0.0, 0.5), (0.5, 1.1), (0.9, 0.5)])
def test_impossible_scales_are_refused(scale):
    with pytest.raises(ValueError, match="scale="):
        RandomPaste(scale=scale)
