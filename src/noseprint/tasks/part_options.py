"""Options of recipes that train several networks, each with snapshots; known without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from noseprint.errors import NoseprintError
from noseprint.tasks.classification_options import ClassificationOptions


@dataclass(frozen=True, kw_only=True)
class PartOptions(ClassificationOptions):
    """Options of the training of one network of several; its train.py sets the defaults."""

    part: str
    """The network: one of those that model.py names."""
    lr_file: Path | None = None
    """Take the learning rate from this lr_range.json in place of `lr`."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        if not self.holdout:
            raise NoseprintError("--holdout 0: give a share above 0; the networks are chosen on held-out images")
        if self.schedule not in ("restarts", "cyclic"):
            return
        cycles = f"--cycles {self.cycles}"
        if self.steps is None and self.epochs is not None and self.cycles > self.epochs:
            raise NoseprintError(
                f"{cycles}: a cycle must last an epoch or more; give at most {self.epochs}, or --epochs {self.cycles}"
            )
        if self.snapshots % self.cycles and (not self.snapshots or self.cycles % self.snapshots):
            raise NoseprintError(
                f"--snapshots {self.snapshots}: would not be at the ends of the {self.cycles} cycles; give "
                f"--snapshots {self.cycles}, or as many --cycles"
            )

    def backbone_of(self, backbones: Mapping[str, str]) -> str:
        """The timm name of --backbone, or else that of the part. Raises NoseprintError if `backbones` lacks it."""
        if self.backbone is None and self.part not in backbones:
            raise NoseprintError(
                f"--part {self.part}: model.py has no such network; choose from {', '.join(backbones)}"
            )
        return self.backbone or backbones[self.part]

    def results(self, folder: Path) -> Path:
        """Where `folder` keeps the files of this network."""
        return folder / "results" / self.run / self.part

    def with_found_rate(self) -> Self:
        """The same options with the learning rate that `lr_file` has for this network."""
        if self.lr_file is None:
            return self
        from noseprint.training.lr_range import suggested_rate  # noqa: PLC0415 - loads torch

        return replace(self, lr=suggested_rate(self.lr_file, self.part), lr_file=None)
