"""noseprint fuse."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from noseprint.errors import NoseprintError


@dataclass(frozen=True)
class Fuse:
    """Fuse the similarities of several members into one result, joined on (imageA, imageB)."""

    members: tyro.conf.Positional[tuple[Path, ...]]
    """The members' similarity.csv files."""
    pairs: Path
    """The pairs to answer, such as data/test/test_data.csv."""
    out: Path = Path("final_result.csv")
    method: Literal["mean", "rank", "calibrated"] = "mean"
    """mean of the cosines; mean of their ranks; calibrated: mean of the log-odds of their probabilities."""

    def __call__(self) -> None:
        """Fuse and write."""
        from noseprint.data.tables import read_pair_names, table_paths
        from noseprint.files import check_overwriting
        from noseprint.inference.fuse import fuse, write_result
        from noseprint.inference.similarity_table import read_similarities

        if len({path.resolve() for path in self.members}) < len(self.members):
            raise NoseprintError(f"a member is named twice among {', '.join(map(str, self.members))}")
        inputs = (*self.members, self.pairs, self.pairs.with_name("labels.csv"))
        inputs += (*table_paths(self.pairs.absolute().parent.parent),)
        check_overwriting(self.out, suffix=".csv", inputs=inputs, option="--out")
        pairs = read_pair_names(self.pairs)
        tables = {str(path): read_similarities(path) for path in self.members}
        write_result(self.out, pairs, fuse(tables, pairs, method=self.method))
        print(f"{len(pairs)} pairs, {self.method} of {len(tables)} members: {self.out}")
