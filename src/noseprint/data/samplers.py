"""Which images make up each batch. A batch depends on the seed and the step alone, so that a resume goes on exactly."""

from collections.abc import Iterator, Sequence

import numpy as np

from noseprint.errors import NoseprintError

Index = tuple[int, int]
"""(step, row): a sample's randomness is drawn from both."""


class IdentityBatches:
    """Batches of K images of each of P identities, for the whole training.

    Identities are drawn uniformly without repetition inside a batch, then up to `images_per_identity` of their images
    without repetition; an identity with fewer images gives all it has. P = batch_size // images_per_identity.
    With several processes each yields its share of the batch's identities: rank, rank + world_size, ...

    identities: (N,) the identity of each row. steps: the number of batches of the whole training.
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
        """Raises NoseprintError where the identities do not fill a batch, or cannot be shared by the processes."""
        _, inverse = np.unique(np.asarray(identities), return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        self._rows = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
        if len(self._rows) < 2:
            raise NoseprintError(f"training needs at least 2 identities, the table has {len(self._rows)}")
        if all(len(rows) < 2 for rows in self._rows):
            raise NoseprintError("every identity has a single image: there is no pair of the same one to learn from")
        if batch_size < 2 * images_per_identity:
            raise NoseprintError(
                f"--batch-size {batch_size} does not hold 2 identities of {images_per_identity} images: make it larger"
            )
        self._identities_per_batch = min(batch_size // images_per_identity, len(self._rows))
        if self._identities_per_batch < world_size:
            raise NoseprintError(f"{world_size} processes cannot share {self._identities_per_batch} identities a batch")
        self._images_per_identity = images_per_identity
        self._steps, self._first_step, self._seed = steps, first_step, seed
        self._rank, self._world_size = rank, world_size

    def __len__(self) -> int:
        return self._steps - self._first_step

    def __iter__(self) -> Iterator[list[Index]]:
        for step in range(self._first_step, self._steps):
            yield self.batch(step)

    def batch(self, step: int, *, of_all_processes: bool = False) -> list[Index]:
        """The part of this process of batch number `step`, or the whole batch, as (step, row)."""
        random = np.random.default_rng((self._seed, step))
        chosen = random.choice(len(self._rows), self._identities_per_batch, replace=False)
        picks = [
            random.choice(self._rows[i], min(self._images_per_identity, len(self._rows[i])), replace=False)
            for i in chosen
        ]
        mine = picks if of_all_processes else picks[self._rank :: self._world_size]
        return [(step, int(row)) for rows in mine for row in rows]


class ShuffledBatches:
    """Batches of all rows in random order, for the whole training; the last rows that fill no batch wait an epoch.

    Each epoch's order depends on (seed, epoch) alone. With several processes each yields its share of the same global
    batch: rows rank, rank + world_size, ...
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
        """Raises NoseprintError where a batch is smaller than the number of processes, or there are no rows."""
        self._batch_size = min(batch_size, rows)
        if not 0 < world_size <= self._batch_size:
            raise NoseprintError(f"{world_size} processes cannot share batches of {self._batch_size} images")
        self._number, self._steps, self._first_step, self._seed = rows, steps, first_step, seed
        self._rank, self._world_size = rank, world_size

    def __len__(self) -> int:
        return self._steps - self._first_step

    def __iter__(self) -> Iterator[list[Index]]:
        for step in range(self._first_step, self._steps):
            yield self.batch(step)

    def batch(self, step: int, *, of_all_processes: bool = False) -> list[Index]:
        """The part of this process of batch number `step`, or the whole batch, as (step, row)."""
        epoch, number = divmod(step, epoch_steps(self._number, self._batch_size))
        order = np.random.default_rng((self._seed, epoch)).permutation(self._number)
        rows = order[number * self._batch_size : (number + 1) * self._batch_size]
        mine = rows if of_all_processes else rows[self._rank :: self._world_size]
        return [(step, int(row)) for row in mine]


def epoch_steps(images: int, batch_size: int) -> int:
    """Steps of an epoch: as many batches as the images fill, at least one."""
    return max(1, images // batch_size)
