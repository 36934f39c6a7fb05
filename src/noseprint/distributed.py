"""One training, or one embedding, in several processes started by torchrun. A plain run is a world of one process.

The loss of a batch uses the embeddings of all processes, so that every rank contributes negatives. Each rank computes
the same loss, but back-propagates through its own embeddings only. The sum of the ranks' gradients is then exactly the
gradient that one process would compute for the whole batch.

Every function here also works in a run of one process; it then returns its argument, or does nothing.
"""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import TypeVar

import torch
import torch.distributed as dist

from noseprint.devices import choose_device
from noseprint.errors import NoseprintError

T = TypeVar("T")
_TIMEOUT = timedelta(minutes=30)  # a rank waits this long for another; torchrun notices a dead one at once


@dataclass(frozen=True)
class World:
    """The rank of this process, the number of processes, and the device of this one."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0


@contextmanager
def join_world(device: str) -> Iterator[World]:
    """Join the processes that torchrun started; without torchrun, yield a world of one.

    Inside another call that has joined them, yield the same world. Raises NoseprintError if there is no such device.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device)
    if size == 1:
        yield World(0, 1, chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    if dist.is_initialized():
        yield World(dist.get_rank(), dist.get_world_size(), chosen)
        return
    # Results that are gathered for a file travel from CPU to CPU: they need not fit beside the network on the GPU.
    dist.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield World(dist.get_rank(), dist.get_world_size(), chosen)
    finally:
        dist.destroy_process_group()


@contextmanager
def report_lost_ranks(processes: int) -> Iterator[None]:
    """Raise NoseprintError instead of the error that a rank meets when another of the `processes` has ended."""
    try:
        yield
    except RuntimeError as error:
        if processes > 1 and (isinstance(error, dist.DistError) or "gloo" in str(error).lower()):
            raise NoseprintError(
                "another process of this run has ended, so this one stops too: see its log, or the messages above. "
                "Run the same torchrun command again to continue from the last checkpoint"
            ) from error
        raise


def gather(embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the embeddings (B, D) and labels (B, ...) of all ranks; only this rank's own rows carry a gradient.

    Ranks may hold different numbers of rows.
    """
    if not dist.is_initialized():
        return embeddings, labels
    counts = [torch.zeros(1, dtype=torch.long, device=labels.device) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, torch.tensor([len(labels)], device=labels.device))
    sizes = [int(count) for count in counts]
    rows = _gather_padded(embeddings.detach(), sizes)
    rows[dist.get_rank()] = embeddings
    return torch.cat(rows), torch.cat(_gather_padded(labels, sizes))


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace each gradient by its sum over the ranks."""
    if not dist.is_initialized():
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def own_rows(rows: int, *, block: int) -> range:
    """Return this rank's share of the rows, in whole blocks (the last may be short).

    The shares are consecutive. If a block is one batch, the batches are the same for any number of ranks.
    """
    rank, size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    blocks = math.ceil(rows / block)
    begin, end = (blocks * part // size * block for part in (rank, rank + 1))
    return range(min(begin, rows), min(end, rows))


def gather_to_main(part: torch.Tensor) -> torch.Tensor:
    """Return the rows (N, D) of all ranks, in order of rank, on rank 0; `part` (n, D) elsewhere. All on the CPU."""
    if not dist.is_initialized():
        return part
    counts = gather_lists([len(part)])
    padded = part.new_zeros((max(counts), *part.shape[1:]))
    padded[: len(part)] = part
    if dist.get_rank() != 0:
        dist.gather(padded)
        return part
    parts = [torch.empty_like(padded) for _ in counts]
    dist.gather(padded, parts)
    return torch.cat([rows[:count] for rows, count in zip(parts, counts, strict=True)])


def gather_lists(items: list[T]) -> list[T]:
    """Return the lists of all ranks, joined in order of rank, on every rank."""
    if not dist.is_initialized():
        return items
    lists: list[list[T]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(lists, items)
    return list(chain.from_iterable(lists))


def is_main_rank() -> bool:
    """Return whether this process writes the files."""
    return not dist.is_initialized() or dist.get_rank() == 0


def wait_for_all() -> None:
    """Return when every rank has called this."""
    if dist.is_initialized():
        dist.barrier()


def any_rank(flag: bool, device: torch.device) -> bool:
    """Return whether `flag` is true on any rank."""
    if not dist.is_initialized():
        return flag
    value = torch.tensor([float(flag)], device=device)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return bool(value.item())


def from_main(values: Sequence[float], device: torch.device) -> list[float]:
    """Return on every rank the `values` that rank 0 gives."""
    if not dist.is_initialized():
        return list(values)
    tensor = torch.tensor(values, device=device, dtype=torch.float32)
    dist.broadcast(tensor, src=0)
    return [float(value) for value in tensor.tolist()]


def _gather_padded(tensor: torch.Tensor, sizes: list[int]) -> list[torch.Tensor]:
    padded = tensor.new_zeros((max(sizes), *tensor.shape[1:]))
    padded[: len(tensor)] = tensor
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return [part[:size] for part, size in zip(parts, sizes, strict=True)]
