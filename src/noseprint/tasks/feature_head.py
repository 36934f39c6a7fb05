"""The head: a projection trained on kept features. The backbone does not run, so it takes seconds to minutes."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noseprint.data.holdout import holdout_hash
from noseprint.data.instances import InstanceTable
from noseprint.data.samplers import CappedBatches, capped_counts, epoch_steps
from noseprint.losses.margin import MarginSoftmax
from noseprint.metrics.similarity import Embeddings
from noseprint.models.projection_net import ProjectionNet
from noseprint.models.weights import save_weights
from noseprint.progress import progress
from noseprint.tasks.instances import SCORE, Classifier, score_holdout, write_classifier
from noseprint.tasks.phase_options import HeadOptions
from noseprint.training.schedules import learning_rate_factor

WARMUP = 0.05
"""Share of the steps over which the learning rate climbs."""
_EPS = 1e-5  # of BatchNorm


class FeatureHead(NamedTuple):
    """A trained projection, and the classifier that it was trained with.

    weight: (dim, F). bias: (dim,).
    """

    weight: Tensor
    bias: Tensor
    classifier: Classifier


def train_head(
    features: Embeddings,
    identities: Sequence[str],
    *,
    options: HeadOptions,
    start: tuple[Tensor, Tensor] | None = None,
) -> FeatureHead:
    """Train n(W dropout(f) + b) under a softmax with a margin, with AdamW.

    features: (N, F), such as `ProjectionNet.features`. identities: (N,). start: weight (dim, F) and bias (dim,) to
    start from, such as those of a PCA; None: random ones. With `options.batch_norm`, the returned weight and bias
    contain it (BatchNorm without scale and shift, as in arXiv 2210.09495). Batches and dropout depend on (seed, step)
    alone.
    """
    margin, seed = options.margin, options.seed
    classes, labels_of = np.unique(np.asarray(identities), return_inverse=True)
    rows = torch.from_numpy(np.ascontiguousarray(features, np.float32))
    labels = torch.from_numpy(labels_of)
    shift, scale = torch.zeros(rows.shape[1]), torch.ones(rows.shape[1])
    if options.batch_norm:
        shift, scale = rows.mean(0), (rows.var(0, correction=0) + _EPS).sqrt()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(rows.shape[1], options.dim)
        criterion = MarginSoftmax(
            len(classes), options.dim, kind=margin.kind, scale=margin.scale, centres=margin.centres
        )
    if start:
        length = start[0].norm(dim=1).mean()  # n hides it, but a learning rate suits rows of one length only
        with torch.no_grad():  # n(W f + b) with f = scale g + shift
            head.weight.copy_(start[0] / length * scale)
            head.bias.copy_((start[1] + start[0] @ shift) / length)
    rows = (rows - shift) / scale
    shown = int(capped_counts(identities, cap=options.cap, floor=options.floor).sum())
    per_epoch = epoch_steps(shown, min(shown, options.batch_size))
    steps = options.epochs * per_epoch
    counts = [Counter(labels_of.tolist())[k] for k in range(len(classes))]
    optimizer = torch.optim.AdamW(
        [*head.parameters(), *criterion.parameters()], lr=options.lr, weight_decay=options.weight_decay
    )
    batches = CappedBatches(
        identities, cap=options.cap, floor=options.floor, batch_size=options.batch_size, steps=steps, seed=seed
    )
    for step, batch in enumerate(progress(batches, total=steps, desc="head", unit="step", leave=False)):
        if step % per_epoch == 0:
            criterion.set_margin(torch.from_numpy(margin.at(step // per_epoch, counts=counts)))
        for group in optimizer.param_groups:
            group["lr"] = options.lr * learning_rate_factor("cosine", step, steps=steps, warmup=int(WARMUP * steps))
        drawn = torch.tensor([row for _, row in batch])
        noise = np.random.default_rng((seed, step, 1)).random((len(drawn), rows.shape[1]), np.float32)
        kept = torch.from_numpy(noise >= options.dropout)
        loss = criterion(F.linear(rows[drawn] * kept / (1 - options.dropout), head.weight, head.bias), labels[drawn])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    weight = head.weight.detach() / scale
    bias = head.bias.detach() - weight @ shift
    centres = criterion.weight.detach().view(len(classes), margin.centres, options.dim)
    return FeatureHead(weight, bias, dict(zip(map(str, classes), centres, strict=True)))


def save_head(
    results: Path,
    network: ProjectionNet,
    head: FeatureHead,
    features: Embeddings,
    *,
    holdout: InstanceTable,
    among: InstanceTable,
) -> str:
    """Write `network`, which projects by `head`, and the classifier to `results`; return a line with the score.

    features: (N, F) those of the hold-out and, after it, of the images `among`, for the score in the weights file. The
    hold-out may be empty.
    """
    extra = {"recipe": "head", "training": json.dumps({"phase": "head"})}
    line = "no identities are held out, so nothing shows how good the projection is"
    if len(holdout):
        with torch.inference_mode():
            embeddings = F.normalize(F.linear(torch.from_numpy(features), head.weight, head.bias))
        scores = score_holdout(embeddings.numpy(), holdout, among)
        extra |= {"holdout": json.dumps(scores.values), "held_out": holdout_hash(holdout.identities)}
        line = f"hold-out ({scores.size}): {SCORE} {scores.values[SCORE]:.4f}"
    save_weights(results / "best.safetensors", network, extra=extra)
    write_classifier(results / "classifier.safetensors", head.classifier)
    return line
