"""Chooses, on the hold-out, which weights of which networks answer together: snapshots, soups and averages."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from scipy.special import softmax

from noseprint.data.class_tables import ClassTable
from noseprint.data.class_tree import ClassTree, TreeFile
from noseprint.data.transforms import Transform
from noseprint.errors import NoseprintError
from noseprint.files import atomic_write, file_hash
from noseprint.inference.cached_outputs import cached_outputs, outputs_file
from noseprint.inference.classify import ClassifierOutputs, classify_photographs, write_outputs
from noseprint.inference.ensemble import Join, fit_temperature, greedy_selection, weighted_mean, with_temperature
from noseprint.inference.out_of_fold import require_unseen, table_hash
from noseprint.inference.tree_answers import node_threshold
from noseprint.metrics.bootstrap import Score
from noseprint.metrics.classification import log_losses, true_ranks
from noseprint.metrics.hierarchy import hierarchy_scores
from noseprint.models.classifier import ClassifierNet
from noseprint.models.weights import fingerprint, load_classifier, save_weights
from noseprint.models.weights_header import read_header
from noseprint.training.averaging import average_weights
from noseprint.version import __version__

Floats = npt.NDArray[np.floating]
FILE = "selection.json"
HOLDOUT = "holdout.safetensors"
"""What the chosen networks together say of the held-out images."""


@dataclass(frozen=True)
class ScoredCandidate:
    """Weights that may be chosen, and their scores on the hold-out. joined: how often they joined the selection."""

    name: str
    fingerprint: str
    top_1: float
    top_3: float
    log_loss: float
    joined: int


@dataclass(frozen=True)
class ChosenNetwork:
    """Weights that answer. file: from the family's folder. weight: of its probabilities in the mean."""

    name: str
    file: str
    fingerprint: str
    weight: int


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What selection.json says.

    classes, levels: of the tree, see `ClassTree`. tree_file: from which it was read, if any. networks: that answer
    together. temperature: of their mean. right: the share of the answers that must be right. threshold: of
    `node_threshold`; None if there is none. images: how many were held out. top_1: of the mean, on these. candidates:
    all weights that were there. lines: who joined, and why.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=False)
    format: str = "noseprint selection 1"
    version: str
    classes: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]
    networks: tuple[ChosenNetwork, ...]
    temperature: float
    right: float
    threshold: float | None
    images: int
    top_1: Score
    candidates: tuple[ScoredCandidate, ...]
    lines: tuple[str, ...]
    tree_file: TreeFile | None = None

    @property
    def sure_from(self) -> float:
        """The probability from which a node is sure: the threshold or, without one, the share `right`."""
        return self.right if self.threshold is None else self.threshold

    @property
    def promise(self) -> str:
        """What the answers promise, in a line of text."""
        rule = f"The answer is the deepest node whose probability is {self.sure_from:.2f} or more"
        if self.threshold is None:
            return (
                f"{rule}. Nothing shows that {self.right:.0%} of these answers are right: no threshold passed the test."
            )
        return f"{rule}: then at least {self.right:.0%} of the answers are right, with 95 % confidence."

    @property
    def tree(self) -> ClassTree:
        """The tree above the classes."""
        return ClassTree(self.classes, self.levels)

    def mean(self, outputs: Sequence[ClassifierOutputs]) -> Floats:
        """The probabilities (N, K) of the networks together, by what each computed, in their order."""
        mean = weighted_mean((_softmax(of) for of in outputs), [network.weight for network in self.networks])
        return with_temperature(mean, self.temperature)


_ADAPTER = TypeAdapter(Selection)


def read_selection(family: Path, run: str) -> Selection:
    """Read results/RUN/selection.json of a family, and check that its weights are those that were chosen.

    Raises NoseprintError if it is missing or damaged, and for weights that are missing or have changed.
    """
    path = family / "results" / run / FILE
    try:
        selection = _ADAPTER.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise NoseprintError(f"{path} is missing: run train.sh with the same options first") from None
    except OSError as error:
        raise NoseprintError(f"{path} cannot be read ({error.strerror})") from None
    except ValidationError as error:
        why = error.errors()[0]
        at = ".".join(map(str, why["loc"]))
        why_text = f"{at}: {why['msg']}" if at else why["msg"]
        raise NoseprintError(
            f"{path}: is not the selection of a run ({why_text}). Delete it, then run train.sh with the same options"
        ) from None
    again = f"delete {path}, then run train.sh with the same options: it chooses again among the weights that are there"
    for network in selection.networks:
        weights = family / network.file
        if not weights.is_file():
            raise NoseprintError(f"{weights} is missing, and {path} names it: {again}")
        if fingerprint(weights) != network.fingerprint:
            raise NoseprintError(f"{weights}: these are not the weights that {path} chose: {again}")
        if read_header(weights).heads != {"label": selection.classes}:
            raise NoseprintError(f"{weights}: these weights have other classes than {path}: {again}")
    return selection


