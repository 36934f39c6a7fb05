"""The margin of a classifier with a margin: its options, known without torch, and its value at each step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from noseprint.errors import NoseprintError

MarginKind: TypeAlias = Literal["arcface", "cosface"]
LOWEST = 0.05
"""The margin of the largest class, if margins differ by size (arXiv 2210.11141)."""


@dataclass(frozen=True)
class Margin:
    """By how much the right class must win, and how that is counted."""

    kind: MarginKind = "arcface"
    """arcface: the margin is an angle in radians. cosface: it is taken from the cosine."""
    start: float = 0.5
    """The margin in the first epoch."""
    growth: float = 0.0
    """The margin grows by this with each epoch."""
    most: float = 0.8
    """The margin grows no further than this."""
    by_size: bool = False
    """The smallest class has this margin, the largest 0.05, the others between (by images ** -1/4)."""
    centres: int = 1
    """Centres of each class, of which an image takes the nearest (sub-centre ArcFace)."""
    scale: float = 30.0
    """Factor on the cosines."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        for name in ("start", "most"):
            if not 0 <= getattr(self, name) < math.pi / 2:
                raise NoseprintError(f"--margin.{name} {getattr(self, name)}: must be in 0..1.57")
        if not 0 <= self.growth < math.inf:
            raise NoseprintError(f"--margin.growth {self.growth}: must be 0 or more")
        if self.centres < 1:
            raise NoseprintError(f"--margin.centres {self.centres}: must be at least 1")
        if not 0 < self.scale < math.inf:
            raise NoseprintError(f"--margin.scale {self.scale}: must be above 0")

    def at(self, epoch: int, *, counts: Sequence[int]) -> npt.NDArray[np.float32]:
        """The margin of each class in an epoch, counted from 0: (K,). counts: (K,) the images of each class.

        The growth is that of arXiv 2210.08735. The margins by size are those of arXiv 2210.11141: LOWEST plus a share
        that is 0 for the largest class, 1 for the smallest, and linear in images ** -1/4; 1/2 if all are alike.
        """
        margin = max(self.start, min(self.most, self.start + self.growth * epoch))
        share = np.ones(len(counts))
        if not self.by_size:
            return (margin * share).astype(np.float32)
        raised = np.maximum(counts, 1) ** -0.25
        span = np.ptp(raised)
        share = (raised - raised.min()) / span if span > 0 else share / 2
        return np.asarray(LOWEST + (margin - LOWEST) * share, np.float32)
