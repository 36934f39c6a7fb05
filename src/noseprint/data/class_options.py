"""Options that say which table a script reads and what its columns mean."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from noseprint.data.class_columns import ClassColumns
from noseprint.errors import NoseprintError


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """Where the images and labels of a folder of classes are listed."""

    table: Path | None = None
    """The table of images and labels. None: the one in the data folder, or else its folders."""
    image_column: str | None = None
    """The table's column of images. None: recognise it by its name."""
    label_column: str | None = None
    """The table's column of labels. None: recognise it by its name."""
    split_column: str | None = None
    """The table's column of splits. None: recognise it by its name."""
    group_column: str | None = None
    """The table's column of groups, such as the photographer of each image. A group is never split: all its images are
    in one fold, and all are trained on or all held out."""

    @property
    def columns(self) -> ClassColumns:
        """The table and its columns."""
        return ClassColumns(
            table=self.table,
            image=self.image_column,
            label=self.label_column,
            split=self.split_column,
            group=self.group_column,
        )


@dataclass(frozen=True, kw_only=True)
class TreeOptions:
    """Where the tree above the classes is written."""

    levels: str | None = None
    """The columns of coarser classes, in any order, separated by commas. None: recognise them."""
    tree: Path | None = None
    """A table with the tree. None: the levels of the table of images, or tree.csv in the data folder."""

    @property
    def level_names(self) -> tuple[str, ...] | None:
        """The columns of coarser classes."""
        return None if self.levels is None else tuple(name.strip() for name in self.levels.split(",") if name.strip())


@dataclass(frozen=True, kw_only=True)
class LabelOptions(TableOptions):
    """Whose labels a script learns from."""

    labels: Literal["cleaned", "given"] = "cleaned"
    """cleaned: the labels that clean.sh left for this run; if it has not run, those of the data. given: those of the
    data."""

    def cleaned_labels(self, results: Path) -> Path | None:
        """The table that clean.sh left in the family's `results`; None if it is missing or not wanted."""
        table = results / "labels.csv"
        return table if self.labels == "cleaned" and table.is_file() else None


@dataclass(frozen=True, kw_only=True)
class EnsembleOptions(LabelOptions):
    """Which networks a script asks together."""

    members: str = ""
    """The folders of the networks, separated by commas. train.sh and predict.sh pass them."""

    @property
    def member_names(self) -> tuple[str, ...]:
        """The folders. Raises NoseprintError if there is none, or one is named twice."""
        names = tuple(name.strip() for name in self.members.split(",") if name.strip())
        if not names or len(set(names)) < len(names):
            raise NoseprintError(
                f"--members {self.members!r}: name the folders of the networks, each once, separated by commas"
            )
        return names
