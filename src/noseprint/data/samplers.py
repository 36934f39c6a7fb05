"""Which images make up each batch. A batch depends on the seed and the step alone, so that a resume goes on exactly."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from noseprint.errors import NoseprintError

Index = tuple[int, int]
"""(step, row): a sample's randomness is drawn from both."""


class Batches(ABC):
    """The batches of a whole training: batch number `step` depends on the seed and the step alone.

    With several processes, each yields its share of every batch.

    steps: the number of batches. first_step: where a resumed training begins. rank, world_size: of this process.
    """

    def __init__(self, *, steps: int, seed: int, first_step: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self._steps, self._first_step, self._seed = steps, first_step, seed
        self._rank, self._world_size = rank, world_size

    def __len__(self) -> int:
        return self._steps - self._first_step

    def __iter__(self) -> Iterator[list[Index]]:
        for step in range(self._first_step, self._steps):
            yield self.batch(step)

    def batch(self, step: int, *, of_all_processes: bool = False) -> list[Index]:
        """Return this process's part of batch number `step`, or the whole batch, as (step, row)."""
        groups = self._groups(step)
        mine = groups if of_all_processes else groups[self._rank :: self._world_size]
        return [(step, int(row)) for rows in mine for row in rows]

    @abstractmethod
    def _groups(self, step: int) -> Sequence[npt.NDArray[np.int64]]:
        """The rows of batch number `step`, in groups that stay together in one process."""


class IdentityBatches(Batches):
    """Batches of images of several identities, up to K images of each, for the whole training.

    Identities with two images or more are drawn uniformly until the batch is full, each at most once. Of each, K
    different images are drawn, or all if it has fewer. Identities with one image give no same pair to learn from.
    Their share of the batch is their share of all images, but at most a quarter, or more if the others do not fill the
    batch.
    The identities of a batch are shared by the processes: rank, rank + world_size, ...

    identities: (N,) the identity of each row. images_per_identity: K.
    """

    def __init__(
        self,
        identities: Sequence[str],
        *,
        batch_size: int,
        images_per_identity: int,
        steps: int,
        seed: int,
        first_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Raises NoseprintError if the identities do not fill a batch, or cannot be shared by the processes."""
        _, inverse = np.unique(np.asarray(identities), return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        rows = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
        self._several = [own for own in rows if len(own) > 1]
        self._single = [own for own in rows if len(own) == 1]
        if len(rows) < 2:
            raise NoseprintError(f"training needs at least 2 identities, but the table has {len(rows)}")
        if not self._several:
            raise NoseprintError("every identity has a single image: there is no same pair to learn from")
        if batch_size < 2 * images_per_identity:
            raise NoseprintError(
                f"--batch-size {batch_size} does not hold 2 identities of {images_per_identity} images: make it larger"
            )
        self._for_single = min(batch_size * len(self._single) / len(identities), batch_size / 4)
        if (least := min(batch_size // images_per_identity, len(rows))) < world_size:
            raise NoseprintError(f"{world_size} processes cannot share the {least} identities of a batch")
        self._batch_size, self._images_per_identity = batch_size, images_per_identity
        super().__init__(steps=steps, seed=seed, first_step=first_step, rank=rank, world_size=world_size)

    def _groups(self, step: int) -> Sequence[npt.NDArray[np.int64]]:
        random = np.random.default_rng((self._seed, step))
        most, for_single = self._images_per_identity, 0
        if self._single:  # a share of 0.2 images is one image in every fifth batch
            for_single = int(self._for_single + random.random())
        drawn_first = min((self._batch_size - for_single) // most, len(self._several))
        first = random.choice(len(self._several), drawn_first, replace=False)
        groups = [random.choice(self._several[i], min(most, len(self._several[i])), replace=False) for i in first]
        single = random.permutation(len(self._single))
        groups += [self._single[i] for i in single[:for_single]]
        free = self._batch_size - sum(map(len, groups))
        for i in random.permutation(np.delete(np.arange(len(self._several)), first)) if free else ():
            rows = random.choice(self._several[i], min(most, len(self._several[i]), free), replace=False)
            groups.append(rows)
            free -= len(rows)
            if not free:
                break
        return groups + [self._single[i] for i in single[for_single:][:free]]


def identity_epoch_steps(identities: Sequence[str], *, batch_size: int, images_per_identity: int) -> int:
    """Number of steps in an epoch of `IdentityBatches`, which shows as many images as there are (N,).

    A batch is smaller than `batch_size` if the identities do not fill it.
    """
    most = sum(min(images, images_per_identity) for images in Counter(identities).values())
    return epoch_steps(len(identities), min(batch_size, most))


class ShuffledBatches(Batches):
    """Batches of all rows in random order, for the whole training.

    Each epoch's order depends on (seed, epoch) alone. An epoch leaves out its last rows if they do not fill a batch.
    The rows of a batch are shared by the processes: rank, rank + world_size, ...
    """

    def __init__(
        self,
        rows: int,
        *,
        batch_size: int,
        steps: int,
        seed: int,
        first_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Raises NoseprintError if a batch is smaller than the number of processes, or there are no rows."""
        self._batch_size = min(batch_size, rows)
        _require_shares(self._batch_size, world_size)
        self._number = rows
        self._kept = -1, np.empty(0, np.int64)  # an epoch and its rows
        super().__init__(steps=steps, seed=seed, first_step=first_step, rank=rank, world_size=world_size)

    def _groups(self, step: int) -> Sequence[npt.NDArray[np.int64]]:
        epoch, number = divmod(step, epoch_steps(self._number, self._batch_size))
        if self._kept[0] != epoch:
            self._kept = epoch, self._order(np.random.default_rng((self._seed, epoch)))
        rows = self._kept[1][number * self._batch_size : (number + 1) * self._batch_size]
        return list(rows.reshape(-1, 1))

    def _order(self, random: np.random.Generator) -> npt.NDArray[np.int64]:
        """The rows of an epoch."""
        return random.permutation(self._number)


OVERSAMPLED_SHARE = 1 / 3
"""In an epoch of `OversampledBatches`, a class has at least this share of the number of images of the largest."""


class _RepeatedBatches(ShuffledBatches):
    """Batches of a given number of images of each class an epoch, in random order.

    The rows of a class are taken in a random order, which each epoch draws anew, and repeated if they are too few.
    """

    def __init__(
        self, classes: Sequence[str] | npt.NDArray[np.int64], drawn: npt.NDArray[np.int64], **options: int
    ) -> None:
        self._drawn = drawn
        self._class_of = np.unique(np.asarray(classes), return_inverse=True)[1]
        super().__init__(int(drawn.sum()), **options)

    def _order(self, random: np.random.Generator) -> npt.NDArray[np.int64]:
        shuffled = random.permutation(len(self._class_of))
        by_class = shuffled[np.argsort(self._class_of[shuffled], kind="stable")]
        ends = np.cumsum(np.bincount(self._class_of))
        parts = np.split(by_class, ends[:-1])
        drawn = [np.resize(part, number) for part, number in zip(parts, self._drawn, strict=True)]  # repeats the part
        return random.permutation(np.concatenate(drawn))


class OversampledBatches(_RepeatedBatches):
    """Batches of all rows in random order, those of small classes several times in an epoch.

    In every epoch, each class shows at least OVERSAMPLED_SHARE as many images as the largest one. For that, its rows
    are repeated in a random order, which each epoch draws anew: some rows come once more often than the others. The
    rest is as in `ShuffledBatches`. (3rd place of the ACCV 2020 WebFG challenge.)

    classes: (N,) the class of each row.
    """

    def __init__(self, classes: Sequence[str] | npt.NDArray[np.int64], **options: int) -> None:
        """`options` are those of `ShuffledBatches`. Raises NoseprintError as that does."""
        super().__init__(classes, oversampled_counts(classes), **options)


class CappedBatches(_RepeatedBatches):
    """Batches in random order, in which each epoch shows `floor` to `cap` images of each identity.

    Of an identity with more than `cap` images each epoch draws others. One with fewer than `floor` repeats its own,
    each about as often. (2nd place of the Google Universal Image Embedding challenge, arXiv 2210.08735.)

    identities: (N,) the identity of each row.
    """

    def __init__(self, identities: Sequence[str], *, cap: int, floor: int, **options: int) -> None:
        """`options` are those of `ShuffledBatches`. Raises NoseprintError as that does."""
        super().__init__(identities, capped_counts(identities, cap=cap, floor=floor), **options)


def capped_counts(identities: Sequence[str], *, cap: int, floor: int) -> npt.NDArray[np.int64]:
    """How many images of each identity, in sorted order, an epoch of `CappedBatches` shows; identities: (N,)."""
    counts = np.unique(np.asarray(identities), return_counts=True)[1]
    return np.asarray(np.clip(counts, floor, cap), np.int64)


def oversampled_counts(classes: Sequence[str] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many images of each class, in sorted order, an epoch of `OversampledBatches` shows; classes: (N,)."""
    counts = np.unique(np.asarray(classes), return_counts=True)[1]
    return np.asarray(np.maximum(counts, np.ceil(counts.max(initial=0) * OVERSAMPLED_SHARE)), np.int64)


class EqualClassBatches(Batches):
    """Batches in which every class comes equally often, drawn with replacement: a weighted sampler.

    Each image of a batch is drawn on its own: first its class, then one of the class's rows, uniformly. The rows of a
    batch are shared by the processes: rank, rank + world_size, ...

    classes: (N,) the class of each row.
    """

    def __init__(self, classes: Sequence[str] | npt.NDArray[np.int64], *, batch_size: int, **options: int) -> None:
        """`options` are those of `Batches`. Raises NoseprintError as `ShuffledBatches` does."""
        self._rows = _rows_of_classes(classes)
        self._batch_size = min(batch_size, len(classes))
        _require_shares(self._batch_size, options.get("world_size", 1))
        super().__init__(**options)

    def _groups(self, step: int) -> Sequence[npt.NDArray[np.int64]]:
        random = np.random.default_rng((self._seed, step))
        drawn = random.integers(len(self._rows), size=self._batch_size)
        return [random.choice(self._rows[number], 1) for number in drawn]


class SubsetFirstBatches(Batches):
    """First a subset with equally many images of each class, for half of the steps, then all images.

    The subset has as many images of each class as the smallest class has, drawn once, by the seed. Both halves are
    `ShuffledBatches`. (Cui et al., arXiv 1806.06193, do this in the other order.)

    classes: (N,) the class of each row. batch_size: in the first half, at most the size of the subset.
    """

    def __init__(self, classes: Sequence[str] | npt.NDArray[np.int64], *, steps: int, **options: int) -> None:
        """`options` are those of `ShuffledBatches`. Raises NoseprintError as that does."""
        random = np.random.default_rng((options["seed"], 0))
        rows = _rows_of_classes(classes)
        least = min(map(len, rows), default=0)
        self._subset = np.sort(np.concatenate([random.choice(own, least, replace=False) for own in rows]))
        self._half = steps // 2
        self._first = ShuffledBatches(len(self._subset), steps=steps, **options)
        self._then = ShuffledBatches(len(classes), steps=steps, **options)
        of_all = {name: value for name, value in options.items() if name != "batch_size"}
        super().__init__(steps=steps, **of_all)

    def _groups(self, step: int) -> Sequence[npt.NDArray[np.int64]]:
        if step < self._half:
            return [self._subset[rows] for rows in self._first._groups(step)]
        return self._then._groups(step - self._half)


def _rows_of_classes(classes: Sequence[str] | npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """The rows of each class, in the order of the classes."""
    number = np.unique(np.asarray(classes), return_inverse=True)[1]
    order = np.argsort(number, kind="stable")
    return np.split(order, np.cumsum(np.bincount(number))[:-1])


def _require_shares(batch_size: int, world_size: int) -> None:
    if not 0 < world_size <= batch_size:
        raise NoseprintError(f"{world_size} processes cannot share batches of {batch_size} images")


def epoch_steps(images: int, batch_size: int) -> int:
    """Steps of an epoch: as many batches as the images fill, at least one."""
    return max(1, images // batch_size)
