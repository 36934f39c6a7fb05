"""noseprint report."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from noseprint.commands.evaluate import Evaluate, described, write_scores
from noseprint.errors import NoseprintError

if TYPE_CHECKING:
    from noseprint.evaluation.verifier import Verifier

_UNLABELLED = (
    "This data carries no labels, so how good the answers for it are is not known; the hold-out, below, is what is. "
    "For scores add test/labels.csv or retrieval.csv (data/README.md)."
)
_LATER = "Not scored yet: bash predict.sh answers the test pairs and makes this report again."
_UNVERIFIED = "No thresholds: noseprint calibrate sets them on the hold-out, and noseprint verify decides by them."


@dataclass(frozen=True)
class Report(Evaluate):
    """Write what is known of a run as one HTML page, results/RUN/report.html, and the scores as scores.json beside it.

    Scored and printed as by `noseprint evaluate`, where the data folder carries labels. The page says what is missing.
    """

    scores: bool = True
    """Score; without, the page is of the trainings and the photographs alone."""

    def __call__(self) -> None:
        """Score, print and write."""
        from noseprint.evaluation.report.folders import read_pseudo_labels, read_trainings
        from noseprint.evaluation.report.made import MEASURED
        from noseprint.evaluation.report.page import Material, render
        from noseprint.files import atomic_write
        from noseprint.inspection.check import measure

        labelled = any((self.data / name).is_file() for name in ("test/labels.csv", "retrieval.csv"))
        found = self.evaluation() if self.scores and labelled else None
        if found:
            for line in described(found):
                print(line)
            write_scores(self.json or self.results / "scores.json", found)
        verifier, no_verifier = self._verifier()
        members = [folder for name in self.members for folder in (name.replace("_stage2", "_stage1"), name)]
        folders = {folder: self.of(folder) for folder in ("pseudo_produce", *members)}
        material = Material(
            name=self.name,
            data=self.data.resolve().name,
            members=self.members,
            evaluation=found,
            no_scores="" if found else _LATER if labelled else _UNLABELLED,
            trainings=read_trainings(folders),
            splits=measure(self.data, most=MEASURED) if self.data.is_dir() else [],
            pseudo=read_pseudo_labels(self.of("pseudo_produce"), self.data),
            verifier=verifier,
            no_verifier=no_verifier,
        )
        page = self.results / "report.html"
        with atomic_write(page) as part:
            part.write_text(render(material), encoding="utf-8")
        print(f"The report, for a browser: {page}")

    def _verifier(self) -> "tuple[Verifier | None, str]":
        """The verifier of these weights, or why there is none."""
        from noseprint.evaluation.verifier import read_verifier, weights_of

        path = self.results / "verifier.json"
        if not path.is_file():
            return None, _UNVERIFIED
        try:
            verifier = read_verifier(path)
            weights_of(verifier, path)
        except NoseprintError as error:
            return None, f"No thresholds: {error}."
        return verifier, ""
