"""Options that say which table a script reads and what its columns mean."""

from dataclasses import dataclass
from pathlib import Path

from noseprint.data.class_columns import ClassColumns


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """Where the images and labels of a folder of classes stand."""

    table: Path | None = None
    """The table of images and labels. None: the one in the data folder, or else its folders."""
    image_column: str | None = None
    """The table's column of images. None: recognise it by its name."""
    label_column: str | None = None
    """The table's column of labels. None: recognise it by its name."""
    split_column: str | None = None
    """The table's column of splits. None: recognise it by its name."""
    group_column: str | None = None
    """The table's column of groups, such as the photographer of each image: a group is in one fold."""

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
