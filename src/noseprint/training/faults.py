"""What can go wrong in the middle of a training, as messages that say how to fix it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from noseprint.data.csv_rows import write_csv
from noseprint.errors import NoseprintError

_COLLAPSED = 0.01
"""Embeddings of length 1 that all lie closer than this (a cosine above 0.99995) tell no identities apart."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch means that memory ran out: CUDA has a class for it, the CPU and MPS only a text."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "defaultcpuallocator: can" in text


def largest_that_fits(size: int, attempt: Callable[[int], object]) -> int | None:
    """The largest of size/2, size/4, ... for which `attempt` does not run out of memory; None if all do."""
    while size := size // 2:
        torch.cuda.empty_cache()
        try:
            attempt(size)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        else:
            return size
    return None


def faulty_batch(
    step: int, loss: float, rate: float, *, samples: Sequence[tuple[str, Path]], results: Path, write: bool
) -> NoseprintError:
    """The error for a loss that is not finite; with `write` its `samples` are listed in `results`/faulty_batch.csv."""
    listed = results / "faulty_batch.csv"
    paths = [path for _, path in samples]
    if write:
        write_csv(listed, ("target", "image"), ((target, path.name) for target, path in samples))
    last = results / "last"
    saved = f"The last good state is in {last}" if (last / "state.pt").is_file() else "Nothing was saved yet"
    return NoseprintError(
        f"the loss or its gradient is {loss} at step {step} (learning rate {rate:.2g}; the batch: "
        f"{', '.join(path.name for path in paths[:3])} and {max(0, len(paths) - 3)} more, all in {listed}). "
        f"{saved}; look at those photographs, lower --lr, then --restart"
    )


def require_spread(embeddings: npt.NDArray[np.float32], *, results: Path) -> None:
    """Refuse embeddings (N, D), rows of length 1, that are all the same: the network has collapsed."""
    spread = float(np.linalg.norm(embeddings - embeddings[0], axis=1).max())
    if len(embeddings) > 1 and spread < _COLLAPSED:
        raise NoseprintError(
            f"the network has collapsed: the embeddings of {len(embeddings)} photographs differ by at most "
            f"{spread:.1g}, so it tells no identities apart. Earlier weights are still in {results}; lower --lr or "
            "raise --warmup, then --restart"
        )
