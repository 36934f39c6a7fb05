"""Types and blocks that the metrics share."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Indices = npt.NDArray[np.intp]
Labels = Sequence[str] | npt.NDArray[Any]
BLOCK_VALUES = 2**22  # values of a block of queries x gallery, or replicates x pairs


def blocks(items: Indices, width: int) -> Iterator[Indices]:
    """Parts of `items` of which each item needs `width` values: BLOCK_VALUES a part, one item at the least."""
    step = max(1, BLOCK_VALUES // max(1, width))
    return (items[start : start + step] for start in range(0, len(items), step))
