"""Gradient caching: a contrastive loss over a batch that does not fit in memory at once.

The loss needs all embeddings of a batch, but not all activations at the same time. So the batch is first embedded in
chunks, without keeping activations. The loss then gives the gradient of each embedding. Each chunk is embedded again,
this time keeping its activations, and carries this gradient on to the weights. The sum over the chunks is the gradient
of the whole batch (Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, arXiv
2101.06983, section 3.2). The price is a second forward pass. The rows of the network must not depend on each other:
BatchNorm must be in eval mode, as SupConNet keeps it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn


class ChunkedForward(nn.Module):
    """Takes the place of `network` in a training step: the same embeddings, in the memory of `chunk_size` images.

    Call `backward` after the loss's own backward pass: it adds the gradient to the network's parameters. Random layers
    (dropout, stochastic depth) draw the same numbers in both passes. `autocast` is entered again for the second pass:
    within one context torch would reuse the half-precision weights of the first pass, which carry no gradient.
    """

    def __init__(self, network: nn.Module, chunk_size: int, autocast: AbstractContextManager[object]) -> None:
        super().__init__()
        self.network, self._chunk_size, self._autocast = network, chunk_size, autocast
        self._calls: list[tuple[Tensor, dict[str, bool], Tensor, list[_Randomness]]] = []

    def forward(self, images: Tensor, **flags: bool) -> Tensor:
        """Images (B, 3, H, W) -> embeddings (B, D) that collect a gradient; `flags` are passed to the network."""
        if not torch.is_grad_enabled():
            return torch.cat([self.network(part, **flags) for part in torch.split(images, self._chunk_size)])
        parts, randomness = [], []
        with torch.no_grad():
            for part in torch.split(images, self._chunk_size):
                randomness.append(_Randomness(images.device))
                parts.append(self.network(part, **flags))
        embeddings = torch.cat(parts).requires_grad_()
        self._calls.append((images, flags, embeddings, randomness))
        return embeddings

    def backward(self) -> None:
        """Carry the gradients of all embeddings returned so far on to the network's parameters."""
        for images, flags, embeddings, randomness in self._calls:
            if embeddings.grad is None:  # the loss did not use them
                continue
            gradients = torch.split(embeddings.grad, self._chunk_size)
            parts = zip(torch.split(images, self._chunk_size), gradients, randomness, strict=True)
            for part, gradient, former in parts:
                with former.replay(), self._autocast:
                    rows = self.network(part, **flags)
                torch.autograd.backward(rows, gradient)
        self._calls.clear()


def even_chunks(network: nn.Module, images: Tensor, *, most_bytes: float) -> int | None:
    """Images to pass at a time so that what torch keeps for the backward pass stays below `most_bytes`; None: all.

    images: a batch, uint8 (B, 3, H, W), of which four are passed to see what they take. The chunks are of equal size.
    """
    kept = [_kept_bytes(network, images[:number]) for number in (2, 4)]  # the difference leaves out the weights
    fits = max(1, int(most_bytes / max(1, (kept[1] - kept[0]) / 2)))
    number = -(-len(images) // fits)
    return None if number == 1 or len(images) < 4 else -(-len(images) // number)


def _kept_bytes(network: nn.Module, images: Tensor) -> int:
    """Bytes of the tensors that are kept for the backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(images)
    return sum(kept.values())


class _Randomness:
    """The state of torch's random generators on the CPU and on `device`, to draw the same numbers again."""

    def __init__(self, device: torch.device) -> None:
        self._devices = [device] if device.type == "cuda" else []
        self._cpu = torch.get_rng_state()
        self._cuda = [torch.cuda.get_rng_state(device) for device in self._devices]

    @contextmanager
    def replay(self) -> Iterator[None]:
        """Draw the same numbers inside the context as after this object was made; then restore the state."""
        with torch.random.fork_rng(self._devices):
            torch.set_rng_state(self._cpu)
            for device, state in zip(self._devices, self._cuda, strict=True):
                torch.cuda.set_rng_state(state, device)
            yield
