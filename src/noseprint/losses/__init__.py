"""The losses, one in each file. Their names are here, so that they are known without loading torch."""

from typing import Literal, TypeAlias

LossName: TypeAlias = Literal["supcon", "supcon+smoothing", "triplet", "triplet+smoothing", "arcface", "softmax"]
"""The losses that a recipe's `--loss` names."""
ClassLossName: TypeAlias = Literal["cross-entropy", "focal", "weighted"]
"""The losses that a classifier's `--loss` names."""
