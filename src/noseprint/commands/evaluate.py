"""noseprint evaluate."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Literal

from noseprint.commands.campaign import Campaign

if TYPE_CHECKING:
    from noseprint.inference.evaluation import Evaluation, Scores

_PAIRS = {
    "auc": "ROC AUC",
    "eer": "EER",
    "tmr_at_1e_1": "TMR at FMR 0.1",
    "tmr_at_1e_2": "TMR at FMR 0.01",
    "tmr_at_1e_3": "TMR at FMR 0.001",
}
_SEARCH = {"map": "mAP", "rank_1": "Rank-1", "rank_5": "Rank-5", "precision_at_5": "Precision@5"}
_CHANGED = {"auc": "ROC AUC", "map": "mAP", "rank_1": "Rank-1"}
_LINE = 120
_CELL = 25


@dataclass(frozen=True)
class Evaluate(Campaign):
    """Score every member and the ensemble against the labels that a data folder carries."""

    frozen: bool = False
    """Also score each pretrained backbone before any training."""
    device: str = "auto"
    engine: Literal["auto", "torch", "openvino"] = "auto"
    """What runs the networks, as for infer.py."""
    json: Path | None = None
    """Write the scores there, too, with what they were counted from."""

    def __call__(self) -> None:
        """Score and print tables."""
        self.check_json()
        found = self.evaluation()
        for line in described(found, self.data):
            print(line)
        if self.json:
            write_scores(self.json, found)

    def check_json(self) -> None:
        """Refuse, before any work, to write the scores over what the command reads."""
        from noseprint.data.tables import table_paths
        from noseprint.files import check_overwriting

        if self.json:
            read = (*self.weights.values(), *self.similarities.values(), self.results / "verifier.json")
            check_overwriting(self.json, suffix=".json", inputs=(*read, *table_paths(self.data)), option="--json")

    def evaluation(self) -> "Evaluation":
        """Score by the networks or, where they lie elsewhere, by what they said of the test pairs."""
        from noseprint.devices import choose_device
        from noseprint.inference.evaluation import score_members, score_tables
        from noseprint.inference.leaks import learnt_from, of_training

        weights, tables = self.weights, self.similarities
        trained_here = of_training(self.data, weights.values())
        learnt = learnt_from(self.data, self.of("pseudo_produce") / "pseudo.csv") if trained_here else ()
        if not any(path.is_file() for path in weights.values()) and all(path.is_file() for path in tables.values()):
            found = score_tables(tables, self.data, learnt=learnt)  # predict_ckpt.sh
        else:
            device = choose_device(self.device)
            found = score_members(
                weights, self.data, device=device, frozen=self.frozen, engine=self.engine, learnt=learnt
            )
        found.other_data = not trained_here
        return found


def write_scores(path: Path, found: "Evaluation") -> None:
    """Write the scores as JSON, with what they were counted from."""
    from noseprint.files import atomic_write

    with atomic_write(path) as part:
        part.write_text(json.dumps(found.to_json(), indent=1) + "\n")


def described(found: "Evaluation", data: Path) -> Iterator[str]:
    """Tables of the scores, what in `data` they were counted from, and what flatters them."""
    from noseprint.metrics.verification import least_fmr_rounded_up

    facts = found.labelled.facts()
    if pairs := facts.get("pairs"):
        yield "Test pairs: {same} same, {different} different, of {identities} identities".format_map(pairs)
        yield from _table(_PAIRS, found.scores)
        if found.refused:
            asked = ", ".join(_PAIRS[name].removeprefix("TMR at FMR ") for name in found.refused)
            lowest = least_fmr_rounded_up(int(pairs["different"]))
            supported = f"{lowest:g} at the lowest" if lowest else "none"
            yield f"Not at FMR {asked}: by the rule of 30 these pairs support {supported}."
    if (search := facts.get("search")) and any(of.map for of in found.scores.values()):
        found_in = "Search: {queries} queries, {gallery} images in the gallery, {identities} identities"
        yield found_in.format_map(search)
        yield from _table(_SEARCH, found.scores)
        if search["without_match"]:
            yield f"Left out: {search['without_match']} queries that have no match in the gallery."
    for remark in found.labelled.remarks:
        yield _filled(remark)
    ensemble = " The ensemble is the mean of the members' cosines." if "ensemble" in found.scores else ""
    yield f"In brackets: 95 % intervals, from a bootstrap over identities.{ensemble}"
    if found.other_data:
        yield _filled(
            f"Trained on other photographs than {data / 'train'} names: whether what is scored here was learnt from is "
            "not known."
        )
    if leaks := found.leaks:
        copies = [*leaks.copies, *leaks.compared]
        if copies:
            yield _filled(
                f"Near copies: {len(leaks.copies)} photographs of ones learnt from, {len(leaks.compared)} couples that "
                f"are compared, such as {copies[0][0].name} and {copies[0][1].name}. "
                + _change("Without them", found.scores, found.without_copies)
            )
        if leaks.learnt:
            yield _filled(
                f"Learnt from themselves: {len(leaks.learnt)} of {len(found.labelled.paths)} photographs, such as "
                f"{leaks.learnt[0].name}. " + _change("On the others alone", found.scores, found.without_learnt)
            )


def _filled(text: str) -> str:
    return fill(text, _LINE, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _table(headings: Mapping[str, str], scores: Mapping[str, "Scores"]) -> Iterator[str]:
    """A line a name, as many columns side by side as fit on a line; columns without a score are left out."""
    known = [name for name in headings if any(getattr(of, name) for of in scores.values())]
    first = max(map(len, scores)) + 2
    step = max(1, (_LINE - first) // _CELL)
    for columns in (known[i : i + step] for i in range(0, len(known), step)):
        yield _row("", [headings[name] for name in columns], first)
        for name, of in scores.items():
            yield _row(name, [str(getattr(of, column) or "-") for column in columns], first)


def _row(name: str, cells: Sequence[str], first: int) -> str:
    return (f"{name:{first}}" + "".join(f"{cell:{_CELL}}" for cell in cells)).rstrip()


def _change(where: str, scores: Mapping[str, "Scores"], without: Mapping[str, "Scores"]) -> str:
    """What the scores of the last, which is the ensemble where there is one, become without some photographs."""
    name = list(scores)[-1]
    told = []
    for key, heading in _CHANGED.items():
        before, after = getattr(scores[name], key), getattr(without[name], key)
        if before and after:
            told.append(f"{heading} {after.value:.4f} ({after.value - before.value:+.4f})")
    return f"{where} {name} has {', '.join(told) or 'too little to score'}."
