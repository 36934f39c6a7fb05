"""noseprint report."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from noseprint.commands.evaluate import Evaluate, evaluation_lines, write_scores
from noseprint.errors import NoseprintError

if TYPE_CHECKING:
    from noseprint.calibration.verifier import Verifier

_UNLABELLED = (
    "This data carries no labels, so how good the answers for it are is not known; the hold-out, below, is what is. "
    "For scores add test/labels.csv or retrieval.csv (data/README.md)."
)
_LATER = "Not scored yet: bash predict.sh, after bash train.sh, answers the test pairs and makes this report again."
_UNVERIFIED = "No thresholds: noseprint calibrate sets them on the hold-out, and noseprint verify decides by them."


@dataclass(frozen=True)
class Report(Evaluate):
    """Write what is known of a run as one HTML page, results/RUN/report.html, and the scores as scores.json beside it.

    Scored and printed as by `noseprint evaluate`, where the data folder carries labels. The page says what is missing.
    """

    scores: bool = True
    """Score; without, the page is of the trainings and the photographs alone, and one newer than the weights stays."""

    def __call__(self) -> None:
        """Score, print and write."""
        from noseprint.files import atomic_write
        from noseprint.inference.labelled_data import NothingToScoreError
        from noseprint.inference.leaks import trained_on
        from noseprint.inspection.check import measure_splits
        from noseprint.reporting.page import Material, render
        from noseprint.reporting.run_folders import count_learnt, read_pseudo_labels, read_trainings, readable
        from noseprint.reporting.training_sections import MEASURED

        self.check_json()
        page = self.results / "report.html"
        if not self.scores and _newer(page, self.weights.values()):
            print(f"The report is newer than the weights, and stays: {page}")
            return
        self._require_something()
        no_scores, found = self._unscored(), None
        try:
            found = None if no_scores else self.evaluation()
        except NothingToScoreError as error:
            no_scores = str(error)
            print(no_scores)
        if found:
            for line in evaluation_lines(found, self.data):
                print(line)
            write_scores(self.json or self.results / "scores.json", found)
        verifier, no_verifier = self._verifier()
        members = [folder for name in self.members for folder in (name.replace("_stage2", "_stage1"), name)]
        folders = {folder: self.of(folder) for folder in ("pseudo_produce", *members)}
        trainings = read_trainings(folders)
        elsewhere = readable(lambda: not trained_on(self.data, self.weights.values()))
        pseudo = self.of("pseudo_produce")
        material = Material(
            name=self.name,
            data=self.data.resolve().name,
            members=self.members,
            evaluation=found,
            no_scores=no_scores,
            trainings=trainings,
            elsewhere=bool(trainings and elsewhere),
            learnt=None if elsewhere else readable(lambda: count_learnt(trainings, self.data)),
            splits=measure_splits(self.data, most=MEASURED) if self.data.is_dir() else [],
            pseudo=None if elsewhere else read_pseudo_labels(pseudo, self.data),
            verifier=verifier,
            no_verifier=no_verifier,
        )
        with atomic_write(page) as part:
            part.write_text(render(material), encoding="utf-8")
        print(f"The report, for a browser: {page}")

    def _require_something(self) -> None:
        """Refuse what would put an empty page in the place of a full one."""
        weights = self.weights
        absent = [path for path in weights.values() if not path.is_file()]
        if self.scores and 0 < len(absent) < len(weights):
            raise NoseprintError(f"{absent[0]} is missing: train it, or leave it out with --members")
        if self.scores and not self.data.is_dir():
            raise NoseprintError(f"{self.data} is no folder: name the data folder with --data DIR")
        if not any(self.of(name).is_dir() for name in ("pseudo_produce", *self.members)):
            raise NoseprintError(f"{self.root.resolve()} has no run {self.name or 'at full size'}: train it first")

    def _unscored(self) -> str:
        """Why nothing can be scored, or nothing."""
        networks = [path.is_file() for path in self.weights.values()]
        answers = not any(networks) and all(path.is_file() for path in self.similarities.values())
        if not self.scores or not (all(networks) or answers):
            return _LATER
        labels = ["test/labels.csv"] if answers else ["test/labels.csv", "retrieval.csv"]  # a search needs the networks
        return "" if any((self.data / name).is_file() for name in labels) else _UNLABELLED

    def _verifier(self) -> "tuple[Verifier | None, str]":
        """The verifier of these weights, or why there is none."""
        from noseprint.calibration.verifier import check_weights, read_verifier

        path = self.results / "verifier.json"
        if not path.is_file():
            return None, _UNVERIFIED
        try:
            verifier = read_verifier(path)
            check_weights(verifier)
        except NoseprintError as error:
            return None, f"No thresholds: {error}."
        if {member.name for member in verifier.members} != set(self.members):
            others = ", ".join(member.name for member in verifier.members)
            return None, f"No thresholds: {path} is of {others}; noseprint calibrate makes it anew."
        return verifier, ""


def _newer(page: Path, files: Iterable[Path]) -> bool:
    return page.is_file() and all(page.stat().st_mtime > path.stat().st_mtime for path in files if path.is_file())
