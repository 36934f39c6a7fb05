"""The page as a parser sees it."""

import json
import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from noseprint.calibration.fitting import fit_platt
from noseprint.data.holdout import HOLDOUT_SEED, split_holdout
from noseprint.data.tables import read_train
from noseprint.inference.evaluation import Evaluation
from noseprint.inference.labelled_data import read_labelled_data
from noseprint.inference.leaks import Leaks
from noseprint.inspection.check import measure_splits
from noseprint.models.weights_header import WeightsHeader
from noseprint.reporting.page import render
from noseprint.reporting.photographs import PhotographPair
from noseprint.reporting.run_folder import (
    PseudoFile,
    PseudoLabelSummary,
    count_training_set,
    read_pseudo_labels,
    read_trainings,
)


@pytest.fixture(scope="module")
def full(demo, tmp_path_factory, make):
    """All that a report can be made from, with names that would break a careless page."""
    root = tmp_path_factory.mktemp("run")
    names = ("one", f"two {make.hostile}")
    evaluation = make.evaluation(read_labelled_data(demo), names=names, leaks=Leaks())
    calibration = fit_platt(evaluation.similarity["one"], evaluation.labelled.same).to_json()
    rest = {"lr": 0.1, "auc": 0.9, "map": 0.8, "images_per_s": 80, "seconds": 30.2}
    lines = [json.dumps({"step": 5 * epoch, "epoch": epoch, "loss": 2 / epoch} | rest) for epoch in (1, 2, 3)]
    (root / "metrics.jsonl").write_text("\n".join(lines))
    extra = {"holdout": '{"auc": 0.97, "map": 0.9}', "training": '{"holdout": 0.2}', "calibration": calibration}
    header = WeightsHeader("resnet18.a1_in1k", 32, (0, 0, 0), (1, 1, 1), version="1", extra=extra)
    trainings = {
        name: replace(training, header=header) for name, training in read_trainings(dict.fromkeys(names, root)).items()
    }
    make.pseudo_labels(root, (demo / "validation" / "valid_data.csv").read_text().splitlines()[1].split(","))
    return make.report(
        run=f"run {make.hostile}",
        data="demo",
        members=names,
        evaluation=evaluation,
        trainings=trainings,
        training_set=count_training_set(trainings, demo),
        splits=measure_splits(demo, most=5),
        pseudo_labels=read_pseudo_labels(root, demo),
        verifier=make.verifier(evaluation, 0.08, 0.008),
    )


@pytest.fixture(scope="module")
def html(full):
    return render(full)


@pytest.fixture(scope="module")
def page(html, make):
    return make.parse(html)


def test_the_page_loads_nothing_and_runs_nothing(html, page):
    assert page.all("script") == page.all("link") == page.all("iframe") == []
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:image/jpeg;base64,")), (tag, attributes)
    assert not re.search(r"url\((?!#)|@import|https?:", html)
    assert len(html.encode()) < 3_000_000


def test_names_are_text_never_markup(page, make):
    assert all(attributes["src"].startswith("data:") for attributes in page.all("img"))
    assert page.text.count(make.hostile) > 5


def test_a_screen_reader_finds_its_way(page):
    assert page.all("html")[0]["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.all("img")
    assert all(len(attributes["alt"]) > 10 for attributes in page.all("img"))
    drawings = [attributes for attributes in page.all("svg") if attributes.get("aria-hidden") != "true"]
    assert len(drawings) == 8
    assert all(attributes["role"] == "img" and len(attributes["aria-label"]) > 20 for attributes in drawings)
    assert all("scope" in attributes for attributes in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))


def test_ids_are_unique_and_every_reference_has_a_target(html, page):
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert [name for name, times in ids.items() if times > 1] == []
    references = {a["href"][1:] for _, a in page.elements if a.get("href", "").startswith("#")}
    assert references | set(re.findall(r"url\(#([^)]+)\)", html)) <= set(ids)


def test_charts_use_the_colours_of_the_page(html):
    drawings = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert not re.findall(r"#[0-9a-f]{6}\b", drawings)
    assert set(re.findall(r"var\((--[a-z0-9-]+)\)", drawings)) <= set(re.findall(r"(--[a-z0-9-]+):", html))


def test_the_same_data_gives_the_same_bytes(full, html):
    assert render(full) == html


