"""A limit on embeddings, as competitions and databases set it: so many dimensions, and rows of length 1."""

import numpy as np
import numpy.typing as npt

from noseprint.errors import NoseprintError

TOLERANCE = 1e-3
"""How far the length of a row may be from 1."""


def check_limit(embeddings: npt.NDArray[np.floating], *, dim: int, half: bool = False) -> None:
    """Refuse embeddings (N, D) that break a limit.

    They must have up to `dim` columns, be float32 (half: or float16), be finite, and have rows of length 1, within
    TOLERANCE. Raises NoseprintError that names what is wrong, the first such row, and what to do.
    """
    if embeddings.ndim != 2:
        raise NoseprintError(f"embeddings of shape {embeddings.shape}: give a table with a row for each photograph")
    check_dimensions(embeddings.shape[1], dim=dim)
    allowed = ("float32", "float16") if half else ("float32",)
    if str(embeddings.dtype) not in allowed:
        raise NoseprintError(f"embeddings are {embeddings.dtype}, not {' or '.join(allowed)}: convert them")
    rows = embeddings.astype(np.float32, copy=False)
    if len(bad := np.flatnonzero(~np.isfinite(rows).all(axis=1))):
        raise NoseprintError(
            f"row {bad[0]} of the embeddings is not finite ({len(bad)} such rows): train the network again"
        )
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    if len(bad := np.flatnonzero(np.abs(lengths - 1) > TOLERANCE)):
        raise NoseprintError(
            f"row {bad[0]} of the embeddings has length {lengths[bad[0]]:.4g}, not 1 ({len(bad)} such rows): divide "
            "each row by its length"
        )


def check_dimensions(count: int, *, dim: int) -> None:
    """Raise NoseprintError if embeddings have more than `dim` dimensions."""
    if count > dim:
        raise NoseprintError(
            f"embeddings have {count} dimensions, more than the limit of {dim}: train a projection to {dim} or "
            "fewer, or project them by PCA"
        )
