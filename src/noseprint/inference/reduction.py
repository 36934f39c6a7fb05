"""Fewer dimensions, and several networks in one: PCA, random projection, joined backbones, mixtures and soups.

A projection is a weight (D, F) and a bias (D,), as `ProjectionNet.set_projection` takes them. Features are those of
`ProjectionNet.features`, (N, F).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from noseprint.errors import NoseprintError
from noseprint.models.projection_net import ProjectionNet, plan_network
from noseprint.models.weights import load_projection
from noseprint.training.averaging import average_weights

Floats: TypeAlias = npt.NDArray[np.floating]
Projection: TypeAlias = tuple[Tensor, Tensor]


def pca_projection(features: Floats, dim: int, *, whiten: bool) -> Projection:
    """Project on the `dim` directions of greatest variance, greatest first: W (f - mean).

    whiten: divide each direction by its standard deviation. The greatest entry of each row of W is positive, so that
    the same features give the same projection. Raises NoseprintError if the features have too few rows or columns, if
    they are not finite, or if they do not vary in `dim` directions.
    """
    rows, columns = features.shape
    if not 1 <= dim <= min(rows - 1, columns):
        raise NoseprintError(
            f"PCA to {dim} dimensions needs as many features and {dim + 1} photographs: got {columns}, {rows}; choose "
            "fewer dimensions, or add photographs"
        )
    if not np.isfinite(features).all():
        raise NoseprintError("PCA: the features are not finite; compute them again")
    x = features.astype(np.float64)
    mean = x.mean(0)
    directions, variance = principal_directions(x - mean, dim)
    if not variance[-1] > 1e-10 * variance[0]:
        count = int((variance > 1e-10 * variance[0]).sum())
        raise NoseprintError(f"PCA: the features vary in {count} directions only, not {dim}; choose fewer dimensions")
    weight = directions.T / (np.sqrt(variance)[:, None] if whiten else 1)
    return with_fixed_signs(weight, mean)


def principal_directions(
    centred: npt.NDArray[np.float64], count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The `count` directions of greatest variance of centred rows (N, F): (F, count), and the variances (count,).

    They are eigenvectors of the smaller of the two products, (N, N) or (F, F).
    """
    if len(centred) < centred.shape[1]:
        values, directions = np.linalg.eigh(centred @ centred.T)  # ascending
        directions = centred.T @ (directions / np.sqrt(np.maximum(values, 1e-12 * values[-1])))
    else:
        values, directions = np.linalg.eigh(centred.T @ centred)
    return directions[:, ::-1][:, :count], values[::-1][:count] / (len(centred) - 1)


def with_fixed_signs(weight: npt.NDArray[np.float64], mean: npt.NDArray[np.float64]) -> Projection:
    """The projection W (f - mean), with the greatest entry of each row of W positive."""
    weight = weight * np.sign(weight[np.arange(len(weight)), np.abs(weight).argmax(axis=1)])[:, None]
    return torch.from_numpy(weight).float(), torch.from_numpy(-weight @ mean).float()


def random_projection(features: int, dim: int, *, seed: int) -> Projection:
    """A Gaussian matrix (dim, features) that keeps lengths on average (Johnson and Lindenstrauss 1984); bias 0."""
    weight = np.random.default_rng(seed).standard_normal((dim, features)) / np.sqrt(dim)
    return torch.from_numpy(weight).float(), torch.zeros(dim)


def compose(first: Projection, then: Projection) -> Projection:
    """One projection that does what two do one after the other."""
    (weight, bias), (again, shift) = ([part.double() for part in pair] for pair in (first, then))
    return (again @ weight).float(), (again @ bias + shift).float()


def side_by_side(projections: Sequence[Projection]) -> Projection:
    """The projections of several networks as one on their joined features (see `join`): blocks along the diagonal."""
    weights, biases = zip(*projections, strict=True)
    return torch.block_diag(*weights), torch.cat(biases)  # type: ignore[no-untyped-call]


