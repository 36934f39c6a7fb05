"""Options of recipes in which a small network learns from labels and from a larger network; known without torch."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from noseprint.errors import NoseprintError
from noseprint.tasks.classification_options import ClassificationOptions


@dataclass(frozen=True, kw_only=True)
class TeacherOptions(ClassificationOptions):
    """Options of the training of a teacher; its train.py sets the defaults."""

    part: str = "fold0"
    """foldF: train on the images of the other folds, then classify those of fold F."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        if not re.fullmatch(r"fold[0-4]", self.part):
            raise NoseprintError(f"--part {self.part}: give one of fold0 to fold4")

    @property
    def fold(self) -> int:
        """The fold that the training does not see, from 0."""
        return int(self.part.removeprefix("fold"))

    def results(self, folder: Path) -> Path:
        """Where `folder` keeps the files of this training."""
        return folder / "results" / self.run / self.part


@dataclass(frozen=True, kw_only=True)
class StudentOptions(ClassificationOptions):
    """Options of the training of a student; its train.py sets the defaults."""

    hidden: int | None
    """Features of the neck: linear layer, BatchNorm and ReLU between the pooling and the classifier. None: no neck."""
    targets: Literal["labels", "argmax", "probabilities"]
    """What a student learns of each image. labels: its label. argmax: a mixture of the label and the teachers' most
    probable class. probabilities: a mixture of the label and all of the teachers' probabilities."""
    soft_share: float = 0.2
    """The teachers' share of the mixture."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        if not 0 <= self.soft_share <= 1:
            raise NoseprintError(f"--soft-share {self.soft_share}: must be in 0..1")


@dataclass(frozen=True, kw_only=True)
class OnlineStudentOptions(StudentOptions):
    """Options of the training of a student beside its teacher."""

    teacher: Path | None = None
    """The teacher's weights. None: those of teacher/, fold 0, of the same run."""
    alpha: float = 0.9
    """The teacher's share of the loss; the rest is the cross-entropy with the targets."""
    temperature: float = 20.0
    """The logits of both are divided by this before they are compared."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise NoseprintError(f"--alpha {self.alpha}: must be in 0..1")
        if not 0 < self.temperature < math.inf:
            raise NoseprintError(f"--temperature {self.temperature}: must be above 0 and finite")


@dataclass(frozen=True, kw_only=True)
class FinishOptions(ClassificationOptions):
    """Options of the last epochs of a student; its train.py sets the defaults."""

    students: str = "student"
    """The folders of the students, separated by commas. The one with the highest score on the hold-out is taken."""

    @property
    def student_names(self) -> tuple[str, ...]:
        """The folders of the students."""
        return tuple(filter(None, map(str.strip, self.students.split(","))))

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        if not self.student_names:
            raise NoseprintError("--students: name the folder of a student")
        if not self.snapshots:
            raise NoseprintError("--snapshots 0: must be at least 1, as their mean is the result")


def finished_weights(family: Path, run: str) -> tuple[Path, Path]:
    """The weights of the finished network, and of the same training without the hold-out; without finish/, the student.

    family: the folder of the recipe. run: the name of the run.
    """
    weights = family / "finish" / "results" / run / "best.safetensors"
    if weights.is_file():
        return weights, weights.parent / "proof" / "best.safetensors"
    student = family / "student" / "results" / run / "best.safetensors"
    return student, student
