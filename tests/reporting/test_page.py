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
    assert f"trained on {trained_on} and 2 photographs of 1 pseudo-identities." in page.text
    assert f"{len(held_out)} more individuals were held out for checks." in page.text


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


def test_the_headline_leads_with_photographs_that_no_training_saw(make):
    labelled = make.labelled(12)
    trained_on = tuple(path for path in labelled.paths if int(path.name.split("-")[0]) < 5)
    evaluation = make.evaluation(labelled, leaks=Leaks(learned=trained_on))
    whole, unseen = evaluation.scores["ensemble"].rank_1, evaluation.without_learned["ensemble"].rank_1
    assert whole != unseen
    text = make.page(evaluation=evaluation).text
    assert f"among 14 photographs of 7 individuals, its first answer is right in {100 * unseen.value:.1f}%" in text
    assert f"leaving out the photographs that were trained on; with them, in {100 * whole.value:.1f}%." in text
    assert "15 of the 36 scored photographs were trained on" in text
    evaluation = make.evaluation(labelled, leaks=Leaks())
    clean = make.page(evaluation=evaluation).text
    auc = evaluation.scores["ensemble"].auc
    assert f"more similar in {100 * auc.value:.1f}% of cases (95% interval {100 * auc.low:.1f} to" in clean
    assert "among 24 photographs of 12 individuals, none of which was trained on, its first" in clean
    elsewhere = make.page(evaluation=replace(evaluation, other_data=True)).text
    assert "among 24 photographs of 12 individuals, its first" in elsewhere


def test_the_headline_shows_what_verify_does_at_its_lowest_rate(make):
    evaluation = make.evaluation(make.labelled(20))
    verifier = make.verifier(evaluation, 0.08, 0.008, identities=30)
    similarity, same = evaluation.similarity["ensemble"], evaluation.labelled.same
    reached = similarity >= verifier.points[-1].threshold
    text = make.page(evaluation=evaluation, verifier=verifier).text
    assert "Set to a false match rate of at most 1%, noseprint verify recognises" in text
    assert f"recognises {100 * np.mean(reached[same]):.1f}% of the 60 same pairs of the test (95% interval" in text
    assert f"and calls {100 * np.mean(reached[~same]):.1f}% of the 1,710 different pairs (95% interval" in text
    assert "promise" not in text[: text.index("Scores")]  # both are kept
    never = replace(verifier, points=(replace(verifier.points[-1], threshold=1.1),))
    text = make.page(evaluation=evaluation, verifier=never).text
    assert "and calls none of the 1,710 different pairs the same." in text
    unlabelled = make.page(verifier=verifier).text
    assert "recognises 50.0% of the same pairs of the hold-out (95% interval 40.0 to 60.0%)." in unlabelled


def test_too_few_individuals_have_no_percentages(make):
    text = make.page(evaluation=make.evaluation(make.labelled(4))).text
    headline = text[: text.index("How sure is that?")]
    assert "too few individuals (4 individuals) to say how good the ensemble is" in headline
    assert "%" not in headline
    assert "This data does not show whether the ensemble is better than its best member" in text


def test_individuals_are_counted_for_the_pairs_and_for_the_search(make):
    evaluation = make.evaluation(make.labelled(12))
    assert "They rest on 12 individuals. That is few" in make.page(evaluation=evaluation).text
    labelled = evaluation.labelled
    few = labelled.clusters[0] < 7
    fewer = replace(
        labelled,
        pairs=labelled.pairs.where(few),
        same=labelled.same[few],
        clusters=tuple(np.minimum(side[few], 6) for side in labelled.clusters),
    )
    similarity = {name: values[few] for name, values in evaluation.similarity.items()}
    text = make.page(evaluation=replace(evaluation, labelled=fewer, similarity=similarity)).text
    assert "They rest on 7 individuals in the test pairs and 12 individuals in the search. That is few" in text


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


def _first_lines(page):
    return page.text[: page.text.index("Scores" if "scores" in page.sections else "Thresholds, probabilities")]


