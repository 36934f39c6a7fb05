"""noseprint report."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from noseprint.commands.evaluate import Evaluate, evaluation_lines, write_scores
from noseprint.errors import NoseprintError

if TYPE_CHECKING:
    from noseprint.calibration.verifier import Verifier

_NO_LABELS = (
    "This data has no labels, so it cannot show how good the answers are. The hold-out figures below can, in part. To "
    "get scores, add test/labels.csv or retrieval.csv (data/README.md)."
)
_NO_ANSWERS = (
    "Not scored yet. After bash train.sh, bash predict.sh answers the test pairs and writes this report again."
)
_NO_VERIFIER = (
    "No thresholds yet. noseprint calibrate sets them on the hold-out. noseprint verify uses them to decide whether "
    "two photographs show the same individual."
)


@dataclass(frozen=True)
class Report(Evaluate):
    """Write what is known about a run as one HTML page, results/RUN/report.html, and the scores as scores.json.

    Where the data folder has labels, it is scored as by `noseprint evaluate`. The page says what is missing.
    """

    scores: bool = True
    """Score the networks. --no-scores: only the trainings and the photographs; does not replace a newer page."""

    def __call__(self) -> None:
        """Score, print and write."""
        from noseprint.files import atomic_write, require_writable
        from noseprint.inference.labelled_data import NothingToScoreError
        from noseprint.inference.leaks import trained_on
        from noseprint.inspection.check import measure_splits
        from noseprint.reporting.page import MEASURED, ReportData, render
        from noseprint.reporting.run_folder import count_training_set, read_pseudo_labels, read_trainings, readable

        self.check_json()
        page = self.results / "report.html"
        if not self.scores and _newer(page, self.weights.values()):
            print(f"The report is newer than the weights, so it is not written again: {page}")
            return
        self._require_something()
        require_writable(page)
        why_not_scored, evaluation = self._why_not_scored(), None
        try:
            evaluation = None if why_not_scored else self.evaluation()
        except NothingToScoreError as error:
            why_not_scored = str(error)
            print(why_not_scored)
        if evaluation:
            for line in evaluation_lines(evaluation, self.data):
                print(line)
            write_scores(self.json or self.results / "scores.json", evaluation)
        verifier, why_not_calibrated = self._verifier()
        stages = [folder for name in self.members for folder in (name.replace("_stage2", "_stage1"), name)]
        trainings = read_trainings({folder: self.of(folder) for folder in ("pseudo_produce", *stages)})
        other_photographs = readable(lambda: not trained_on(self.data, self.weights.values()))
        report = ReportData(
            run=self.name,
            data=self.data.resolve().name,
            members=self.members,
            evaluation=evaluation,
            why_not_scored=why_not_scored,
            trainings=trainings,
            other_photographs=bool(trainings and other_photographs),
            training_set=None if other_photographs else readable(lambda: count_training_set(trainings, self.data)),
            splits=measure_splits(self.data, most=MEASURED) if self.data.is_dir() else [],
            pseudo_labels=None if other_photographs else read_pseudo_labels(self.of("pseudo_produce"), self.data),
            verifier=verifier,
            why_not_calibrated=why_not_calibrated,
        )
        with atomic_write(page) as part:
            part.write_text(render(report), encoding="utf-8")
        print(f"Report written; open it in a browser: {page}")

    def _require_something(self) -> None:
        """Refuse to replace a full page with an empty one."""
        weights = self.weights
        missing = [path for path in weights.values() if not path.is_file()]
        if self.scores and 0 < len(missing) < len(weights):
            raise NoseprintError(f"{missing[0]} is missing: train it, or name the other members with --members")
        if self.scores and not self.data.is_dir():
            raise NoseprintError(f"{self.data} is not a folder: name the data folder with --data DIR")
        if not any(self.of(name).is_dir() for name in ("pseudo_produce", *self.members)):
            raise NoseprintError(f"{self.root.resolve()} has no run {self.name or 'at full size'}: train it first")

    def _why_not_scored(self) -> str:
        """Why nothing can be scored; "" if it can."""
        trained = [path.is_file() for path in self.weights.values()]
        only_answers = not any(trained) and all(path.is_file() for path in self.similarities.values())
        if not self.scores or not (all(trained) or only_answers):
            return _NO_ANSWERS
        labels = ["test/labels.csv"] if only_answers else ["test/labels.csv", "retrieval.csv"]
        return "" if any((self.data / name).is_file() for name in labels) else _NO_LABELS

    def _verifier(self) -> "tuple[Verifier | None, str]":
        """The verifier of these weights, or why there is none."""
        from noseprint.calibration.verifier import check_weights, read_verifier

        path = self.results / "verifier.json"
        if not path.is_file():
            return None, _NO_VERIFIER
        try:
            verifier = read_verifier(path)
            check_weights(verifier)
        except NoseprintError as error:
            return None, f"No thresholds: {error}."
        if {member.name for member in verifier.members} != set(self.members):
            names = ", ".join(member.name for member in verifier.members)
            return None, f"No thresholds: {path} was made for {names}. Run noseprint calibrate for these members."
        return verifier, ""


def _newer(page: Path, files: Iterable[Path]) -> bool:
    return page.is_file() and all(page.stat().st_mtime > path.stat().st_mtime for path in files if path.is_file())
