"""What a student learns from its teachers: targets computed beforehand, or a teacher's answers in each step."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from noseprint.data.class_tables import ClassTable
from noseprint.data.datasets import Sample
from noseprint.distributed import World, gather
from noseprint.errors import NoseprintError
from noseprint.models.classifier import ClassifierNet
from noseprint.models.weights import fingerprint, load_classifier
from noseprint.tasks.classification import ClassificationTask
from noseprint.tasks.student_options import OnlineStudentOptions

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
    return soft_labels(teachers, labels, classes, share=0.5)


def soft_labels(
    teachers: Floats, labels: Sequence[str], classes: Sequence[str], *, share: float, argmax: bool = False
) -> Floats:
    """Targets (N, K): `share` of each is the teachers' probabilities, and the rest is the label of the image.

    argmax: the teachers' most probable class gets all of `share`.
    """
    if argmax:
        teachers = np.eye(len(classes), dtype=np.float32)[teachers.argmax(axis=1)]
    number = {name: index for index, name in enumerate(classes)}
    mixed: Floats = teachers * np.float32(share)
    mixed[np.arange(len(labels)), [number[label] for label in labels]] += np.float32(1 - share)
    return mixed


def distillation_loss(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """T^2 times the mean KL divergence of the teacher's softened answers from the student's; logits (B, K) of both.

    The factor keeps the gradient as large as at temperature 1 (Hinton et al., arXiv 1503.02531, section 2).
    """
    said, taught = (F.log_softmax(logits.float() / temperature, dim=1) for logits in (student, teacher))
    return temperature**2 * F.kl_div(said, taught, log_target=True, reduction="batchmean")


class OnlineDistillationTask(ClassificationTask):
    """Train a student on its targets and on what a frozen teacher predicts for the same images, mixed likewise.

    The loss is (1 - alpha) * cross-entropy + alpha * `distillation_loss`.

    teacher: its weights file. The other arguments are those of `ClassificationTask`.
    Raises NoseprintError as `load_classifier` does, if the teacher has other classes than the student, and if it takes
    images of another size only.
    """

    def __init__(
        self, network: ClassifierNet, *, options: OnlineStudentOptions, teacher: Path, **arguments: Any
    ) -> None:
        super().__init__(network, options=options, **arguments)
        self._teacher, self._taught_by = load_classifier(teacher), fingerprint(teacher)
        self._alpha, self._temperature = options.alpha, options.temperature
        if self._teacher.classes != network.classes:
            raise NoseprintError(f"{teacher}: this teacher has other classes than the student: train it again")
        if self._teacher.backbone.fixed_size not in (None, self._train_size):
            raise NoseprintError(
                f"{teacher}: this teacher takes images of {self._teacher.backbone.fixed_size} pixels only, and the "
                f"student's have {self._train_size}: pass --train-size {self._teacher.backbone.fixed_size}"
            )

    def prepare(self, world: World, results: Path) -> None:
        """See `ClassificationTask.prepare`."""
        super().prepare(world, results)
        self._teacher.to(world.device).eval()

    def loss(self, forward: Callable[..., Tensor], batch: Sample) -> Tensor:
        """The loss of the whole batch."""
        images, target = self._mix(batch.image, batch.target)
        with torch.no_grad():
            taught = self._teacher(images)
        logits = forward(images)
        cross_entropy: Tensor = self.criterion(*gather(logits, target))
        distilled = distillation_loss(*gather(logits, taught), temperature=self._temperature)
        return (1 - self._alpha) * cross_entropy + self._alpha * distilled

    def header(self) -> dict[str, str]:
        """See `ClassificationTask.header`; `teacher` is the fingerprint of the teacher."""
        return {**super().header(), "teacher": self._taught_by}

    def settings(self) -> dict[str, str]:
        """See `ClassificationTask.settings`."""
        return {**super().settings(), "teacher's weights": self._taught_by}
