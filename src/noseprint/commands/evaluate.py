"""noseprint evaluate."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from noseprint.commands.campaign import Campaign
from noseprint.reporting.score_table import filled, score_table

if TYPE_CHECKING:
    from noseprint.inference.evaluation import Evaluation, Scores
    from noseprint.metrics.bootstrap import Score

_PAIRS = {
    "auc": "ROC AUC",
    "eer": "EER",
    "tmr_at_1e_1": "TMR at FMR 0.1",
    "tmr_at_1e_2": "TMR at FMR 0.01",
    "tmr_at_1e_3": "TMR at FMR 0.001",
}
_SEARCH = {"map": "mAP", "rank_1": "Rank-1", "rank_5": "Rank-5", "precision_at_5": "Precision@5"}
_CHANGED = {"auc": "ROC AUC", "map": "mAP", "rank_1": "Rank-1"}


@dataclass(frozen=True)
class Evaluate(Campaign):
    """Score every member and the ensemble against the labels of a data folder."""

    frozen: bool = False
    """Also score each pretrained backbone before any training."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    engine: Literal["auto", "torch", "openvino"] = "auto"
    """What runs the networks. auto: OpenVINO on a CPU if it is installed, else torch."""
    skip_bad: bool = False
    """Score without the photographs that are missing or broken."""
    json: Path | None = None
    """Also write the scores, and the counts behind them, to this JSON file."""

    def __call__(self) -> None:
        """Score and print tables."""
        self.check_json()
        evaluation = self.evaluation()
        for line in evaluation_lines(evaluation, self.data):
            print(line)
        if self.json:
            write_scores(self.json, evaluation)

    def check_json(self) -> None:
        """Refuse, before any work, to overwrite the command's own inputs with the scores."""
        from noseprint.data.tables import table_paths
        from noseprint.files import check_output

        if self.json:
            inputs = (*self.weights.values(), *self.similarities.values(), self.results / "verifier.json")
            check_output(self.json, suffix=".json", inputs=(*inputs, *table_paths(self.data)), option="--json")

    def evaluation(self) -> "Evaluation":
        """Score the networks. If none of them is there, score their similarity.csv files instead."""
        from noseprint.devices import choose_device
        from noseprint.files import skipped_table
        from noseprint.inference.evaluation import evaluate_members, evaluate_tables
        from noseprint.inference.leaks import learned_photographs, trained_on

        weights, tables = self.weights, self.similarities
        trained_here = trained_on(self.data, weights.values())
        learned = learned_photographs(self.data, self.of("pseudo_produce") / "pseudo.csv") if trained_here else ()
        if not any(path.is_file() for path in weights.values()) and all(path.is_file() for path in tables.values()):
            evaluation = evaluate_tables(tables, self.data, learned=learned)  # predict_ckpt.sh
        else:
            device = choose_device(self.device)
            evaluation = evaluate_members(
                weights,
                self.data,
                device=device,
                frozen=self.frozen,
                engine=self.engine,
                learned=learned,
                skip_bad=self.skip_bad,
                skipped_csv=skipped_table(self.json) if self.json else None,
            )
        evaluation.other_data = not trained_here
        return evaluation


def write_scores(path: Path, evaluation: "Evaluation") -> None:
    """Write the scores, and the counts behind them, as JSON."""
    from noseprint.files import atomic_write

    with atomic_write(path) as part:
        part.write_text(json.dumps(evaluation.to_json(), indent=1) + "\n")


def evaluation_lines(evaluation: "Evaluation", data: Path) -> Iterator[str]:
    """Tables of the scores as lines of text, with the counts behind them and the leaks that may inflate them."""
    from noseprint.metrics.verification import least_fmr_rounded_up

    counts = evaluation.labelled.counts()
    if pairs := counts.get("pairs"):
        yield "Test pairs: {same} same, {different} different, of {identities} identities".format_map(pairs)
        yield from score_table(_PAIRS, _cells(evaluation.scores))
        if evaluation.unsupported:
            rates = ", ".join(_PAIRS[name].removeprefix("TMR at FMR ") for name in evaluation.unsupported)
            lowest = least_fmr_rounded_up(int(pairs["different"]))
            supported = f"their lowest FMR is {lowest:g}" if lowest else "they support no FMR"
            yield f"No TMR at FMR {rates}: these pairs are too few by the rule of 30; {supported}."
    if (search := counts.get("search")) and any(scores.map for scores in evaluation.scores.values()):
        yield "Search: {queries} queries, {gallery} gallery images, {identities} identities".format_map(search)
        yield from score_table(_SEARCH, _cells(evaluation.scores))
        same_encounter = search.get("same_encounter", 0)
        if nobody := search["without_match"] - same_encounter:
            yield f"Left out: {nobody} queries without a match in the gallery."
        if same_encounter and (table := evaluation.labelled.retrieval):
            another = f"another {table.encounter_column or 'encounter'}"
            yield f"Left out: {same_encounter} queries without a match in the gallery of {another}."
    for remark in evaluation.labelled.remarks:
        yield filled(remark)
    ensemble = " The ensemble is the mean of the members' cosines." if "ensemble" in evaluation.scores else ""
    yield f"In brackets: 95 % intervals, from a bootstrap over identities.{ensemble}"
    if evaluation.other_data:
        yield filled(
            f"The networks were not trained on the photographs in {data / 'train'}, so it is not known whether they "
            "learned from photographs that are scored here."
        )
    if leaks := evaluation.leaks:
        if copies := [*leaks.copies, *leaks.compared]:
            learned = (
                f"{len(leaks.copies)} scored photographs are near copies of photographs that the networks learned "
                "from, and "
            )
            yield filled(
                f"Near copies: {'' if evaluation.other_data else learned}{len(leaks.compared)} comparisons are between "
                f"near copies, such as {copies[0][0].name} and {copies[0][1].name}. "
                + _change(evaluation.scores, evaluation.without_copies)
            )
        if leaks.learned:
            yield filled(
                f"Learned from: {len(leaks.learned)} of the {len(evaluation.labelled.paths)} scored photographs, such "
                f"as {leaks.learned[0].name}. " + _change(evaluation.scores, evaluation.without_learned)
            )


def _cells(scores: Mapping[str, "Scores"]) -> dict[str, dict[str, "Score | None"]]:
    return {name: vars(row) for name, row in scores.items()}


def _change(scores: Mapping[str, "Scores"], without: Mapping[str, "Scores"]) -> str:
    """How the scores of the ensemble, or of the only member, change without some photographs."""
    name = list(scores)[-1]
    changes = []
    for key, heading in _CHANGED.items():
        before, after = getattr(scores[name], key), getattr(without[name], key)
        if before and after:
            changes.append(f"{heading} {after.value:.4f} ({after.value - before.value:+.4f})")
    return (
        f"Without them, {name} scores {', '.join(changes)}."
        if changes
        else "Without them, too little is left to score."
    )
