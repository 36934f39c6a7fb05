"""A head on the features of several members together: trained on stored features, in seconds."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn
from torch.nn import functional as F

from noseprint.data.samplers import epoch_steps
from noseprint.errors import NoseprintError
from noseprint.inference.array_file import read_arrays, write_arrays
from noseprint.inference.classify import ClassifierOutputs, read_outputs, write_outputs
from noseprint.lock import lock
from noseprint.models.weights_header import check_heads, fingerprint
from noseprint.progress import progress
from noseprint.training.schedules import learning_rate_factor
from noseprint.version import __version__

FORMAT = "noseprint fusion head 1"
HeadKind = Literal["linear", "conv"]
Floats = npt.NDArray[np.float32]
_ROWS = 4096  # that pass through a head at a time


class FusionHead(nn.Module):
    """Features of M members, side by side (B, C1 + ... + CM), to logits (B, K).

    sizes: the number of features of each member. kind: "linear": one linear layer. "conv": the members are the places
    of a sequence and their features its channels, the smaller ones filled up with zeros; a convolution of kernel 5
    halves the channels, then come BatchNorm and a linear layer.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, sizes: Sequence[int], classes: int, *, kind: HeadKind) -> None:
        super().__init__()
        self.sizes, self.kind = tuple(sizes), kind
        total, widest = sum(sizes), max(sizes)
        self.register_buffer("mean", torch.zeros(total))
        self.register_buffer("scale", torch.ones(total))
        self.mix: nn.Module = nn.Identity()
        inner = total
        if kind == "conv":
            inner = len(sizes) * (widest // 2)
            self.mix = nn.Sequential(
                nn.Conv1d(widest, widest // 2, kernel_size=5, padding=2, bias=False),
                nn.Flatten(),
                nn.BatchNorm1d(inner),
            )
        self.linear = nn.Linear(inner, classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def standardise(self, features: Floats) -> None:
        """Take each feature's mean and standard deviation from training images (N, C1 + ... + CM)."""
        self.mean.copy_(torch.from_numpy(features.mean(axis=0)))
        self.scale.copy_(torch.from_numpy(features.std(axis=0)).clamp(min=1e-6))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C1 + ... + CM) -> logits (B, K)."""
        rows = (features - self.mean) / self.scale
        if self.kind == "conv":
            places = [
                F.pad(part, (0, max(self.sizes) - part.shape[1])) for part in torch.split(rows, list(self.sizes), 1)
            ]
            rows = torch.stack(places, dim=2)
        logits: Tensor = self.linear(self.mix(rows))
        return logits


def side_by_side(outputs: Sequence[ClassifierOutputs], rows: npt.NDArray[np.integer] | slice = slice(None)) -> Floats:
    """The features of `rows` of the images by all members, (N, C1 + ... + CM)."""
    return np.concatenate([each.features[rows] for each in outputs], axis=1)


def train_head(
    head: FusionHead,
    views: Sequence[Sequence[ClassifierOutputs]],
    labels: Sequence[str],
    *,
    classes: Sequence[str],
    epochs: int,
    batch_size: int,
    lr: float,
    weight_decay: float,
    smoothing: float,
    seed: int,
) -> None:
    """Train a head on views of N images, on the CPU, with AdamW and a cosine schedule.

    Each epoch shows every image once, as a view drawn at random. The same head and seed give the same weights.

    views: for each view what each member computed of it. labels: (N,). classes: (K,), in the order of the logits.
    lr: the peak learning rate. smoothing: of the targets.
    """
    number = {name: index for index, name in enumerate(classes)}
    target = torch.tensor([number[label] for label in labels])
    head.standardise(side_by_side(views[0]))
    optimizer = torch.optim.AdamW(param_groups_weight_decay(head, weight_decay), lr=lr)
    batches = epoch_steps(len(labels), batch_size)
    head.train()
    for epoch in progress(range(epochs), desc="fusion head", unit="epoch", leave=False):
        rng = np.random.default_rng((seed, epoch))
        view_of = rng.integers(len(views), size=len(labels))
        for batch, rows in enumerate(np.array_split(rng.permutation(len(labels)), batches)):
            step = epoch * batches + batch
            rows = rows[np.argsort(view_of[rows], kind="stable")]  # noqa: PLW2901 - each view is read at one go
            parts = np.split(rows, np.searchsorted(view_of[rows], np.arange(1, len(views))))
            features = np.concatenate([side_by_side(views[view], part) for view, part in enumerate(parts)])
            factor = learning_rate_factor("cosine", step, steps=epochs * batches, warmup=epochs * batches // 20)
            for group in optimizer.param_groups:
                group["lr"] = lr * factor
            loss = F.cross_entropy(head(torch.from_numpy(features)), target[rows], label_smoothing=smoothing)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    head.eval()


def write_head(path: Path, head: FusionHead, *, classes: Sequence[str], members: Mapping[str, Path]) -> None:
    """Write a head, completely or not at all. members: the weights of each, in the order of their features."""
    tensors = {name: tensor.detach().cpu().numpy() for name, tensor in head.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "version": __version__,
        "head": head.kind,
        "sizes": json.dumps(head.sizes),
        "classes": json.dumps(classes, ensure_ascii=False),
        "members": json.dumps({name: fingerprint(weights) for name, weights in members.items()}, ensure_ascii=False),
    }
    write_arrays(path, {name: array for name, array in tensors.items() if array.dtype == np.float32}, metadata)


def infer_fusion(results: Path, *, family: Path, run: str, kinds: Sequence[str]) -> None:
    """Write what the head in `results` says, in KIND.safetensors, of the images that every member has classified.

    family: the folder with the members' folders.
    Raises NoseprintError as `fuse_members` does, and if a member has classified no images of the first kind.
    """
    path = results / "head.safetensors"
    names = list(_read_head(path)[2])
    with lock(results):
        for kind in kinds:
            files = {name: family / name / "results" / run / f"{kind}.safetensors" for name in names}
            out = results / f"{kind}.safetensors"
            if kind != kinds[0] and not any(file.is_file() for file in files.values()):
                out.unlink(missing_ok=True)
                continue
            write_outputs(out, fuse_members(path, {name: read_outputs(file) for name, file in files.items()}))
            print(f"{kind}: {out}", flush=True)


def fuse_members(path: Path, members: Mapping[str, ClassifierOutputs]) -> ClassifierOutputs:
    """What the head in a file says of images that its members have classified.

    members: at least those of the head, by name. The features that are returned are those of all members, side by side.
    Raises NoseprintError if the file is missing or damaged, lacks a member, or was trained with other weights than a
    member's, and if the members' images differ.
    """
    head, classes, made_with = _read_head(path)
    if missing := [name for name in made_with if name not in members]:
        raise NoseprintError(f"{path}: needs what {', '.join(missing)} computes, too: run its infer.py first")
    outputs = [members[name] for name in made_with]
    for (name, network), of_member in zip(made_with.items(), outputs, strict=True):
        if of_member.network != network:
            raise NoseprintError(f"{path}: was trained with other weights of {name}: train the fusion again")
        if of_member.names != outputs[0].names:
            raise NoseprintError(f"{path}: {name} has classified other images than the first: run its infer.py again")
    features = side_by_side(outputs)
    with torch.inference_mode():
        logits = [head(part) for part in torch.split(torch.from_numpy(features), _ROWS)]
    return ClassifierOutputs(outputs[0].names, torch.cat(logits).numpy(), features, classes, fingerprint(path))


def _read_head(path: Path) -> tuple[FusionHead, tuple[str, ...], dict[str, str]]:
    """The head, its classes, and the fingerprint of each member."""
    vectors = {"mean": ("float32", 1), "scale": ("float32", 1), "linear.weight": ("float32", 2)}
    vectors |= {"linear.bias": ("float32", 1)}
    mixing = {"mix.0.weight": ("float32", 3)}
    mixing |= {f"mix.2.{name}": ("float32", 1) for name in ("weight", "bias", "running_mean", "running_var")}
    arrays, metadata = read_arrays(path, what="fusion head", format_name=FORMAT, shapes=vectors, optional=mixing)
    try:
        classes = tuple(json.loads(metadata["classes"]))
        members = {str(name): str(network) for name, network in json.loads(metadata["members"]).items()}
        kind: HeadKind = "conv" if metadata["head"] == "conv" else "linear"
        check_heads({"label": classes})
        head = FusionHead(json.loads(metadata["sizes"]), len(classes), kind=kind)
        found = head.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()}, strict=False)
        lacks = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
        if lacks or found.unexpected_keys or len(head.sizes) != len(members):
            raise ValueError("its arrays do not fit together")
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise NoseprintError(f"{path}: is damaged ({type(error).__name__}): train the fusion again") from error
    return head.eval(), classes, members
