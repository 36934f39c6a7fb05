"""Products that are faster than exact similarities, and wrong by no more than is known."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]
Key = TypeVar("Key")
_STEP, _FEW = 64, 16  # more queries than a few are filled up to a multiple of the step


@dataclass(frozen=True)
class Sieve:
    """Queries that a block of the gallery is multiplied with: product * unit misses the similarity by `error` at most.

    `queries` (Q, D) are of the type, and in the basis, of the blocks; `unit` and `error` are (Q,).
    """

    queries: torch.Tensor
    unit: Floats
    error: Floats

    def product(self, who: Rows, block: torch.Tensor) -> torch.Tensor:
        """(W, R) of the queries `who` (W,) with `block` (R, D).

        For each shape of a product in fewer digits than float32 oneDNN compiles a kernel, a millisecond: numbers of
        queries are filled up to few.
        """
        filled = np.resize(who, -(-len(who) // _STEP) * _STEP if len(who) > _FEW else len(who))
        queries = self.queries[torch.from_numpy(filled)]
        if block.dtype != torch.int8:
            return (queries @ block.T)[: len(who)]
        if int8_is_fast():
            return torch._int_mm(queries, block.T)[: len(who)]
        return (queries.float() @ block.float().T)[: len(who)]

    def at_least_kth(self, product: torch.Tensor, who: Rows, k: int) -> Floats:
        """A similarity (W,) that `k` columns of `product` reach in truth."""
        kth = product.topk(k, dim=1).values[:, -1].float().numpy()
        return np.asarray(kth * self.unit[who] - self.error[who], dtype=np.float32)

    def may_reach(self, product: torch.Tensor, who: Rows, similarity: Floats) -> Rows:
        """The flat places of `product` (W, R) whose true similarity may be `similarity` (W,) or more."""
        least = (similarity - self.error[who]) / self.unit[who]
        if product.dtype == torch.int32:
            least = np.clip(np.floor(least), -(2**31), 2**31 - 2**7).astype(np.int32)
            return np.flatnonzero(product.numpy() >= least[:, None])
        rounded = torch.from_numpy(least).to(product.dtype)
        if product.dtype == torch.bfloat16 and (rounded > 0).all():  # in the order of their bits: 8x faster
            product, rounded = product.view(torch.int16), rounded.view(torch.int16)
        elif product.dtype == torch.bfloat16:
            return np.flatnonzero((product >= rounded[:, None]).numpy())
        return np.flatnonzero(product.numpy() >= rounded.numpy()[:, None])


def float_sieve(queries: Floats, kind: torch.dtype) -> Sieve:
    """For blocks of type `kind`, float32 or bfloat16; the error is proven, for rows of length 1 at most.

    bfloat16 keeps 8 binary digits (relative error 2**-9): both factors, the product and the threshold it is held
    against are rounded. The rest is what sums of D terms in float32 may differ by.
    """
    error = (4.1 * 2**-9 if kind == torch.bfloat16 else 0.0) + queries.shape[1] * 2**-22
    every = np.ones(len(queries), dtype=np.float32)
    return Sieve(torch.from_numpy(queries).to(kind), every, np.float32(error) * every)


def int8_sieve(queries: Floats, *, rotation: torch.Tensor, step: float) -> Sieve:
    """For blocks of `to_int8(rows @ rotation, step)`, rows and queries of length 1 at most.

    After a random rotation (D, D) what rounding takes from one coordinate is independent of the others', whatever the
    embeddings are: uniform in a step, so that a product with a row of length 1 is wrong with a standard deviation of
    0.29 steps. The error allowed is 2 steps of either side, nearly 7 standard deviations: not proven, but never seen.
    """
    turned = torch.from_numpy(queries) @ rotation
    own = turned.abs().amax(dim=1).clamp(min=1e-9) / 127
    unit = own.numpy()
    return Sieve(to_int8(turned, own[:, None]), unit * np.float32(step), 2 * (unit + np.float32(step)))


def random_rotation(width: int, rng: np.random.Generator) -> torch.Tensor:
    """An orthogonal matrix (D, D), float32."""
    rotation: torch.Tensor = torch.linalg.qr(torch.from_numpy(rng.standard_normal((width, width)))).Q
    return rotation.float()


def to_int8(values: torch.Tensor, step: torch.Tensor | float) -> torch.Tensor:
    """`values` in whole steps, -127 to 127."""
    return (values / step).round().clamp(-127, 127).to(torch.int8)


@cache
def coarse_type() -> torch.dtype:
    """The type in which this machine multiplies faster, bfloat16 or float32, by trial; results do not depend on it."""
    return _quickest({kind: partial(torch.mm, *_factors(kind)) for kind in (torch.float32, torch.bfloat16)})


@cache
def int8_is_fast() -> bool:
    """Whether this machine multiplies int8 faster than float32, by trial; results do not depend on it."""
    try:
        return _quickest(
            {
                True: partial(torch._int_mm, *_factors(torch.int8)),
                False: partial(torch.mm, *_factors(torch.float32)),
            }
        )
    except (AttributeError, RuntimeError):  # torch has none for this machine
        return False


def _factors(kind: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.ones(256, 512, dtype=kind), torch.ones(4096, 512, dtype=kind).T


def _quickest(products: Mapping[Key, Callable[[], object]]) -> Key:
    """The key of the quickest of three goes."""
    seconds = {}
    for key, product in products.items():
        times = []
        for _ in range(3):
            start = time.perf_counter()
            product()
            times.append(time.perf_counter() - start)
        seconds[key] = min(times)
    return min(seconds, key=lambda key: seconds[key])
