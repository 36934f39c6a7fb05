"""Targets for a student: what its teachers say of each image."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from noseprint.data.class_tables import ClassTable

Floats = npt.NDArray[np.float32]


def with_unlabelled(images: ClassTable, unlabelled: ClassTable) -> ClassTable:
    """The rows of both tables, without their groups and levels."""
    return replace(
        images,
        paths=images.paths + unlabelled.paths,
        labels=images.labels + unlabelled.labels,
        splits=images.splits + unlabelled.splits,
        names=images.names + unlabelled.names,
        groups=None,
        levels={},
    )


def half_labels(teachers: Floats, labels: Sequence[str], classes: Sequence[str]) -> Floats:
    """Half of what the teachers say, (N, K), and half of the label of each image.

    A cross-entropy with this target is 0.5 * cross-entropy with the label + 0.5 * KL divergence from the teachers,
    but for a constant, the teachers' entropy.
    """
    number = {name: index for index, name in enumerate(classes)}
    half = teachers / np.float32(2)
    half[np.arange(len(labels)), [number[label] for label in labels]] += np.float32(0.5)
    return half
