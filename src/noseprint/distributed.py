"""One training, or one embedding, over several processes started by torchrun; a plain run is a world of one.

The loss of a batch is taken over the embeddings of all processes, so that negatives come from every rank. Each rank
computes that same loss but back-propagates through its own embeddings only; the sum of the ranks' gradients is then
exactly the gradient of one process with the whole batch.
"""

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from noseprint.devices import choose_device
from noseprint.errors import NoseprintError

T = TypeVar("T")
_PATIENCE = timedelta(minutes=30)  # how long a rank waits for another; a dead one is noticed by torchrun at once


@dataclass(frozen=True)
class World:
    """Which process this is, of how many, and where it computes."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0


@contextmanager
def join_world(device: str) -> Iterator[World]:
    """Join the processes that torchrun started, or be alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device)
    if size == 1:
        yield World(0, 1, chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    # What is gathered for the files never has to fit beside a network on the card: it travels from CPU to CPU.
    dist.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield World(dist.get_rank(), dist.get_world_size(), chosen)
    finally:
        dist.destroy_process_group()


@contextmanager
def report_lost_ranks(processes: int) -> Iterator[None]:
    """Name the fault when another of several `processes` has gone away."""
    try:
        yield
    except RuntimeError as error:
        if processes > 1 and (isinstance(error, dist.DistError) or "gloo" in str(error).lower()):
            raise NoseprintError(
                "another process of this run has ended, so this one ends too: see above or in its log why. "
                "The same torchrun command goes on from what is saved"
            ) from error
        raise


def gather(embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The embeddings (B, D) and labels (B,) of all ranks, of which only this rank's own rows carry a gradient.

    Ranks may hold different numbers of rows. Alone, the arguments themselves.
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
    """Replace each gradient by its sum over the ranks. Alone, nothing."""
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
    """The rows that are this rank's to work on, in whole blocks (the last may be short). Alone, all of them.

    The ranks' shares follow one another. With blocks as large as the batches that one process would form, each batch is
    the same whoever computes it.
    """
    rank, size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    blocks = math.ceil(rows / block)
    begin, end = (blocks * part // size * block for part in (rank, rank + 1))
    return range(min(begin, rows), min(end, rows))


def gather_to_main(part: torch.Tensor) -> torch.Tensor:
    """On rank 0 the rows (N, D) of all ranks, one rank after the other; elsewhere `part` (n, D) itself. On the CPU."""
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
    """The lists of all ranks, one after the other, on every rank."""
    if not dist.is_initialized():
        return items
    lists: list[list[T]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(lists, items)
    return [item for each in lists for item in each]


def wait_for_all() -> None:
    """Return when every rank has come here. Alone, at once."""
    if dist.is_initialized():
        dist.barrier()


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether `flag` is true on any rank."""
    if not dist.is_initialized():
        return flag
    value = torch.tensor([float(flag)], device=device)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return bool(value.item())


def _gather_padded(tensor: torch.Tensor, sizes: list[int]) -> list[torch.Tensor]:
    padded = tensor.new_zeros((max(sizes), *tensor.shape[1:]))
    padded[: len(tensor)] = tensor
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return [part[:size] for part, size in zip(parts, sizes, strict=True)]
