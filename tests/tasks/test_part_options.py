"""Options of a network in cycles: lengths that leave no whole cycle, or no snapshot at its end, are refused."""

from pathlib import Path

import pytest

from noseprint.errors import NoseprintError
from noseprint.tasks.part_options import PartOptions


def options(*, epochs: int, cycles: int, snapshots: int, schedule: str = "restarts") -> PartOptions:
    return PartOptions(
        data=Path("data"),
        part="lite0",
        batch_size=2,
        lr=0.1,
        holdout=0.1,
        epochs=epochs,
        cycles=cycles,
        snapshots=snapshots,
        schedule=schedule,
    )


@pytest.mark.parametrize(("cycles", "snapshots"), [(3, 3), (2, 4), (6, 3), (3, 0)])
def test_snapshots_at_the_ends_of_cycles_are_allowed(cycles, snapshots):
    assert options(epochs=6, cycles=cycles, snapshots=snapshots).snapshots == snapshots


def test_senseless_cycles_are_refused():
    with pytest.raises(NoseprintError, match="--cycles 3: a cycle must last an epoch or more; give at most 2, or"):
        options(epochs=2, cycles=3, snapshots=3)
    with pytest.raises(NoseprintError, match="--snapshots 5: would not be at the ends of the 2 cycles"):
        options(epochs=6, cycles=2, snapshots=5)
    assert options(epochs=2, cycles=3, snapshots=5, schedule="cosine").cycles == 3
