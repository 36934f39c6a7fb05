import numpy as np
import pytest

from noseprint.errors import NoseprintError
from noseprint.models.limit import check_limit


@pytest.fixture
def rows():
    rows = np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_what_keeps_the_limit_passes(rows):
    check_limit(rows, dim=64)
    check_limit(rows * np.float32(1.0009), dim=64)
    check_limit(rows[:, :64].astype(np.float16), dim=64, half=True)
    check_limit(rows[:0], dim=64)


def test_what_breaks_the_limit_is_refused_by_name(rows):
    one_more = np.concatenate([rows, np.zeros((5, 1), np.float32)], axis=1)
    long, infinite = rows.copy(), rows.copy()
    long[3] *= np.float32(1.002)
    infinite[2, 7] = np.nan
    for given, half, message in (
        (one_more, False, "have 65 dimensions, more than the limit of 64: train a projection to 64 or fewer"),
        (rows.astype(np.float64), True, "are float64, not float32 or float16: convert them"),
        (rows.astype(np.float16), False, "are float16, not float32: convert"),
        (np.ones((5, 64), np.int64), False, "are int64, not float32"),
        (long, False, r"row 3 of the embeddings has length 1\.002, not 1 \(1 such rows\): divide each row"),
        (np.zeros((2, 3), np.float32), False, r"row 0 .* has length 0, not 1 \(2 such rows\)"),
        (infinite, False, r"row 2 of the embeddings is not finite \(1 such rows\): train"),
        (rows[0], False, r"shape \(64,\): give a table"),
    ):
        with pytest.raises(NoseprintError, match=message):
            check_limit(given, dim=64, half=half)
