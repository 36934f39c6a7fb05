"""The losses, a file each. Their names are here, known without loading torch."""

from typing import Literal, TypeAlias

LossName: TypeAlias = Literal["supcon", "supcon+smoothing", "triplet", "triplet+smoothing", "arcface", "softmax"]
"""The losses that a recipe's `--loss` names."""
