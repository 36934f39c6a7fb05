"""Scores embeddings, and prints the results file as tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from noseprint.inference.labelled_data import LabelledData, read_labelled_data
from noseprint.metrics.bootstrap import bootstrap_mean, bootstrap_pairs
from noseprint.metrics.retrieval import retrieval_metrics
from noseprint.metrics.similarity import pair_similarities
from noseprint.metrics.verification import roc_auc, roc_aucs

Embeddings = npt.NDArray[np.float32]
NOSEPRINT = "noseprint"


def hold_out_map(embeddings: Embeddings, identities: Sequence[str]) -> float:
    """Mean average precision of each photograph searched among all others."""
    return retrieval_metrics(embeddings, identities).map


def raw_scores(embeddings: Embeddings, labelled: LabelledData) -> dict[str, list[float]]:
    """The similarity of each test pair, and each query's average precision and hit; the tables are made from these."""
    pairs, search = labelled.pairs, labelled.retrieval
    if pairs is None or search is None:
        raise SystemExit("the data folder needs test/labels.csv and retrieval.csv")
    index = {name: labelled.index[pairs.folder / name] for name in pairs.names()}
    rows, is_query = np.array([labelled.index[path] for path in search.paths]), np.array(search.is_query)
    is_gallery = np.array(search.is_gallery)
    metrics = retrieval_metrics(embeddings[rows], search.identities, queries=is_query, gallery=is_gallery)
    return {
        "similarity": [round(float(value), 6) for value in pair_similarities(embeddings, index, pairs)],
        "average_precision": [round(float(value), 6) for value in metrics.average_precision],
        "hit": [float(value) for value in metrics.hit[:, 0]],
    }


def print_table(records: Sequence[dict[str, Any]], data: Path) -> None:
    """Print Markdown tables of every peer's final runs, and of the settings that were tried."""
    labelled = read_labelled_data(data)
    search = labelled.retrieval
    assert search is not None
    has_match = {i for i, is_in in zip(search.identities, search.is_gallery, strict=True) if is_in}
    queries = [i for i, query in zip(search.identities, search.is_query, strict=True) if query and i in has_match]
    final: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        if record["stage"] == "final":
            final.setdefault(record["peer"], []).append(record)
    noseprint_precision = _mean(final.get(NOSEPRINT, []), "average_precision")
    print("| | seeds | mAP | Rank-1 | ROC AUC of the test pairs | mAP minus noseprint's single network |")
    print("|---|---|---|---|---|---|")
    for peer, runs in final.items():
        precision, hit = _mean(runs, "average_precision"), _mean(runs, "hit")
        auc = [roc_auc(np.array(run["similarity"]), labelled.same) for run in runs]
        similarities = [np.array(run["similarity"]) for run in runs]
        intervals = [bootstrap_pairs([roc_aucs], s, labelled.same, *labelled.clusters, seed=0)[0] for s in similarities]
        cells = [
            _cell(
                [float(np.mean(run["average_precision"])) for run in runs], bootstrap_mean(precision, queries, seed=0)
            ),
            _cell([float(np.mean(run["hit"])) for run in runs], bootstrap_mean(hit, queries, seed=0)),
            _cell(
                auc, (float(np.mean([low for low, _ in intervals])), float(np.mean([high for _, high in intervals])))
            ),
        ]
        difference = ""
        if len(noseprint_precision) and peer != NOSEPRINT:
            low, high = bootstrap_mean(precision - noseprint_precision, queries, seed=0)
            difference = f"{np.mean(precision - noseprint_precision):+.4f} [{low:+.4f}, {high:+.4f}]"
        print(f"| {peer} | {len(runs)} | {' | '.join(cells)} | {difference} |")
    print("\n| | images/s | images/CPU s | seconds | CPU s | peak MiB | setting, versions |")
    print("|---|---|---|---|---|---|---|")
    for peer, runs in final.items():
        mean = {key: float(np.mean([run["used"][key] for run in runs])) for key in ("seconds", "cpu_seconds", "images")}
        speed = [f"{mean['images'] / mean[key]:.0f}" if mean[key] else "-" for key in ("seconds", "cpu_seconds")]
        memory = max(run["used"]["memory_mib"] for run in runs)
        details = ", ".join(f"{k} {v}" for k, v in {**runs[0]["setting"], **runs[0]["used"]["versions"]}.items())
        cost = f"{mean['seconds']:.0f} | {mean['cpu_seconds']:.0f} | {memory:.0f}"
        print(f"| {peer} | {' | '.join(speed)} | {cost} | {details} |")
    tried = [record for record in records if record["stage"] == "tune"]
    if tried:
        print("\n| tried | setting | hold-out mAP, by the side embedded at | CPU s |\n|---|---|---|---|")
    for record in tried:
        setting = ", ".join(f"{key} {value}" for key, value in record["setting"].items())
        maps = ", ".join(f"{size}: {value:.4f}" for size, value in record["map"].items())
        print(f"| {record['peer']} | {setting} | {maps} | {record['used']['cpu_seconds']:.0f} |")


def _mean(runs: Sequence[dict[str, Any]], key: str) -> npt.NDArray[np.float64]:
    """Each query's value, averaged over the seeds."""
    return np.mean([run[key] for run in runs], axis=0) if runs else np.zeros(0)


def _cell(values: Sequence[float], interval: tuple[float, float]) -> str:
    seeds = f", seeds {min(values):.4f} to {max(values):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f} [{interval[0]:.4f}, {interval[1]:.4f}]{seeds}"
