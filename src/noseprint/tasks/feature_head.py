"""A projection trained on features that are kept: seconds to minutes, as the backbone does not run."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noseprint.data.samplers import CappedBatches, capped_counts, epoch_steps
from noseprint.losses.margin import MarginSoftmax
from noseprint.losses.margin_options import Margin
from noseprint.progress import progress
from noseprint.training.schedules import learning_rate_factor

WARMUP = 0.05
"""Share of the steps over which the learning rate climbs."""
_EPS = 1e-5  # of BatchNorm


class FeatureHead(NamedTuple):
    """A trained projection, and the classifier that it was trained under.

    weight: (dim, F). bias: (dim,). classes: (K,) in sorted order. centres: (K, centres, dim), directions.
    """

    weight: Tensor
    bias: Tensor
    classes: tuple[str, ...]
    centres: Tensor


def train_head(
    features: npt.NDArray[np.float32],
    identities: Sequence[str],
    *,
    dim: int,
    margin: Margin,
    epochs: int,
    lr: float,
    seed: int,
    weight_decay: float = 0.01,
    dropout: float = 0.2,
    batch_norm: bool = False,
    batch_size: int = 256,
    cap: int = 100,
    floor: int = 30,
    start: tuple[Tensor, Tensor] | None = None,
    device: torch.device | None = None,
) -> FeatureHead:
    """Train n(W dropout(f) + b) under a softmax with a margin, with AdamW.

    features: (N, F), such as `ProjectionNet.features`. identities: (N,). dropout: of features. batch_norm: centre the
    features and divide them by their standard deviation first (BatchNorm without scale and shift, as in arXiv
    2210.09495); weight and bias that are returned contain it. cap, floor: see `CappedBatches`. start: weight (dim, F)
    and bias to start from, such as those of a PCA. None: random ones. Batches and dropout depend on (seed, step) alone.
    """
    classes, labels_of = np.unique(np.asarray(identities), return_inverse=True)
    device = device or torch.device("cpu")
    rows = torch.from_numpy(np.ascontiguousarray(features, np.float32)).to(device)
    labels = torch.from_numpy(labels_of).to(device)
    shift, scale = torch.zeros(rows.shape[1], device=device), torch.ones(rows.shape[1], device=device)
    if batch_norm:
        shift, scale = rows.mean(0), (rows.var(0, correction=0) + _EPS).sqrt()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(rows.shape[1], dim).to(device)
        criterion = MarginSoftmax(len(classes), dim, kind=margin.kind, scale=margin.scale, centres=margin.centres).to(
            device
        )
    if start:
        with torch.no_grad():  # n(W f + b) with f = scale g + shift
            head.weight.copy_(start[0].to(device) * scale)
            head.bias.copy_(start[1].to(device) + start[0].to(device) @ shift)
    rows = (rows - shift) / scale
    per_epoch = epoch_steps(int(capped_counts(identities, cap=cap, floor=floor).sum()), batch_size)
    steps = epochs * per_epoch
    counts = [Counter(labels_of.tolist())[k] for k in range(len(classes))]
    optimizer = torch.optim.AdamW([*head.parameters(), *criterion.parameters()], lr=lr, weight_decay=weight_decay)
    batches = CappedBatches(identities, cap=cap, floor=floor, batch_size=batch_size, steps=steps, seed=seed)
    for step, batch in enumerate(progress(batches, total=steps, desc="head", unit="step", leave=False)):
        if step % per_epoch == 0:
            criterion.set_margin(torch.from_numpy(margin.at(step // per_epoch, counts=counts)))
        for group in optimizer.param_groups:
            group["lr"] = lr * learning_rate_factor("cosine", step, steps=steps, warmup=int(WARMUP * steps))
        drawn = torch.tensor([row for _, row in batch], device=device)
        noise = np.random.default_rng((seed, step, 1)).random((len(drawn), rows.shape[1]), np.float32)
        kept = torch.from_numpy(noise >= dropout).to(device)
        loss = criterion(F.linear(rows[drawn] * kept / (1 - dropout), head.weight, head.bias), labels[drawn])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    weight = head.weight.detach() / scale
    bias = head.bias.detach() - weight @ shift
    centres = criterion.weight.detach().view(len(classes), margin.centres, dim)
    return FeatureHead(weight.cpu(), bias.cpu(), tuple(map(str, classes)), centres.cpu())
