"""Options of the trainings on parts of the images, by which labels are judged; known without torch."""

import re
from dataclasses import dataclass
from pathlib import Path

from noseprint.data.class_options import TableOptions
from noseprint.errors import NoseprintError
from noseprint.tasks.classification_options import ClassificationOptions


@dataclass(frozen=True)
class FoldOptions(TableOptions, ClassificationOptions):
    """Options of the training for one fold; its train.py sets the defaults."""

    folds: int = 5
    """Parts of the images. Each is judged by a network that was trained on the others."""
    part: str = "round1-fold0"
    """roundR-foldF: train for fold F, from 0, on the images of the other folds. Round 2 leaves out those that round 1
    found suspect, and so on."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        if not re.fullmatch(r"round[1-9]\d{0,3}-fold\d{1,4}", self.part) or self.fold >= self.folds:
            raise NoseprintError(
                f"--part {self.part}: give round1-fold0 to round1-fold{self.folds - 1}, or a later round"
            )

    @property
    def round(self) -> int:
        """The round, from 1."""
        return int(re.findall(r"\d+", self.part)[0])

    @property
    def fold(self) -> int:
        """The fold that the training does not see, from 0."""
        return int(re.findall(r"\d+", self.part)[1])

    def results(self, folder: Path) -> Path:
        """Where `folder` keeps the files of this training."""
        return folder / "results" / self.run / self.part