def test_the_numbers_are_those_of_the_evaluation_and_the_trainings(full, page, demo):
    best = full.evaluation.scores["ensemble"]
    for score in (best.auc, best.eer, best.map, best.rank_1, best.rank_5, best.precision_at_5):
        assert f"{score.value:.4f} {score.low:.4f}–{score.high:.4f}" in page.text
    assert "On the hold-out, 96.0% of such pairs (95% interval 90.0 to 99.0%) are right" in page.text
    assert "1 min 31 s" in page.text  # three epochs of 30.2 s
    assert "all 3 min 1 s" in page.text
    assert "0.9700 0.9000" in page.text
    table = read_train(demo)
    held_out = split_holdout(table.identities, share=0.2, seed=HOLDOUT_SEED)
    photographs = sum(identity not in held_out for identity in table.identities)
    trained_on = f"{photographs} photographs of {12 - len(held_out)} individuals"
    assert (
        f"trained on {trained_on} and 2 unlabelled photographs in 1 group of probably one individual each." in page.text
    )
    assert f"{len(held_out)} more individuals were held out to check them." in page.text


def test_nothing_is_claimed_about_photographs_from_elsewhere(full, make):
    evaluation = replace(full.evaluation, other_data=True)
    changes = {"evaluation": evaluation, "other_photographs": True, "training_set": None, "pseudo_labels": None}
    text = make.page(**vars(full) | changes).text
    assert "trained on other photographs than those of demo." in text
    assert "If the scored photographs were among them, the scores say nothing" in text
    assert "so their pseudo-labels are not shown" in text
    assert "than these, those of “train” included" in text
    assert "none of which was trained on" not in text


def test_the_page_says_what_is_missing(make):
    page = make.page(why_not_scored="Not scored yet.", why_not_calibrated="No thresholds yet.")
    for text in ("Not scored yet", "No thresholds yet", "no training here", "no pseudo-labels", "not found"):
        assert text in page.text
    assert page.sections == ["calibration", "training", "pseudo", "data"]
    assert page.all("img") == []


@pytest.mark.parametrize("labels", ["pairs", "search"])
def test_pairs_alone_and_a_search_alone_are_reported(demo, labels, make):
    whole = make.evaluation(read_labelled_data(demo))
    if labels == "pairs":
        none = dict.fromkeys(("map", "rank_1", "rank_5", "rank_10", "precision_at_5"))
        labelled, similarity, embeddings = replace(whole.labelled, retrieval=None), whole.similarity, {}
    else:
        none = dict.fromkeys(("auc", "eer", "tmr_at_1e_1"))
        empty = np.zeros(0, np.intp)
        labelled = replace(whole.labelled, pairs=None, same=np.zeros(0, bool), clusters=(empty, empty))
        similarity, embeddings = {name: np.zeros(0) for name in whole.scores}, whole.embeddings
    scores = {name: replace(of, **none) for name, of in whole.scores.items()}
    page = make.page(evaluation=Evaluation(labelled, None, scores, similarity, embeddings))
    assert ("mAP" in page.text) == (labels == "search")
    expected = {"pairs": ["scores", "members", "verification", "calibration", "hard"]}
    assert page.sections[:5] == expected.get(labels, ["scores", "members", "calibration", "training", "pseudo"])


def test_photographs_that_cannot_be_read_leave_a_note(make):
    assert make.page(evaluation=make.evaluation(make.labelled(6))).text.count("cannot be read") == 24


def test_a_single_member_is_not_called_an_ensemble(make):
    evaluation = make.evaluation(make.labelled(12), names=("one",))
    page = make.page(evaluation=evaluation, members=("one",), verifier=make.verifier(evaluation, 0.08))
    assert "members" not in page.sections
    assert "the network finds the same pair" in page.text
    assert "Thresholds on the similarity of one;" in page.text
    assert "ensemble" not in page.text


