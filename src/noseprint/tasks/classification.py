"""Training a classifier: each photograph has one class, or a share of several."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from noseprint.data.datasets import Sample, TrainingImages
from noseprint.data.decode_cache import cached_decoder
from noseprint.data.holdout import content_hashes, holdout_hash, holdout_rows, photograph_hashes
from noseprint.data.names import count_text
from noseprint.data.policy_augment import PolicyAugment
from noseprint.data.readable import readable_photographs
from noseprint.data.samplers import (
    Batches,
    EqualClassBatches,
    OversampledBatches,
    ShuffledBatches,
    SubsetFirstBatches,
    epoch_steps,
    oversampled_counts,
)
from noseprint.data.tables import ImageTable
from noseprint.data.transforms import A, Transform
from noseprint.devices import default_workers
from noseprint.distributed import World, gather
from noseprint.errors import NoseprintError
from noseprint.losses.class_loss import class_loss
from noseprint.metrics.classification import log_losses, mean_per_class, true_ranks
from noseprint.models.classifier import ClassifierNet
from noseprint.models.embed import embed_images
from noseprint.models.network import Network
from noseprint.tasks.classification_options import Augment, ClassificationOptions
from noseprint.tasks.digest import digest_rows, network_settings
from noseprint.tasks.input_size import training_side
from noseprint.tasks.mixing import mixing
from noseprint.tasks.neck_statistics import set_neck_statistics
from noseprint.training.task import Part, Phase, Scores, Task

T = TypeVar("T")
_SHOWN = 20  # classes that a message names


class LabelledImages(Protocol):
    """Photographs with their classes, such as a `ClassTable`."""

    @property
    def paths(self) -> Sequence[Path]:
        """(N,)."""

    @property
    def labels(self) -> Sequence[str]:
        """(N,) the class of each photograph."""

    @property
    def groups(self) -> Sequence[str] | None:
        """(N,) such as who took each photograph, "" where that is unknown; None: of all.

        The photographs of one group are not independent.
        """


class ClassificationTask(Task):
    """Train `network` to tell its classes apart; judge the weights by the share of right answers on the hold-out.

    network: a classifier with one head. Its BatchNorm must be frozen, so that a loss over several processes, or over
    chunks of a batch, is that of the whole batch.
    images: to train on.
    targets: (N, K) for each of `images` a distribution over the network's classes, in place of its label.
    record_images: write a hash of each training image's bytes into the header of the weights, so that it is known
    what the network has not seen.
    holdout: scores the weights. None or empty: `options.holdout` of `images` is held out, about the same share of
    every class.
    training_transform, evaluation_transform: make the transform of each image, for a side in pixels.

    A neck's BatchNorm gets its statistics before the training, from training images (`set_neck_statistics`), and is
    frozen as well.

    A held-out image of a class that the network does not have counts as a wrong answer. Scores are per image: images
    without a group count as independent of each other, also within a class.

    Raises ValueError for a network with several heads or with BatchNorm that is not frozen, for targets of another
    shape, and for targets without a hold-out although `options.holdout` is not 0: soft targets say nothing certain.
    """

    network: ClassifierNet
    data_settings = frozenset({"training images", "training table", "hold-out"})

    def __init__(
        self,
        network: ClassifierNet,
        *,
        options: ClassificationOptions,
        images: LabelledImages,
        targets: npt.NDArray[np.float32] | None = None,
        holdout: LabelledImages | None = None,
        training_transform: Callable[[int], Transform],
        evaluation_transform: Callable[[int], Transform],
        record_images: bool = False,
    ) -> None:
        if len(network.classes) != 1:
            raise ValueError(f"the network has {len(network.classes)} heads: this task trains one")
        if not network.freeze_batch_norm and any(isinstance(module, _BatchNorm) for module in network.modules()):
            raise ValueError("build the network with freeze_batch_norm=True")
        (self.classes,) = network.classes.values()
        self._known = frozenset(self.classes)
        if holdout is not None and not holdout.paths:
            holdout = None
        if targets is not None and targets.shape != (len(images.paths), len(self.classes)):
            raise ValueError(f"targets {targets.shape} for {len(images.paths)} images of {len(self.classes)} classes")
        if targets is not None and holdout is None and options.holdout:
            raise ValueError("soft targets need a hold-out of their own, or a hold-out share of 0")
        self.network, self._options = network, options
        self._images, self._soft, self._holdout = images, targets, holdout
        self._record_images = record_images
        self._scores: dict[str, float] = {}
        self._transforms = _augmented(training_transform, options.augment), evaluation_transform
        network.size_is_open = False
        self._train_size = training_side(network, requested=options.train_size, small=options.small)
        self._mix = mixing(options.mixing, probability=options.mixing_probability, classes=len(self.classes))

    def prepare(self, world: World, results: Path) -> None:
        """Leave out broken photographs, split off the hold-out if there is none, and count the classes.

        Raises NoseprintError for photographs that cannot be read, for a label that is not a class of the network, and
        if nothing is left to train on or no held-out image has a class of the network.
        """
        options, images, given = self._options, self._images, self._holdout
        self._world = world
        self._workers = default_workers(world.device) if options.workers is None else options.workers
        if self._soft is None:
            self._require_classes(images)
        readable = readable_photographs(
            (*images.paths, *(given.paths if given else ())),
            skip_bad=options.skip_bad,
            read=cached_decoder(options.cache),
            skipped_csv=results / "skipped.csv",
        )
        good = np.array([path in readable for path in images.paths], bool)
        held_out = np.zeros(len(good), bool)
        if given is None and options.holdout:
            held_out[good] = holdout_rows(
                _pick(images.labels, good),
                share=options.holdout,
                groups=_groups(images, good) if images.groups else None,
            )
        source = given or images
        scored = np.array([path in readable for path in given.paths], bool) if given else held_out
        trained = good & ~held_out
        self.train = ImageTable(_pick(images.paths, trained), _pick(images.labels, trained))
        self.holdout = ImageTable(_pick(source.paths, scored), _pick(source.labels, scored))
        self._groups = np.array(_groups(source, scored), np.str_)
        self._set_targets(trained)
        self._recorded = "".join(sorted(content_hashes(self.train.paths))) if self._record_images else ""
        self._start = network_settings(self.network)
        if not len(self.train):
            raise NoseprintError("there are no images to train on: add some, or hold out fewer")
        if len(self.holdout) and not self._known & set(self.holdout.identities):
            raise NoseprintError(
                f"none of the {len(self.holdout)} held-out images has a class of the network; the first is "
                f"{self.holdout.paths[0]} of {self.holdout.identities[0]!r}: give both the same class names"
            )
        self.criterion = class_loss(
            options.loss,
            counts=torch.from_numpy(self.counts),
            adjusted=options.balance == "logit-adjustment",
            smoothing=options.smoothing,
        )
        set_neck_statistics(
            self.network,
            self.train.paths,
            transform=self._transforms[0](self._train_size),
            world=world,
            workers=self._workers,
            seed=options.seed,
            cache=options.cache,
        )

    def _set_targets(self, trained: npt.NDArray[np.bool_]) -> None:
        """Set the target of each training image, its most probable class, and the number of images of each class.

        `_table` is a short hash of the training images and their labels or soft targets.
        """
        if self._soft is None:
            number = {name: index for index, name in enumerate(self.classes)}
            self._class_of = np.array([number[label] for label in self.train.identities], np.int64)
            self._targets = torch.from_numpy(self._class_of)
            self.counts = np.bincount(self._class_of, minlength=len(self.classes)).astype(np.float64)
            self._table = digest_rows(_rows(self.train))
        else:
            rows = np.ascontiguousarray(self._soft if trained.all() else self._soft[trained], np.float32)
            self._table = _digest(digest_rows(_rows(self.train)), rows)
            self._class_of = rows.argmax(axis=1)
            self._targets = torch.from_numpy(rows)
            self.counts = rows.sum(axis=0, dtype=np.float64)

    def _require_classes(self, images: LabelledImages) -> None:
        unknown = Counter(label for label in images.labels if label not in self._known)
        if unknown:
            raise NoseprintError(
                f"{unknown.total()} training images have a label that the network does not know: "
                f"{count_text(list(unknown.elements()))}. Build the network with the classes of these images"
            )

    def dataset(self) -> TrainingImages:
        """The training photographs with their class numbers or soft targets."""
        return TrainingImages(
            self.train.paths,
            self._targets,
            transform=self._transforms[0](self._train_size),
            seed=self._options.seed,
            cache=self._options.cache,
        )

    @property
    def epoch_steps(self) -> int:
        """The number of full batches in an epoch."""
        oversampled = self._options.balance == "oversample"
        shown = int(oversampled_counts(self._class_of).sum()) if oversampled else len(self.train)
        return epoch_steps(shown, self._options.batch_size)

    def batches(self, *, steps: int, first_step: int) -> Batches:
        """All images in random order, or as `balance` says."""
        options = {
            "batch_size": self._options.batch_size,
            "steps": steps,
            "seed": self._options.seed,
            "first_step": first_step,
            "rank": self._world.rank,
            "world_size": self._world.size,
        }
        match self._options.balance:
            case "oversample":
                return OversampledBatches(self._class_of, **options)
            case "weighted":
                return EqualClassBatches(self._class_of, **options)
            case "subset-first":
                return SubsetFirstBatches(self._class_of, **options)
        return ShuffledBatches(len(self.train), **options)

    def parts(self) -> Sequence[Part]:
        """The backbone, the neck, if there is one, and the head."""
        network = self.network
        return Part("backbone", network.backbone), Part("neck", network.neck), Part("head", network.heads)

    def phases(self) -> Sequence[Phase]:
        """One, in which everything learns, or (`frozen`) neck and head; with `sgd_share` a second one, of SGD."""
        share, trains = self._options.sgd_share, ("neck", "head") if self._options.frozen else None
        first = Phase(1.0 - share, trains=trains)
        return (first, Phase(share, trains, lr=self._options.sgd_lr, optimizer="sgd")) if share else (first,)

    def loss(self, forward: Callable[..., Tensor], batch: Sample) -> Tensor:
        """The loss of the whole batch. Each rank mixes the images of its own share."""
        images, target = self._mix(batch.image, batch.target)
        loss: Tensor = self.criterion(*gather(forward(images), target))
        return loss

    def score(self, network: Network, *, untrained: bool = False) -> Scores | None:
        """The share of right answers on the hold-out, by image and by class, and the log loss."""
        self._scores = {}
        if not len(self.holdout):
            return None
        outputs = embed_images(
            network,
            self.holdout.paths,
            transform=self._transforms[1](self.network.image_size),
            device=self._world.device,
            workers=self._workers,
            cache=self._options.cache,
            label="hold-out",
        )
        if not self._world.is_main:
            return None
        logits, labels = outputs[:, : len(self.classes)], self.holdout.identities
        right = true_ranks(logits, labels, self.classes) == 0
        losses = log_losses(softmax(logits, axis=1), labels, self.classes)
        self._scores = {
            "accuracy": float(right.mean()),
            "mean_per_class": mean_per_class(right, labels),
            "log_loss": float(losses[np.isfinite(losses)].mean()),
        }
        size = f"{len(labels)} images of {len(set(labels))} classes"
        return Scores(self._scores, "accuracy", size, right.astype(np.float64), self._groups)

    def header(self) -> dict[str, str]:
        """How the classifier was trained and on how many images of each class, what was held out, and its scores there.

        `training_counts` holds the number of training images of each class, in the order of the logits.
        """
        options = self._options
        training = {
            "holdout": options.holdout,
            "loss": options.loss,
            "augment": options.augment,
            "smoothing": options.smoothing,
            "balance": options.balance,
            "mixing": options.mixing,
            "sgd_share": options.sgd_share,
            "frozen": options.frozen,
        }
        header = {
            "training": json.dumps(training),
            "training_counts": json.dumps([round(count, 3) for count in self.counts.tolist()]),
            "training_table": self._table,
        }
        if self._record_images:
            header["trained_images"] = self._recorded
        if self._scores:
            header["holdout"] = json.dumps(self._scores)
            header["held_out"] = holdout_hash(f"{a}/{b.name}" for a, b in _rows(self.holdout))
            header["held_out_photographs"] = photograph_hashes(self.holdout)
        return header

    def settings(self) -> dict[str, str]:
        """The training table, the hold-out, the classes, the network and its start weights."""
        return {
            "training images": str(len(self.train)),
            "training table": self._table,
            "hold-out": digest_rows(_rows(self.holdout)),
            "classes": digest_rows(enumerate(self.classes)),
            **self._start,
        }

    def describe(self) -> str:
        """How many images and classes are trained on and held out, after what is odd about them."""
        train, holdout = self.train, self.holdout
        seen = int((self.counts > 0).sum())
        held_out = f"{len(holdout)} of {len(set(holdout.identities))} held out" if len(holdout) else "none held out"
        return "".join(f"{line}\n" for line in self._remarks()) + (
            f"{len(train)} images of {seen} classes to learn from, {held_out}"
        )

    def _remarks(self) -> Iterator[str]:
        if empty := [name for name, count in zip(self.classes, self.counts, strict=True) if count == 0]:
            yield (
                f"caution: no training images of {len(empty)} class{'es' if len(empty) > 1 else ''}, so the network "
                f"hardly ever answers with them: {_named(empty)}"
            )
        if unknown := [label for label in self.holdout.identities if label not in self._known]:
            yield (
                f"caution: {len(unknown)} held-out images have a class that the network does not know, so they count "
                f"as wrong answers: {count_text(unknown)}"
            )

    def identify(self, rows: Sequence[int]) -> list[tuple[str, Path]]:
        """The label, or with soft targets the most probable class, and the photograph of each row."""
        return [(self.classes[self._class_of[row]], self.train.paths[row]) for row in rows]


def _augmented(transform: Callable[[int], Transform], name: Augment) -> Callable[[int], Transform]:
    """From the size to the transform of the training images: `transform`, then the policy."""
    if name == "own":
        return transform
    return lambda size: A.Compose([transform(size), PolicyAugment(name)])


def _groups(images: LabelledImages, keep: npt.NDArray[np.bool_]) -> list[str]:
    """The groups of the kept images; an image without one has a group of its own."""
    groups = images.groups or [""] * len(images.paths)
    return [group or f"image {row}" for row, group in enumerate(groups) if keep[row]]


def _named(classes: Sequence[str]) -> str:
    more = f" and {len(classes) - _SHOWN} more" if len(classes) > _SHOWN else ""
    return ", ".join(map(repr, classes[:_SHOWN])) + more


def _digest(rows: str, targets: npt.NDArray[np.float32]) -> str:
    digest = hashlib.sha256(rows.encode())
    digest.update(targets.data)
    return digest.hexdigest()[:12]


def _pick(values: Sequence[T], keep: npt.NDArray[np.bool_]) -> tuple[T, ...]:
    return tuple(value for value, is_kept in zip(values, keep, strict=True) if is_kept)


def _rows(table: ImageTable) -> Iterator[tuple[str, Path]]:
    return zip(table.identities, table.paths, strict=True)
