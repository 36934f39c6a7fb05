"""Identity-balanced batches."""

from collections.abc import Iterator, Sequence

import numpy as np

from noseprint.errors import NoseprintError

Index = tuple[int, int]  # (step, row): what a sample's randomness is drawn from


class IdentityBatches:
    """Batches of K images of each of P identities, the whole training in one pass.

    Identities are drawn uniformly without repetition inside a batch, then up to `images_per_identity` of their images
    without repetition; an identity with fewer images gives what it has. P = batch_size // images_per_identity.
    Batch number `step` depends on (seed, step) alone, so that a resumed run goes on exactly as it would have gone.
    Under several processes each yields its share of the identities of the same global batch: rank, rank + world, ...

    identities: (N,) the identity of each row. steps: number of batches of the whole training.
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
        world: int = 1,
    ) -> None:
        names = np.asarray(identities)
        _, inverse = np.unique(names, return_inverse=True)
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
        if self._identities_per_batch < world:
            raise NoseprintError(f"{world} processes cannot share {self._identities_per_batch} identities a batch")
        self._images_per_identity = images_per_identity
        self._steps, self._first_step, self._seed = steps, first_step, seed
        self._rank, self._world = rank, world

    def __len__(self) -> int:
        return self._steps - self._first_step

    def __iter__(self) -> Iterator[list[Index]]:
        for step in range(self._first_step, self._steps):
            yield self.batch(step)

    def batch(self, step: int, *, of_all_processes: bool = False) -> list[Index]:
        """The part of batch number `step` that is this process's, or the whole of it, as (step, row)."""
        random = np.random.default_rng((self._seed, step))
        chosen = random.choice(len(self._rows), self._identities_per_batch, replace=False)
        picks = [
            random.choice(self._rows[i], min(self._images_per_identity, len(self._rows[i])), replace=False)
            for i in chosen
        ]
        mine = picks if of_all_processes else picks[self._rank :: self._world]
        return [(step, int(row)) for rows in mine for row in rows]


def epoch_steps(images: int, batch_size: int) -> int:
    """Steps of an epoch: as many batches as the table holds, at least one."""
    return max(1, images // batch_size)