@pytest.mark.parametrize(
    ("rates", "identities", "expected", "unexpected"),
    [
        (  # both exceeded beyond the interval, by more than 30 false matches
            (0.3, 0.1),
            8,
            ["do not keep their promise", "where 10% is promised, ", "where 1% is promised.", "Do not rely on them"],
            ["too few pairs"],
        ),
        (  # exceeded within the interval
            (0.105, 0.008),
            30,
            ["the promise lies within the interval: 10.5% [", "] where 10% is promised."],
            ["Do not rely on them", "do not keep their promise", "held-out identities, which are few"],
        ),
        # 1,710 different pairs support 10%; 1% takes 3,000 pairs, or 30 false matches
        ((0.08, 0.005), 8, ["Too few pairs: fewer than 30 of the 1,710 different pairs"], ["do not keep"]),
    ],
)
def test_thresholds_are_checked_on_the_test_pairs(rates, identities, expected, unexpected, make):
    evaluation = make.evaluation(make.labelled(20))
    text = make.page(evaluation=evaluation, verifier=make.verifier(evaluation, *rates, identities=identities)).text
    assert [part for part in expected if part not in text] == []
    assert [part for part in unexpected if part in text] == []


def test_a_member_that_adds_nothing_is_named(make):
    text = make.page(evaluation=make.evaluation(make.labelled(12), noise=(0.3, 30.0))).text
    assert "the ensemble is no worse without two." in text
    assert "without one" not in text


def test_the_page_says_how_to_compare_with_untrained_networks(make):
    evaluation = make.evaluation(make.labelled(12))
    assert "report --frozen" in make.page(evaluation=evaluation).text
    from_answers = replace(evaluation, embeddings={})  # no network is at hand
    assert "report --frozen" not in make.page(evaluation=from_answers).text
    evaluation.scores["one untrained"] = evaluation.scores["one"]
    text = make.page(evaluation=evaluation).text
    assert "report --frozen" not in text
    assert "“Untrained” is the network before any training." in text


@pytest.mark.parametrize(("accepted", "more"), [(3, ""), (2, "which include 1 more pair, connected by other")])
def test_the_counts_of_pseudo_labels_add_up(tmp_path, accepted, more, make):
    file = PseudoFile(distinct_pairs=9, accepted=accepted, identities=1, images=3)
    a, b, c, d = (tmp_path / name for name in "abcd")
    pairs = PhotographPair(a, b), PhotographPair(b, c)
    refused = PhotographPair(a, d, 0.7, None, "why")
    text = make.page(pseudo_labels=PseudoLabelSummary(file, pairs, (refused,), 2, 1)).text
    assert f"Of 9 unlabelled pairs, {accepted} were similar enough" in text
    assert f"1 of them was refused because of contradictions. The {accepted - 1} left give 1 pseudo-identities" in text
    assert ("more pair" in text) == bool(more)
    assert more in text
    assert "1 of 2 accepted pairs are right (50.0%)" in text


def test_gains_and_steps_are_in_the_section_on_the_trainings(make):
    trainings = {
        "a_stage1": make.training(0.459, 0.834, (0.25, 0.49), step=1280, steps=1920),
        "a_stage2": make.training(0.834, 0.834, (0, 0), step=0),
        "b_stage1": make.training(interval=(-1, 1), size=f"4 {make.hostile} identities"),
        "b_stage2": make.training(before=None),
        "c_stage1": make.training(step=500),  # the log is that of another training
    }
    text = make.page(trainings=trainings).text
    section = text[text.index("The trainings, in order") :]
    assert "a_stage1 mAP 0.4590 0.8340 +0.3750 +0.2500 to +0.4900 0.120 1,280 of 1,920" in section
    assert "a_stage2 mAP 0.8340 0.8340 +0.0000 +0.0000 to +0.0000 – 0 of 192" in section
    assert "b_stage1 mAP 0.4000 0.7000 +0.3000 no interval nothing 128 of 192" in section
    assert "c_stage1 mAP 0.4000 0.7000 +0.3000 +0.2000 to +0.4000 0.100 500 The" not in section
    assert "+0.4000 0.100 500 Before:" in section
    assert "b_stage2 mAP" not in section
    assert "b_stage2 – – 1 min 2 s 192 – resnet18.a1_in1k, 32 px" in section
    assert "all 5 min 10 s" in section
    assert "102 photographs of 13 individuals; 4 " in section
    assert "The last weights are kept, unless earlier ones are better" in section
    assert "chose the epoch" not in section


def test_trainings_that_record_no_gain_are_shown_as_before(page):
    assert "They also chose the epoch" in page.text
    assert "What each training gained" not in page.text
    assert "0.9700 0.9000 1 min 31 s 15 80" in page.text  # three epochs of five steps
