"""noseprint evaluate."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from noseprint.commands.campaign import Campaign


@dataclass(frozen=True)
class Evaluate(Campaign):
    """Score every member and the ensemble against the labels that a data folder carries."""

    frozen: bool = False
    """Also score each pretrained trunk before any training."""
    device: str = "auto"
    engine: Literal["auto", "torch", "openvino"] = "auto"
    """What runs the networks, as for infer.py."""
    json: Path | None = None
    """Write the scores there, too."""

    def __call__(self) -> None:
        """Score and print a table."""
        from noseprint.devices import choose_device
        from noseprint.evaluation.scoring import score_members, score_tables
        from noseprint.files import atomic_write

        weights, tables = self.weights, self.similarities
        if not any(path.is_file() for path in weights.values()) and all(path.is_file() for path in tables.values()):
            found = score_tables(tables, self.data)  # the networks lie elsewhere: predict_ckpt.sh
        else:
            device = choose_device(self.device)
            found = score_members(weights, self.data, device=device, frozen=self.frozen, engine=self.engine)
        scores = found.scores
        print(f"{'':25}{'ROC AUC of the test pairs':28}{'mAP':28}Rank-1     (value [95 % interval over identities])")
        for name, of in scores.items():
            cells = (of.auc, of.map, of.rank_1)
            print(f"{name:25}" + "".join(f"{str(cell) if cell else '-':28}" for cell in cells).rstrip())
        if "ensemble" in scores:
            print("The ensemble is the mean of the members' cosines.")
        if self.json:
            with atomic_write(self.json) as part:
                part.write_text(json.dumps({name: of.to_json() for name, of in scores.items()}, indent=1) + "\n")