def mixture(first: Projection, second: Projection, *, dims: tuple[int, int], features: Floats) -> Projection:
    """Some dimensions of one projection and some of another, such as trained ones and ones of PCA.

    dims: how many of each. Where a projection has more, it is rotated first, which changes no cosine, so that the
    dimensions that are kept hold as much of the squared length as possible. features: (N, F), on which the mean squared
    lengths of the two parts become as dims[0] : dims[1].
    Raises NoseprintError for projections of other features, or with fewer dimensions than `dims` asks for.
    """
    parts = []
    for (weight, bias), count in zip((first, second), dims, strict=True):
        if weight.shape[1] != features.shape[1] or not 1 <= count <= len(weight):
            raise NoseprintError(
                f"mixture: {count} dimensions of {features.shape[1]} features cannot come from a projection of "
                f"{weight.shape[1]} features to {len(weight)} dimensions"
            )
        whole = np.column_stack([weight.double().numpy(), bias.double().numpy()])
        projected = features @ whole[:, :-1].T + whole[:, -1]
        moments = projected.T @ projected / len(features)
        values, directions = np.linalg.eigh(moments)  # ascending
        if count < len(whole):
            kept = directions[:, ::-1][:, :count].T
            kept *= np.sign(kept[np.arange(count), np.abs(kept).argmax(axis=1)])[:, None]
            whole, length = kept @ whole, values[::-1][:count].sum()
        else:
            length = values.sum()
        if not length > 0:
            raise NoseprintError("mixture: one of the projections gives 0 for all features; give another")
        parts.append(whole * np.sqrt(count / length))
    both = torch.from_numpy(np.concatenate(parts)).float()
    return both[:, :-1].contiguous(), both[:, -1].contiguous()


def join(networks: Sequence[ProjectionNet], *, projection: Projection) -> ProjectionNet:
    """One network with the backbones of several, in order, and one projection of all their features.

    Raises NoseprintError for networks of different input sizes, or a projection that does not fit.
    """
    first, *others = networks
    if sizes := {network.image_size for network in others} - {first.image_size}:
        raise NoseprintError(f"networks for {first.image_size} and {min(sizes)} pixels: give them one size (with_size)")
    weight, bias = projection
    plan = [backbone for network in networks for backbone in network.plan]
    joined = plan_network(plan, dim=len(weight), image_size=first.image_size, like=first)
    for own, given in zip(
        joined.backbones, [backbone for network in networks for backbone in network.backbones], strict=True
    ):
        own.load_state_dict(given.state_dict())
    if weight.shape != joined.projection.weight.shape:
        raise NoseprintError(
            f"a projection of {weight.shape[1]} features does not fit networks with {joined.projection.in_features}"
        )
    joined.set_projection(weight, bias)
    return joined


def soup(files: Sequence[Path]) -> ProjectionNet:
    """The network with the mean of the weights in `files` (model soups, arXiv 2203.05482, eq. 1), in eval mode.

    The networks must share their projection, to the last bit: then their embeddings have the same coordinates. If they
    do not, this raises NoseprintError, since the mean of independent networks is worse than each (GUIE 2022, 1st place:
    mean of embeddings .668 with projections of their own, .678 with a shared one, .672 for the best single network).
    """
    if not files:
        raise NoseprintError("a soup needs at least one weights file")
    network = load_projection(files[0])
    for path in files[1:]:
        other = load_projection(path)
        pairs = zip(network.projection.parameters(), other.projection.parameters(), strict=True)
        if other.config() != network.config() or not all(torch.equal(a, b) for a, b in pairs):
            raise NoseprintError(
                f"{path} and {files[0]} do not share their projection. Their embeddings have different coordinates, "
                "and a mean of the networks is worse than each: train them with one frozen projection, or join them"
            )
    average_weights(network, files)
    return network


def greedy_soup(files: Sequence[Path], *, score: Callable[[ProjectionNet], float]) -> tuple[Path, ...]:
    """The files whose `soup` has the best score (arXiv 2203.05482, recipe 1).

    Starts with the file that scores best, then tries the others, best first, and keeps each that does not lower the
    score. score: such as the precision on a hold-out, never on the test set. Raises NoseprintError as `soup` does.
    """
    soup(files)  # so that networks that cannot be mixed are refused before any is scored
    single = {path: score(soup([path])) for path in files}
    first, *others = sorted(files, key=lambda path: -single[path])
    kept, best = [first], single[first]
    for path in others:
        if (mixed := score(soup([*kept, path]))) >= best:
            kept, best = [*kept, path], mixed
    return tuple(kept)