def selection_hash(family: Path, run: str) -> str:
    """The start of the hash of selection.json: what was computed with it carries this."""
    return file_hash(family / "results" / run / FILE)[:16]


def member_folders(results: Path, names: Sequence[str]) -> tuple[dict[str, Path], float]:
    """The folders of the members `names` in `results`, and the share of the images that all of them held out.

    Raises NoseprintError if one has not been trained, or held out another share.
    """
    folders = {name: results / name for name in names}
    if missing := [name for name, folder in folders.items() if not (folder / "best.safetensors").is_file()]:
        raise NoseprintError(
            f"{folders[missing[0]] / 'best.safetensors'} is missing: train {', '.join(missing)} first, or name other "
            "networks with --members"
        )
    shares = {name: read_header(folder / "best.safetensors").holdout_share or 0.0 for name, folder in folders.items()}
    if len(set(shares.values())) > 1:
        shown = ", ".join(f"{name} {share:g}" for name, share in shares.items())
        raise NoseprintError(f"the members held out different shares of the images ({shown}): train them alike")
    return folders, next(iter(shares.values()))


@dataclass(frozen=True)
class HeldOut:
    """The images on which candidates are judged, and how networks see and compute them."""

    images: ClassTable
    transform: Callable[[int], Transform]
    device: torch.device
    workers: int | None
    cache: Path

    @property
    def name(self) -> str:
        """A hash of the images and labels."""
        return table_hash(self.images)

    def logits(self, weights: Path, name: str) -> ClassifierOutputs:
        """What the network in a file says of the images; computed once, and then `name` is printed."""
        if not outputs_file(self.cache, weights, self.images, transform=self.transform, features=False).is_file():
            self.say(name)
        return cached_outputs(
            self.cache,
            weights,
            self.images,
            transform=self.transform,
            features=False,
            device=self.device,
            workers=self.workers,
        )

    def say(self, name: str) -> None:
        """Print that the images are computed with a network."""
        print(f"{name}: {len(self.images)} images ...", flush=True)


def select_networks(
    members: Mapping[str, Path], held_out: HeldOut, *, family: Path, run: str, tree: ClassTree, right: float
) -> Selection:
    """Choose from the members' averaged weights, snapshots and soups, and write selection.json.

    The mean of the probabilities of those chosen is right most often on the hold-out: see `greedy_selection`. Soups,
    the means of a member's snapshots, are written to select/results/RUN. Nothing is computed twice.

    members: name -> the folder with best.safetensors and, perhaps, snapshots/1.safetensors and so on. held_out: the
    images. tree: above the classes. right: see `node_threshold`.
    Raises NoseprintError if weights have other classes, or learned from held-out images, or if no image is held out.
    """
    if not len(held_out.images):
        raise NoseprintError("no image is held out, so nothing shows which networks are good: train with --holdout 0.1")
    images, results = held_out.images, family / "select" / "results" / run
    files = dict[str, Path]()
    for member, folder in members.items():
        best = folder / "best.safetensors"
        if read_header(best).heads != {"label": tree.classes}:
            raise NoseprintError(f"{best}: has other classes than the training images have now: train it again")
        require_unseen(best, images)
        snapshots = sorted((folder / "snapshots").glob("*.safetensors"), key=lambda path: int(path.stem))
        files[f"{member}/best"] = best
        named = {f"{member}/snapshot {path.stem}": path for path in snapshots}
        files |= named
        if len(snapshots) > 1:
            uniform, greedy = results / f"{member}-uniform.safetensors", results / f"{member}-greedy.safetensors"
            _make_soup(uniform, named, held_out)
            _make_soup(greedy, named, held_out, greedy=f"{member}/greedy soup")
            files |= {f"{member}/uniform soup": uniform, f"{member}/greedy soup": greedy}
    outputs = {name: held_out.logits(path, name) for name, path in files.items()}
    _remove_others(held_out, files.values())
    probabilities, names = [_softmax(of) for of in outputs.values()], list(files)
    truth = np.array([tree.classes.index(label) for label in images.labels])
    joins = greedy_selection(probabilities, truth)
    times = Counter(join.member for join in joins)
    mean = weighted_mean(probabilities, [times[at] for at in range(len(names))])
    temperature = fit_temperature(mean, truth)
    mean = with_temperature(mean, temperature)
    groups = np.asarray(images.groups) if images.groups else None
    top_1 = hierarchy_scores(mean, images.labels, tree=tree, groups=groups).top[1]
    found = Selection(
        version=__version__,
        classes=tree.classes,
        levels=tree.levels,
        networks=tuple(
            ChosenNetwork(names[at], _from(family, files[names[at]]), fingerprint(files[names[at]]), times[at])
            for at in sorted(times)
        ),
        temperature=temperature,
        right=right,
        threshold=node_threshold(mean, truth, tree=tree, least=right, groups=groups),
        images=len(images),
        top_1=top_1,
        candidates=tuple(
            _score(name, fingerprint(files[name]), p, images.labels, tree=tree, joined=times[at])
            for at, (name, p) in enumerate(zip(names, probabilities, strict=True))
        ),
        lines=tuple(_lines(joins, names, images=len(images))),
        tree_file=tree.file,
    )
    with atomic_write(family / "results" / run / FILE) as part:
        part.write_bytes(_ADAPTER.dump_json(found, indent=1) + b"\n")
    write_together(results / HOLDOUT, images.names, mean, classes=tree.classes, made_by=selection_hash(family, run))
    return found


