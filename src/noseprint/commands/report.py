"""noseprint report."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from noseprint.commands.campaign import Campaign

if TYPE_CHECKING:
    from noseprint.evaluation.scoring import Evaluation

_UNLABELLED = (
    "This data carries no labels, so nothing here says how well the networks do on it; the hold-out, below, is what is "
    "known. Scores need test/labels.csv or retrieval.csv (data/README.md)."
)
_LATER = "Not scored yet: bash predict.sh answers the test pairs and makes this report again, with their scores."


@dataclass(frozen=True)
class Report(Campaign):
    """Write what is known of a run as one HTML page, results/RUN/report.html, and its scores as scores.json.

    Scored as by `noseprint evaluate` where the data folder carries labels. What is not there is told to be missing.
    """

    scores: bool = True
    """Embed the labelled photographs and score them; without, the report is of the trainings and the data alone."""
    frozen: bool = False
    """Also score each pretrained trunk before any training."""
    device: str = "auto"
    engine: Literal["auto", "torch", "openvino"] = "auto"
    """What runs the networks, as for infer.py."""

    def __call__(self) -> None:
        """Score, write, and print the scores."""
        from noseprint.evaluation.report.folders import read_json, read_pseudo_labels, read_trainings
        from noseprint.evaluation.report.made import MEASURED
        from noseprint.evaluation.report.page import Material, render
        from noseprint.files import atomic_write
        from noseprint.inspection.check import measure

        found, missing = self._evaluation()
        folders = dict.fromkeys(["pseudo_produce"] + [m.replace("_stage2", s) for m in self.members for s in ("_stage1", "_stage2")])
        material = Material(
            name=self.name,
            data=self.data.resolve().name,
            members=self.members,
            evaluation=found,
            no_scores=missing,
            trainings=read_trainings({folder: self.of(folder) for folder in folders}),
            splits=measure(self.data, most=MEASURED) if self.data.is_dir() else [],
            pseudo=read_pseudo_labels(self.of("pseudo_produce"), self.data),
            verifier=read_json(self.results / "verifier.json"),
        )
        page = self.results / "report.html"
        with atomic_write(page) as part:
            part.write_text(render(material), encoding="utf-8")
        print(f"The report: {page}")

    def _evaluation(self) -> "tuple[Evaluation | None, str]":
        """The scores, or why there are none."""
        from noseprint.devices import choose_device
        from noseprint.evaluation.scoring import score_members, score_tables

        if not self.scores:
            return None, _LATER
        weights, tables = self.weights, self.similarities
        if not any((self.data / name).is_file() for name in ("test/labels.csv", "retrieval.csv")):
            return None, _UNLABELLED
        if not any(path.is_file() for path in weights.values()) and all(path.is_file() for path in tables.values()):
            return score_tables(tables, self.data), ""
        device = choose_device(self.device)
        return score_members(weights, self.data, device=device, frozen=self.frozen, engine=self.engine), ""
