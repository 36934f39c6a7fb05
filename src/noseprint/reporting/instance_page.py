"""The report of an embedding for many domains: computes what the page shows; instance_report.html.j2 holds the text."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noseprint.data.csv_rows import read_rows
from noseprint.data.instances import ALL_DOMAINS, InstanceTable
from noseprint.errors import DataError, Fault, NoseprintError
from noseprint.inference.embedding_results import AVERAGE_PRECISION, HELD_OUT, PRECISION, SCORES_HEADER
from noseprint.inference.gallery import GalleryEmbeddings
from noseprint.metrics.bootstrap import Score
from noseprint.metrics.instances import score_instances
from noseprint.reporting import charts
from noseprint.reporting.photographs import thumbnail
from noseprint.reporting.templates import render_template
from noseprint.version import __version__

_SEARCHES = 3  # for each domain: those with the lowest average precision
_FOUND = 5

StepScores = dict[str, dict[str, Score]]
"""Metric -> domain -> score."""


@dataclass(frozen=True)
class Search:
    """A query and the first photographs that it finds; of each, whether it shows the same identity."""

    domain: str
    query: Path
    identity: str
    found: tuple[tuple[Path, str, bool], ...]


@dataclass(frozen=True)
class InstanceRun:
    """What the report is made from. steps: the scores of each candidate, the best on the hold-out first."""

    run: str
    data: str
    taken: str
    frozen: str
    dim: int
    on_test: bool
    warnings: tuple[str, ...]
    steps: dict[str, StepScores]
    searches: tuple[Search, ...]


def read_instance_run(
    results: Path, table: InstanceTable, found: GalleryEmbeddings, *, run: str, data: str
) -> InstanceRun:
    """Read what reduce/choose.py left in `results`: scores.csv and choice.json.

    found: the embeddings of all photographs of the table by the chosen network. Raises NoseprintError if files are
    missing or damaged.
    """
    faults, steps = list[Fault](), dict[str, StepScores]()
    scores, choice = results / "scores.csv", results / "choice.json"
    try:
        for _, (step, domain, metric, *numbers) in read_rows(scores, SCORES_HEADER, faults=faults):
            steps.setdefault(step, {}).setdefault(metric, {})[domain] = Score(*map(float, numbers))
        if faults:
            raise DataError(faults)
        ordered = sorted(steps, key=lambda step: -steps[step][HELD_OUT][ALL_DOMAINS].value)
    except (ValueError, KeyError) as error:
        raise NoseprintError(f"{scores}: is damaged ({error!r}): run train.sh again") from error
    try:
        entries = json.loads(choice.read_text(encoding="utf-8"))
        taken, frozen, on_test = entries["taken"], entries["frozen"], bool(entries["on_test"])
        warnings = tuple(map(str, entries["warnings"]))
        if not {PRECISION, AVERAGE_PRECISION, HELD_OUT} <= steps[taken].keys() & steps[frozen].keys():
            raise ValueError("not of these scores")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoseprintError(f"{choice}: cannot be read ({error!r}): run train.sh again") from error
    return InstanceRun(
        run=run,
        data=data,
        taken=taken,
        frozen=frozen,
        dim=found.matrix.shape[1],
        on_test=on_test,
        warnings=warnings,
        steps={step: steps[step] for step in ordered},
        searches=tuple(_searches(table.part("test" if on_test else "val"), found)),
    )


def _searches(table: InstanceTable, found: GalleryEmbeddings) -> list[Search]:
    """The searches of each domain that find their identity worst, of as many identities."""
    rows = found.rows_of(table.names)
    index = np.flatnonzero(table.is_index)
    scores = score_instances(
        rows, identities=table.identities, domains=table.domains, queries=table.is_query, index=table.is_index
    )
    searches = []
    for domain in np.unique(scores.domains):
        shown = set[str]()
        for at in np.argsort(scores.average_precision, kind="stable"):
            if scores.domains[at] != domain or scores.identities[at] in shown or len(shown) == _SEARCHES:
                continue
            shown.add(str(scores.identities[at]))
            query = int(scores.query[at])
            similarity = rows[index] @ rows[query]
            similarity[index == query] = -np.inf
            nearest = index[np.argsort(-similarity, kind="stable")[:_FOUND]]
            own = table.identities[query]
            hits = tuple((table.paths[row], table.identities[row], table.identities[row] == own) for row in nearest)
            searches.append(Search(str(domain), table.paths[query], own, hits))
    return searches


def render_instance_report(run: InstanceRun) -> str:
    """The page as HTML. The same run gives the same text."""
    taken = run.steps[run.taken]
    return render_template(
        "instance_report.html.j2",
        filters={"thumbnail": thumbnail},
        run=run,
        version=__version__,
        mean=ALL_DOMAINS,
        domains=[ALL_DOMAINS, *(domain for domain in taken[PRECISION] if domain != ALL_DOMAINS)],
        metrics=(PRECISION, AVERAGE_PRECISION),
        held_out=HELD_OUT,
        chart=charts.intervals(taken[AVERAGE_PRECISION], name="domains", label="mean average precision (mAP)"),
    )