def write_together(
    path: Path, names: Sequence[str], probability: Floats, *, classes: tuple[str, ...], made_by: str
) -> None:
    """Write the probabilities (N, K) of an ensemble as the logits of one network. made_by: the `selection_hash`."""
    logits = np.log(np.maximum(probability, np.finfo(np.float32).tiny)).astype(np.float32)
    write_outputs(path, ClassifierOutputs(tuple(names), logits, logits[:, :0], classes, made_by))


def _make_soup(path: Path, named: Mapping[str, Path], held_out: HeldOut, *, greedy: str = "") -> None:
    """Write the mean of the weights of snapshots, unless it is there.

    named: by what is printed. greedy: the name of the soup, which is then only of those that help.
    They are added from the best to the worst, and one stays if the mean is right at least as often with it (Wortsman
    et al., "Model soups", arXiv 2203.05482, recipe 1).
    """
    snapshots = list(named.values())
    made_from = json.dumps([held_out.name if greedy else "", *map(fingerprint, snapshots)])
    if path.is_file() and read_header(path).extra.get("soup") == made_from:
        return
    network = load_classifier(snapshots[0])
    network.eval()
    labels, kept = held_out.images.labels, snapshots
    if greedy:
        alone = {file: _accuracy(held_out.logits(file, name), labels) for name, file in named.items()}
        best, *others = sorted(snapshots, key=lambda file: -alone[file])
        kept, accuracy = [best], alone[best]
        for file in others:
            average_weights(network, [*kept, file])
            held_out.say(f"{greedy}, with snapshot {file.stem}")
            with_it = _accuracy(_classify(network, held_out), labels)
            if with_it >= accuracy:
                kept, accuracy = [*kept, file], with_it
    average_weights(network.to("cpu"), kept)
    names = json.dumps([file.stem for file in kept])
    save_weights(path, network, extra={"recipe": "soup", "soup": made_from, "snapshots": names})


def _classify(network: ClassifierNet, held_out: HeldOut) -> ClassifierOutputs:
    images = held_out.images
    return classify_photographs(
        network,
        images.paths,
        names=images.names,
        transform=held_out.transform,
        device=held_out.device,
        workers=held_out.workers,
    )


def _remove_others(held_out: HeldOut, files: Iterable[Path]) -> None:
    """Remove the outputs of weights that are no longer there."""
    keep = {
        outputs_file(held_out.cache, path, held_out.images, transform=held_out.transform, features=False)
        for path in files
    }
    for path in held_out.cache.glob("*.safetensors"):
        if path not in keep:
            path.unlink()


def _score(
    name: str, made_by: str, probability: Floats, labels: Sequence[str], *, tree: ClassTree, joined: int
) -> ScoredCandidate:
    ranks = true_ranks(probability, labels, tree.classes)
    loss = float(log_losses(probability, labels, tree.classes).mean())
    return ScoredCandidate(name, made_by, float((ranks == 0).mean()), float((ranks < 3).mean()), loss, joined)


def _lines(joins: Sequence[Join], names: Sequence[str], *, images: int) -> Iterator[str]:
    """Who joined, and why."""
    yield f"{len(names)} candidates, judged on {images} images that were held out."
    before, seen = 0.0, set[int]()
    for join in joins:
        name, rise = names[join.member], f"{join.accuracy:.1%} right ({join.accuracy - before:+.1%})"
        if not seen:
            yield f"  {name} is the best alone: {join.accuracy:.1%} right, log loss {join.log_loss:.3f}."
        elif join.member in seen:
            yield f"  {name} counts once more: {rise}, log loss {join.log_loss:.3f}."
        else:
            yield f"  {name} joins: {rise}, log loss {join.log_loss:.3f}."
        before = join.accuracy
        seen.add(join.member)
    yield "No further network makes more answers right; of equally good ensembles, the smallest is kept."


def _accuracy(outputs: ClassifierOutputs, labels: Sequence[str]) -> float:
    return float((true_ranks(outputs.logits, labels, outputs.classes) == 0).mean())


def _softmax(outputs: ClassifierOutputs) -> Floats:
    probability: Floats = softmax(outputs.logits.astype(np.float32), axis=1)
    return probability


def _from(family: Path, path: Path) -> str:
    return path.relative_to(family).as_posix()
