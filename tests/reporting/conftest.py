"""What the tests of the report share: evaluations, verifiers and pages that need no network."""

import json
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from noseprint.calibration.fitting import fit_platt
from noseprint.calibration.quality_limits import Limit, Limits
from noseprint.calibration.reliability import ReliabilityScores
from noseprint.calibration.verifier import HoldOut, Member, OperatingPoint, Verifier
from noseprint.data.tables import PairTable, RetrievalTable
from noseprint.inference.evaluation import Evaluation, labelled_similarities
from noseprint.inference.labelled_data import LabelledData
from noseprint.metrics.bootstrap import Score
from noseprint.metrics.similarity import ensemble_embeddings
from noseprint.models.weights_header import WeightsHeader
from noseprint.reporting.page import ReportData, render
from noseprint.reporting.run_folder import LogRecord, Training

_HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>\x07$x$'
_VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """What is on a page: its elements with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.parts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = " ".join("".join(self.parts).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)
        if tag in ("td", "th", "br"):
            self.parts.append(" ")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open and "svg" not in self.open:
            self.parts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def sections(self):
        return [attributes["id"] for attributes in self.all("section")]


def _labelled(identities, photographs=3):
    """Every two photographs are a test pair; the first of each identity is searched for among the others."""
    names = [f"{identity}-{number}" for identity in range(identities) for number in range(photographs)]
    identity = {name: name.split("-")[0] for name in names}
    a, b = zip(*combinations(names, 2), strict=True)
    clusters = tuple(np.array([int(identity[name]) for name in side]) for side in (a, b))
    paths = tuple(map(Path, names))
    queries = tuple(name.endswith("-0") for name in names)
    return LabelledData(
        PairTable(Path(), a, b),
        clusters[0] == clusters[1],
        clusters,
        RetrievalTable(paths, tuple(identity.values()), queries, None),
        paths,
        {path: row for row, path in enumerate(paths)},
    )


def _evaluation(labelled, *, names=("one", "two"), noise=(1.0, 1.5), leaks=None):
    """Score members whose embeddings are the identity's centre and some noise."""
    evaluation = Evaluation(labelled, leaks)
    table = labelled.retrieval
    number = {identity: row for row, identity in enumerate(dict.fromkeys(table.identities))}
    identity = {path: number[name] for path, name in zip(table.paths, table.identities, strict=True)}
    centres = np.random.default_rng(0).normal(size=(len(number), 8))[[identity[path] for path in labelled.paths]]
    for seed, (name, scale) in enumerate(zip(names, noise, strict=False)):
        rows = centres + scale * np.random.default_rng(seed + 1).normal(size=centres.shape)
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        evaluation.embeddings[name] = rows
        evaluation.add(name, labelled_similarities(rows, labelled), rows, seed=0)
    if len(names) > 1:
        whole = ensemble_embeddings(evaluation.embeddings)
        evaluation.add("ensemble", labelled_similarities(whole, labelled), whole, seed=0)
    return evaluation


def _verifier(evaluation, *rates, identities=8):
    """A verifier that promises the false match rates 0.1 and 0.01, but on the test has these `rates`."""
    whole = list(evaluation.similarity)[-1]
    similarity, same = evaluation.similarity[whole], evaluation.labelled.same
    calibration = fit_platt(similarity, same)
    score = Score(0.5, 0.4, 0.6)
    reliability = ReliabilityScores(score, score, score)
    names = [name for name in evaluation.scores if name != "ensemble"]
    members = tuple(Member(name, "w", f"{row:016x}", calibration, reliability) for row, name in enumerate(names))
    thresholds = [float(np.quantile(similarity[~same], 1 - rate)) for rate in rates]
    points = tuple(
        OperatingPoint(fmr=fmr, threshold=threshold, measured_fmr=score, tmr=score, fnmr_threshold=threshold - 0.1)
        for fmr, threshold in zip((0.1, 0.01), thresholds, strict=False)
    )
    limit = Limit(None, ())
    held_out = HoldOut(0.2, "m", identities, photographs=99, cohort=70, same_pairs=50, different_pairs=60)
    return Verifier(members, calibration, reliability, held_out, 0.01, points, Limits(0.01, 9, limit, limit, limit))


def _report(**changes):
    """A report that misses everything but `changes`."""
    empty = {"run": "", "data": "data", "members": ("one", "two"), "trainings": {}, "splits": []}
    empty |= dict.fromkeys(("evaluation", "training_set", "pseudo_labels", "verifier"))
    empty |= {"why_not_scored": "", "why_not_calibrated": "", "other_photographs": False}
    return ReportData(**empty | changes)


def _training(before=0.4, after=0.7, interval=(0.2, 0.4), *, step=128, steps=192, share=0.2, **changes):
    """A training whose header records this gain; before=None: it records none, as older ones."""
    extra = {"training": json.dumps({"holdout": share})}
    if before is not None:
        gain = {"by": "mAP", "size": "102 photographs of 13 identities", "step": step, "before": before}
        gain |= {"value": after - before, "low": interval[0], "high": interval[1]}
        extra["gain"] = json.dumps(gain | changes)
    log = (LogRecord(epoch=0, step=0, map=0.4, seconds=2), LogRecord(epoch=12.5, step=steps, map=0.7, seconds=60))
    return Training(log, WeightsHeader("resnet18.a1_in1k", 32, (0, 0, 0), (1, 1, 1), version="1", extra=extra))


def _write_pseudo_labels(folder, names):
    """What pseudo_produce leaves: one identity with all `names`; the pair of the first two was also refused."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = "".join(f'pseudo-0000,"{name}"\n' for name in names)
    (folder / "pseudo.csv").write_text(f"dog ID,nose print image\n{rows}")
    refused = [{"imageA": names[0], "imageB": names[1], "similarity": 0.7, "reason": f"would join {_HOSTILE}"}]
    summary = {"distinct_pairs": 12, "accepted": 3, "threshold": 0.6, "identities": 1, "images": 2, "refused": refused}
    summary["estimated_precision"] = {"precision": 0.96, "low": 0.9, "high": 0.99}
    (folder / "pseudo.json").write_text(json.dumps(summary))


@pytest.fixture(scope="session")
def make():
    """Functions that make what the tests need."""
    return SimpleNamespace(
        hostile=_HOSTILE,
        labelled=_labelled,
        evaluation=_evaluation,
        verifier=_verifier,
        report=_report,
        parse=Page,
        page=lambda **changes: Page(render(_report(**changes))),
        training=_training,
        pseudo_labels=_write_pseudo_labels,
    )
