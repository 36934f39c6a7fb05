"""The first lines of the page: what was found, and how sure that is."""

from dataclasses import replace

import numpy as np
import pytest

from noseprint.inference.leaks import Leaks


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
