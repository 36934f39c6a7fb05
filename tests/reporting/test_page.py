"""The page, as a parser sees it; tests/slow/report_in_browser.py looks with a browser."""

import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from noseprint.calibration.fitting import fit_platt
from noseprint.data.holdout import HOLDOUT_SEED, split_holdout
from noseprint.data.tables import read_train
from noseprint.inference.evaluation import Evaluation, labelled_similarities
from noseprint.inference.labelled_data import read_labelled_data
from noseprint.inference.leaks import Leaks
from noseprint.inspection.check import measure_splits
from noseprint.metrics.similarity import ensemble_embeddings
from noseprint.models.weights_header import WeightsHeader
from noseprint.reporting import training_sections
from noseprint.reporting.page import Material, render
from noseprint.reporting.run_folders import PseudoLabels, count_learnt, read_pseudo_labels, read_trainings

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """What is on a page: elements with their attributes, and the headings' levels."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["style"], ["script"]):
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def embeddings(labelled, seed):
    """Embeddings that know the identity, through some noise."""
    table = labelled.retrieval
    identity = dict(zip(table.paths, table.identities, strict=True))
    rows = np.array(
        [
            np.random.default_rng(int(identity[path].encode().hex(), 16) % 2**32).normal(size=16)
            for path in labelled.paths
        ]
    )
    rows = rows + 0.8 * np.random.default_rng(seed).normal(size=rows.shape)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def evaluated(demo, names, leaks=None):
    labelled = read_labelled_data(demo)
    found = Evaluation(labelled, leaks)
    for seed, name in enumerate(names):
        found.embeddings[name] = embeddings(labelled, seed)
        found.add(name, labelled_similarities(found.embeddings[name], labelled), found.embeddings[name], seed=0)
    if len(names) > 1:
        whole = ensemble_embeddings(found.embeddings)
        found.add("ensemble", labelled_similarities(whole, labelled), whole, seed=0)
    return found


def nothing(**changes):
    known = {"name": "", "data": "data", "members": ("one",), "trainings": {}, "elsewhere": False, "splits": []}
    missing = dict.fromkeys(("evaluation", "learnt", "pseudo", "verifier"))
    return Material(**known | missing | {"no_scores": "Not scored yet.", "no_verifier": "No thresholds yet."} | changes)


def write_pseudo(folder, demo, names):
    folder.mkdir(parents=True, exist_ok=True)
    rows = "".join(f'pseudo-0000,"{name}"\n' for name in names)
    (folder / "pseudo.csv").write_text(f"dog ID,nose print image\n{rows}")
    refused = [{"imageA": names[0], "imageB": names[1], "similarity": 0.7, "reason": f"would join {HOSTILE}"}]
    told = {"distinct_pairs": 12, "accepted": 3, "threshold": 0.6, "identities": 1, "images": 2, "refused": refused}
    told["estimated_precision"] = {"precision": 0.96, "low": 0.9, "high": 0.99}
    (folder / "pseudo.json").write_text(json.dumps(told))


@pytest.fixture(scope="module")
def material(demo, tmp_path_factory):
    """All that a report can be made of, with names that would break a careless page."""
    root = tmp_path_factory.mktemp("campaign")
    found = evaluated(demo, ("one", f"two {HOSTILE}"), Leaks())
    calibration = fit_platt(found.similarity["one"], found.labelled.same).to_json()
    trainings = {}
    for name in ("one", f"two {HOSTILE}"):
        (root / "training").mkdir(exist_ok=True)
        records = [
            {"step": 5 * e, "epoch": e, "loss": 2 / e, "lr": 0.1 / e, "auc": 0.9, "map": 0.8}
            | {"images_per_s": 80, "seconds": 30.2}
            for e in (1, 2, 3)
        ]
        lines = [json.dumps(record) for record in records] + ['{"step": 20, "epo']
        (root / "training" / "metrics.jsonl").write_text("\n".join(lines))
        (training,) = read_trainings({name: root / "training"}).values()
        extra = {"holdout": '{"auc": 0.97, "map": 0.9}', "training": '{"holdout": 0.2}', "calibration": calibration}
        header = WeightsHeader("resnet18.a1_in1k", 32, (0, 0, 0), (1, 1, 1), "G", 16, "1", extra)
        trainings[name] = replace(training, header=header)
    write_pseudo(root / "pseudo", demo, (demo / "validation" / "valid_data.csv").read_text().splitlines()[1].split(","))
    pseudo = read_pseudo_labels(root / "pseudo", demo)
    return nothing(
        name=f"run {HOSTILE}",
        data="demo",
        members=tuple(trainings),
        evaluation=found,
        no_scores="",
        trainings=trainings,
        learnt=count_learnt(trainings, demo),
        splits=measure_splits(demo, most=5),
        pseudo=pseudo,
        no_verifier="None yet.",
    )


@pytest.fixture(scope="module")
def html(material):
    return render(material)


def test_the_page_loads_nothing_and_runs_nothing(html):
    page = Page(html)
    assert page.all("script") == page.all("link") == page.all("iframe") == []
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:image/jpeg;base64,")), (tag, attributes)
    assert not re.search(r"url\((?!#)|@import|https?:", html)
    assert len(html.encode()) < 3_000_000


def test_names_are_text_never_markup(html):
    page = Page(html)
    assert page.all("script") == []
    assert all(attributes["src"].startswith("data:") for attributes in page.all("img"))
    assert page.text.count("<script>alert(2)</script>") > 5  # as text


def test_the_page_can_be_read_aloud(html):
    page = Page(html)
    assert page.all("html")[0]["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.all("img")
    assert all(len(attributes["alt"]) > 10 for attributes in page.all("img"))
    drawings = [attributes for attributes in page.all("svg") if attributes.get("aria-hidden") != "true"]
    assert len(drawings) > 10
    assert all(attributes["role"] == "img" and len(attributes["aria-label"]) > 20 for attributes in drawings)
    assert all("scope" in attributes for attributes in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    classes = [attributes.get("class") for attributes in page.all("table")]
    assert set(classes) == {"wide", "wider", "matrix"}  # what may not fit says so; the matrix is of two members
    assert len(page.all("figcaption")) == len(page.all("figure"))


def test_ids_are_unique_and_what_refers_to_one_finds_it(html):
    page = Page(html)
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert [name for name, times in ids.items() if times > 1] == []
    referred = {a["href"][1:] for _, a in page.elements if a.get("href", "").startswith("#")}
    assert referred | set(re.findall(r"url\(#([^)]+)\)", html)) <= set(ids)


def test_charts_follow_the_colours_of_the_page(html):
    drawings = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert not re.findall(r"#[0-9a-f]{6}\b", drawings)
    assert set(re.findall(r"var\((--[a-z0-9-]+)\)", drawings)) <= set(re.findall(r"(--[a-z0-9-]+):", html))


def test_the_same_material_gives_the_same_bytes(material, html):
    assert render(material) == html


def test_the_figures_are_those_of_the_evaluation(material, html):
    text = " ".join(Page(html).text.split())
    best = material.evaluation.scores["ensemble"]
    assert f"{best.auc.value:.4f} {best.auc.low:.4f}–{best.auc.high:.4f}" in text
    assert f"{best.map.value:.4f} {best.map.low:.4f}–{best.map.high:.4f}" in text
    assert "hold-out 96.0 % [90.0, 99.0]" in text
    assert "3 min 1 s" in text  # six epochs of 30.2 s
    assert "0.9700" in text


def test_what_was_held_out_is_not_counted_as_learnt_from(material, html, demo):
    table = read_train(demo)
    held_out = split_holdout(table.identities, share=0.2, seed=HOLDOUT_SEED)
    learnt = sum(identity not in held_out for identity in table.identities)
    told = f"trained on {learnt} photographs of {12 - len(held_out)} individuals and 2 of 1 pseudo-identities"
    assert f"{told}; {len(held_out)} more individuals were held out." in Page(html).text


def test_of_photographs_from_elsewhere_nothing_is_claimed(material):
    found = replace(material.evaluation, other_data=True)
    page = Page(render(replace(material, evaluation=found, elsewhere=True, learnt=None, pseudo=None)))
    text = " ".join(page.text.split())
    assert "trained on other photographs than those of demo." in text
    assert "Whether what is scored here was among them is not known" in text
    assert "what pseudo-labels they learnt from is not shown" in text
    assert "than these, those of “train” included" in text
    assert "individuals and" not in text[: text.index("Scores")]


def test_what_is_missing_is_told_and_nothing_fails(demo):
    page = Page(render(nothing()))
    for told in (
        "Not scored yet",
        "No thresholds yet",
        "no training here",
        "No pseudo-labels",
        "not where this report",
    ):
        assert told in page.text
    assert [a["id"] for a in page.all("section")] == ["calibration", "training", "pseudo", "data"]
    assert page.all("img") == []


@pytest.mark.parametrize("file", ["labels", "retrieval"])
def test_pairs_alone_and_a_search_alone_are_reported(demo, file):
    found = evaluated(demo, ("one", "two"))
    labelled = found.labelled
    if file == "labels":
        found.embeddings.clear()
        scores = {
            name: replace(of, map=None, rank_1=None, rank_5=None, rank_10=None, precision_at_5=None)
            for name, of in found.scores.items()
        }
        found = Evaluation(replace(labelled, retrieval=None), None, scores, found.similarity, {})
    else:
        scores = {name: replace(of, auc=None, eer=None, tmr_at_1e_1=None) for name, of in found.scores.items()}
        none = np.zeros(0, bool)
        empty = np.zeros(0, np.intp)
        labelled = replace(labelled, pairs=None, same=none, clusters=(empty, empty))
        found = Evaluation(labelled, None, scores, {name: np.zeros(0) for name in scores}, found.embeddings)
    page = Page(render(nothing(evaluation=found, no_scores="")))
    assert ("mAP" in page.text) == (file == "retrieval")
    assert {a["id"] for a in page.all("section")} >= {"scores", "members"}
    assert ("hard" in {a["id"] for a in page.all("section")}) == (file == "labels")


def test_one_member_has_no_ensemble_to_speak_of(demo):
    page = Page(render(nothing(evaluation=evaluated(demo, ("one",)), no_scores="")))
    assert "members" not in {a["id"] for a in page.all("section")}
    text = " ".join(page.text.split())
    assert "how good the network is" in text
    assert "ensemble" not in text


def test_photographs_that_cannot_be_read_leave_a_mark(material, demo, tmp_path):
    pairs = replace(material.evaluation.labelled.pairs, folder=tmp_path)
    found = replace(material.evaluation, labelled=replace(material.evaluation.labelled, pairs=pairs))
    assert Page(render(nothing(evaluation=found, no_scores=""))).text.count("cannot be read") == 24


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", '{"refused": 3}', '{"refused": [{}]}', "[" * 100_000),
        *(f'{{"epoch": 1, "loss": {loss}}}' for loss in ("1e308", "-1e308", "NaN", "9" * 400)),
    ],
)
def test_damaged_files_are_as_good_as_none(tmp_path, demo, content):
    names = (demo / "validation" / "valid_data.csv").read_text().splitlines()[1].split(",")
    write_pseudo(tmp_path, demo, names)
    (tmp_path / "pseudo.json").write_text(content)
    (tmp_path / "metrics.jsonl").write_text(content)
    (tmp_path / "best.safetensors").write_text(content)
    assert read_pseudo_labels(tmp_path, demo) is None
    assert read_trainings({"one": tmp_path}) == {}


def test_pseudo_labels_are_judged_by_labels_that_no_training_saw(tmp_path, demo):
    data = tmp_path / "data"
    (data / "validation").mkdir(parents=True)
    (data / "validation" / "images").symlink_to(demo / "validation" / "images")
    names = sorted(path.name for path in (demo / "validation" / "images").iterdir())[:3]
    a, b, c = names
    (data / "validation" / "valid_data.csv").write_text(f"imageA,imageB\n{a},{b}\n{b},{c}\n{b},{a}\n")
    (data / "validation" / "labels.csv").write_text(f"imageA,imageB,label\n{b},{a},1\n{b},{c},0\n")
    write_pseudo(tmp_path, data, names)
    found = read_pseudo_labels(tmp_path, data)
    assert [(one.name, other.name) for one, other in found.accepted] == [(a, b), (b, c)]
    assert found.right == (1, 2)
    assert found.refused[0][:2] == (Path(data / "validation" / "images" / a), Path(data / "validation" / "images" / b))


@pytest.mark.parametrize(
    ("accepted", "more"), [(3, ""), (2, "which hold 1 more of the pairs, joined by way of others")]
)
def test_the_counts_of_pseudo_labels_add_up(tmp_path, accepted, more):
    summary = {"distinct_pairs": 9, "accepted": accepted, "identities": 1, "images": 3}
    pairs = ((Path("a"), Path("b")), (Path("b"), Path("c")))
    told = training_sections.pseudo(PseudoLabels(summary, pairs, ((Path("a"), Path("d"), 0.7, "why"),), (1, 2)))["told"]
    assert f"{accepted} were alike enough" in told
    assert f"The {accepted - 1} left made 1 identities of 3 photographs" in told
    assert ("more of the pairs" in told) == bool(more)
    assert more in told
    assert "of the 2 pairs within an identity 1 are (50.0 %)" in told
