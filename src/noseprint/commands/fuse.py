"""noseprint fuse."""

import sys
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
    """Table of the pairs to answer, such as data/test/test_data.csv."""
    out: Path = Path("final_result.csv")
    """Table of the results: imageA,imageB,prediction, in the order of the pairs."""
    method: Literal["mean", "rank", "calibrated"] = "mean"
    """mean: mean of the cosines. rank: mean of their ranks. calibrated: mean of the log-odds of the probabilities."""

    def __call__(self) -> None:
        """Fuse and write."""
        import numpy as np

        from noseprint.data.tables import read_pair_names, table_paths
        from noseprint.files import check_output
        from noseprint.inference.fuse import fuse
        from noseprint.inference.similarity_table import read_similarities, write_similarities

        if len({path.resolve() for path in self.members}) < len(self.members):
            raise NoseprintError(f"a member is named twice: {', '.join(map(str, self.members))}")
        inputs = (*self.members, self.pairs, self.pairs.with_name("labels.csv"))
        inputs += (*table_paths(self.pairs.absolute().parent.parent),)
        check_output(self.out, suffix=".csv", inputs=inputs, option="--out")
        pairs = read_pair_names(self.pairs)
        tables = {str(path): read_similarities(path) for path in self.members}
        fused = fuse(tables, pairs, method=self.method)
        skipped = np.isnan(fused)
        write_similarities(self.out, pairs, fused, skipped=skipped)
        if skipped.any():
            message = f"{skipped.sum()} of {len(pairs)} pairs have no answer, because a member has none: left empty"
            print(message, file=sys.stderr)
        print(f"{len(pairs)} pairs, {self.method} of {len(tables)} members: {self.out}")