@pytest.mark.parametrize(
    ("trainings", "expected", "unexpected"),
    [
        pytest.param(
            {"a_stage1": {"interval": (-1, 1)}},
            [
                "13 individuals, can tell nothing: an interval takes 5",
                "cannot show whether training helped",
                "--holdout",
            ],
            ["beyond chance", "training helped:", "can tell little"],
            id="too few individuals",
        ),
        pytest.param(
            {"a_stage1": {"after": 0.6, "interval": (0.1, 0.3)}, "a_stage2": {"interval": (0.25, 0.35)}},
            ["can tell little: only differences of about 0.100 mAP or more in 1 of 2 trainings. Its scores and thresh"],
            ["can tell nothing", "beyond chance"],
            id="a wide interval",
        ),
        pytest.param(
            {"a_stage1": {"interval": (0.21, 0.4)}},
            ["On the hold-out, training helped: mAP 0.4000 before, 0.7000 after, +0.3000 [+0.2100, +0.4000]."],
            ["can tell", "beyond chance", "in all"],
            id="a single training that helped",
        ),
        pytest.param(
            {
                "pseudo_produce": {},
                "a_stage1": {"after": 0.9, "interval": (0.45, 0.55)},
                "a_stage2": {"before": 0.7, "after": 0.72, "interval": (0.01, 0.03)},
            },
            ["training helped in all 3 trainings, least in a_stage2: mAP 0.7000 before, 0.7200 after, +0.0200 [+0.01"],
            ["beyond chance"],
            id="all trainings helped",
        ),
        pytest.param(
            {
                "pseudo_produce": {},
                "a_stage1": {"after": 0.41, "interval": (-0.01, 0.03)},
                "a_stage2": {"after": 0.41, "interval": (0, 0.03)},
                "b_stage1": {},
            },
            [
                "did not help beyond chance in 2 of 4 trainings: a_stage1, a_stage2 (figures). Try longer training "
                "(--minutes, --steps), larger images (--image-size and --train-size) or more photographs of each "
                "individual, and look for wrong labels with noseprint check."
            ],
            ["helped in all", "did harm"],
            id="two trainings of one network did not help",
        ),
        pytest.param(
            {"a_stage1": {}, "a_stage2": {"after": 0.4, "interval": (0, 0), "step": 0}},
            ["beyond chance in 1 of 2 trainings: a_stage2 (", "Training did harm in a_stage2: on the hold-out"],
            ["training helped"],
            id="the start weights were kept",
        ),
        pytest.param(
            {"a_stage1": {}, "a_stage2": {"before": 1.0, "after": 1.0, "interval": (0, 0)}},
            ["The hold-out is too easy for a_stage2: before the training, mAP was 1.000 already"],
            ["beyond chance", "training helped:"],
            id="nothing left to gain",
        ),
        pytest.param(
            {"a_stage1": {}, "b_stage1": {"before": None}},
            [],
            ["training helped", "beyond chance", "Nothing was held out"],
            id="a training that does not say",
        ),
        pytest.param(
            {"a_stage1": {"before": None, "share": 0}},
            ["Nothing was held out (--holdout 0) from the training of a_stage1, so nothing shows whether it helped."],
            ["training helped", "beyond chance", "can tell"],
            id="nothing held out",
        ),
    ],
)
def test_the_first_lines_say_what_the_hold_out_shows(trainings, expected, unexpected, make):
    narrow = {"interval": (0.29, 0.31)}
    made = {name: make.training(**narrow | options) for name, options in trainings.items()}
    text = _first_lines(make.page(trainings=made))
    assert [part for part in expected if part not in text] == []
    assert [part for part in unexpected if part in text] == []


def test_the_first_lines_come_before_the_scores(make):
    evaluation = make.evaluation(make.labelled(12))
    text = make.page(evaluation=evaluation, trainings={"one": make.training(interval=(-1, 1))}).text
    assert 0 < text.index("can tell nothing") < text.index("Given one pair of photographs")
    without = make.page(trainings={"one": make.training(before=None)})
    assert without.all("ul")[0].get("class") != "headline"


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
