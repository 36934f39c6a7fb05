"""What a training with --small would make of photographs, in lines to read before it starts."""

from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median

from noseprint.data.decoding import find_faults
from noseprint.data.holdout import split_holdout
from noseprint.data.tables import ImageTable
from noseprint.data.transforms import A
from noseprint.devices import choose_device, default_workers
from noseprint.distributed import World
from noseprint.errors import NoseprintError
from noseprint.models.network import SupConNet
from noseprint.tasks.input_size import choose_image_size, draw_sample
from noseprint.training.fit_options import OPEN_ENDED_MINUTES

BATCH_SIZE, IMAGES_PER_IDENTITY = 64, 4  # of --small
FEW_IDENTITIES = 20
"""With fewer individuals to learn from, a network hardly learns what tells others apart."""
FEW_PER_IDENTITY = 3
"""With a lower median of photographs per individual, there are few same pairs."""
EASY = 0.95
"""An untrained network with this mAP leaves little to gain."""


def advise(
    table: ImageTable,
    *,
    holdout: float = 0.05,
    untrained: Callable[[ImageTable], tuple[int, float] | None] | None = None,
) -> list[str]:
    """Lines about a training on `table`: hold-out, batches, image size, time, and whether training is likely to help.

    holdout: the share of the identities. untrained: gives the image size that suits the photographs, and the mAP of the
    untrained network there; None if it has no weights, or if no photograph has a match. Takes about half a minute.
    Raises NoseprintError as `split_holdout` does.
    """
    held_out = split_holdout(table.identities, share=holdout)
    learned = table.where(identity not in held_out for identity in table.identities)
    counts = sorted(Counter(learned.identities).values())
    fewer = sum(count < IMAGES_PER_IDENTITY for count in counts)
    search = (untrained or untrained_search)(learned)
    lines = [
        f"to learn from: {len(learned)} photographs of {len(counts)} individuals, {counts[0]} to {counts[-1]} of each "
        f"(median {median(counts):g}); held out: {len(table) - len(learned)} of {len(held_out)}",
        f"a batch with --small: {BATCH_SIZE} photographs, {IMAGES_PER_IDENTITY} of each individual"
        + (f"; {fewer} individuals have fewer, so a batch holds more individuals" if fewer else ""),
    ]
    if search:
        size, score = search
        lines.append(f"image size with --small: {size} px, where an untrained network has mAP {score:.2f}")
    lines.append(
        f"time with --small: nine trainings of at most about {OPEN_ENDED_MINUTES:g} minutes, which end earlier if "
        "nothing more is learned"
    )
    return [*lines, *_doubts(counts, search)]


def untrained_search(table: ImageTable) -> tuple[int, float] | None:
    """The image size that suits the photographs, and the small network's mAP there; None if that is unknown."""
    device = choose_device("auto")
    try:
        network = SupConNet("tf_efficientnet_lite0.in1k", image_size=None).to(device)
    except NoseprintError:
        return None
    sample = draw_sample(table)
    broken = {fault.file for fault in find_faults(sample.paths)}  # a training lists them, or leaves them out
    size, found = choose_image_size(
        network,
        sample.where(path not in broken for path in sample.paths),
        transform=lambda side: A.Resize(side, side),
        world=World(0, 1, device),
        workers=default_workers(device),
    )
    return (size, found[size]) if found else None


def _doubts(counts: Sequence[int], search: tuple[int, float] | None) -> list[str]:
    """Lines that say why training may not help, or one that says that it probably does."""
    doubts = []
    if len(counts) < FEW_IDENTITIES:
        doubts.append(
            f"{len(counts)} individuals to learn from are few: add some, until it learns from {FEW_IDENTITIES}"
        )
    if median(counts) < FEW_PER_IDENTITY:
        doubts.append("most individuals have one or two photographs, so there are few same pairs: add photographs")
    if search and search[1] >= EASY:
        doubts.append("the untrained network already finds nearly all: search with it, or look for near copies")
    if doubts:
        return [f"training may not help: {doubt}" for doubt in doubts]
    return ["training probably helps; the report compares it with the untrained network"]
