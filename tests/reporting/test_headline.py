"""What the report says of its figures, on evaluations made up for it."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from noseprint.calibration.fitting import fit_platt
from noseprint.calibration.operating_points import OperatingPoint
from noseprint.calibration.quality_limits import Limit, Limits
from noseprint.calibration.reliability import ReliabilityScores
from noseprint.calibration.verifier import HoldOut, Member, Verifier
from noseprint.data.tables import PairTable, RetrievalTable
from noseprint.inference.evaluation import Evaluation, labelled_similarities
from noseprint.inference.labelled_data import LabelledData
from noseprint.inference.leaks import Leaks
from noseprint.metrics.bootstrap import Score
from noseprint.metrics.similarity import ensemble_embeddings
from noseprint.reporting import calibration_section, headline, score_sections
from noseprint.reporting.evidence import Gain, gain_over_best, member_gains, share_accepted


def labelled_of(identities, photographs=3):
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


def evaluated(identities=12, leaks=None, noise=(1.0, 1.5)):
    labelled = labelled_of(identities)
    found = Evaluation(labelled, leaks)
    centres = np.random.default_rng(0).normal(size=(identities, 8))
    for seed, scale in enumerate(noise):
        rows = np.repeat(centres, 3, axis=0) + scale * np.random.default_rng(seed + 1).normal(size=(3 * identities, 8))
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        found.embeddings[f"member{seed}"] = rows
        found.add(f"member{seed}", labelled_similarities(rows, labelled), rows, seed=0)
    whole = ensemble_embeddings(found.embeddings)
    found.add("ensemble", labelled_similarities(whole, labelled), whole, seed=0)
    return found


def verifier_of(found, *thresholds, identities=8):
    """A verifier with a threshold for each of the false match rates 0.1, 0.01."""
    calibration = fit_platt(found.similarity["ensemble"], found.labelled.same)
    score = Score(0.5, 0.4, 0.6)
    of = ReliabilityScores(score, score, score)
    members = tuple(Member(f"member{number}", "w", "0" * 16, calibration, of) for number in range(2))
    points = tuple(
        OperatingPoint(fmr=rate, threshold=threshold, measured_fmr=score, tmr=score, fnmr_threshold=threshold - 0.1)
        for rate, threshold in zip((0.1, 0.01), thresholds, strict=False)
    )
    limit = Limit(None, ())
    limits = Limits(0.01, 9, limit, limit, limit)
    held = HoldOut(0.2, "m", identities, photographs=99, cohort=70, same_pairs=50, different_pairs=60)
    return Verifier(members, calibration, of, held, 0.01, points, limits)


def threshold_for(found, rate):
    """The threshold that this share of the different test pairs reaches."""
    return float(np.quantile(found.similarity["ensemble"][~found.labelled.same], 1 - rate))


def test_the_headline_leads_with_photographs_that_no_training_saw():
    learnt = tuple(path for path in labelled_of(12).paths if int(path.name.split("-")[0]) < 5)
    found = evaluated(leaks=Leaks(learned=learnt))
    sentence = headline.headline(found)[-1]
    whole, unseen = found.scores["ensemble"].rank_1, found.without_learned["ensemble"].rank_1
    assert whole != unseen
    assert f"right in {100 * unseen.value:.1f} % of the searches" in sentence
    assert "among 7 individuals with 14 photographs, its first" in sentence
    assert f"that no training saw; with those learnt from it is {100 * whole.value:.1f} %. A larger" in sentence
    plain = headline.headline(evaluated(leaks=Leaks()))
    assert f"{100 * found.scores['ensemble'].auc.value:.1f} % of cases" in plain[0]
    assert "among 12 individuals with 24 photographs that no training saw, its first" in plain[-1]
    assert not any("learnt from" in told for told in plain)
    for unknown in (evaluated(), replace(evaluated(leaks=Leaks()), other_data=True)):
        assert "among 12 individuals with 24 photographs, its first" in headline.headline(unknown)[-1]


def test_the_headline_tells_what_verify_does_at_its_lowest_rate():
    found = evaluated(identities=20)
    verifier = verifier_of(found, threshold_for(found, 0.08), threshold_for(found, 0.008))
    point = verifier.points[-1]
    similarity, same = found.similarity["ensemble"], found.labelled.same
    (told,) = calibration_section.headline(verifier, found)
    assert "false match rate of at most 1 %" in told
    assert f"recognises {100 * np.mean(similarity[same] >= point.threshold):.1f} % of the test's 60 same pairs" in told
    assert f"calls {100 * np.mean(similarity[~same] >= point.threshold):.1f} % of the 1,710 different pairs" in told
    (none,) = calibration_section.headline(verifier_of(found, 0.5, 1.1), found)
    assert none.endswith("and calls none of the 1,710 different pairs the same.")
    (unlabelled,) = calibration_section.headline(verifier, None)
    assert unlabelled.endswith("recognises 50.0 % of the same pairs of the hold-out (95 % interval 40.0 to 60.0 %).")
    assert calibration_section.headline(None, found) == []


def test_of_too_few_individuals_the_headline_says_just_that():
    (told,) = headline.headline(evaluated(identities=4))
    assert "too few individuals to tell how good the ensemble is (4 individuals)" in told
    assert "%" not in told


def test_paired_differences_of_too_few_individuals_may_be_anything():
    found = evaluated(identities=4)
    for gain in (*member_gains(found).values(), gain_over_best(found)[1]):
        for score in (gain.auc, gain.map):
            assert (score.low, score.high) == (-1, 1)
    assert "this data cannot decide" in headline.verdict(found, gain_over_best(found))[0]
    accepted = found.similarity["ensemble"] > 0
    score = share_accepted(accepted, ~found.labelled.same, found.labelled)
    assert (score.low, score.high) == (0, 1)


def test_how_many_individuals_is_told_of_the_pairs_and_of_the_search():
    found = evaluated(identities=12)
    assert "they rest on 12 individuals." in headline.verdict(found, None)[0]
    few = found.labelled.clusters[0] < 7
    rest = replace(
        found.labelled,
        pairs=found.labelled.pairs.where(few),
        same=found.labelled.same[few],
        clusters=tuple(np.minimum(side[few], 6) for side in found.labelled.clusters),
    )
    told = headline.verdict(replace(found, labelled=rest), None)[0]
    assert "they rest on 7 individuals in the test pairs and 12 individuals in the search. That is few" in told


def test_promises_that_the_test_breaks_are_told_with_their_intervals():
    found = evaluated(identities=20)
    verifier = verifier_of(found, threshold_for(found, 0.3), threshold_for(found, 0.1))
    caution, broken = calibration_section.doubts(verifier, found)
    assert caution.startswith("The thresholds below are made from 8 held-out identities, which are few")
    section = calibration_section.section(verifier, "", {}, found)
    for row, allowed in zip(section["thresholds"].rows, ("10 %", "1 %"), strict=True):
        value, low, high = (float(part) for part in row[1].replace(" %\n", "–").split("–"))
        assert low < value < high
        assert low > float(allowed[:-2])
        assert f"{value:.1f} % [{low:.1f}, {high:.1f}] where {allowed} is promised" in broken
    assert "Do not rely on" in section["missing"]
    assert section["unsupported"] == ""  # more than 30 false matches


def test_a_promise_that_the_test_exceeds_within_its_interval_is_told():
    found = evaluated(identities=20)
    verifier = verifier_of(found, threshold_for(found, 0.105), threshold_for(found, 0.008), identities=30)
    (told,) = calibration_section.doubts(verifier, found)
    assert "though the promise lies within the interval: 10.5 % [" in told
    assert told.endswith("where 10 % is promised.")
    assert calibration_section.section(verifier, "", {}, found)["missing"] == ""


def test_of_one_member_no_ensemble_is_told():
    found = evaluated(noise=(1.0,))
    del found.scores["ensemble"], found.similarity["ensemble"]
    both = verifier_of(evaluated(), 0.5, 0.6)
    alone = replace(both, members=both.members[:1])
    told = calibration_section.section(alone, "", {}, found)
    assert told["whose"] == score_sections.scores(found)["of"] == score_sections.hard(found, {})["who"] == "member0"
    assert [row[0] for row in told["tables"][0][1].rows] == ["member0"]
    several = calibration_section.section(both, "", {}, evaluated())
    assert several["whose"] == "the ensemble"
    assert [row[0] for row in several["tables"][0][1].rows] == ["member0", "member1", "ensemble"]


def test_promises_that_are_kept_are_not_doubted():
    found = evaluated(identities=20)
    verifier = verifier_of(found, threshold_for(found, 0.08), threshold_for(found, 0.008), identities=30)
    assert calibration_section.doubts(verifier, found) == []
    assert calibration_section.section(verifier, "", {}, found)["missing"] == ""
    assert calibration_section.doubts(verifier, None) == calibration_section.doubts(None, found) == []


@pytest.mark.parametrize(("reached", "supported"), [(0.005, False), (0.05, True)])
def test_a_rate_that_the_test_pairs_cannot_support_is_marked(reached, supported):
    found = evaluated(identities=20)  # 1,710 different pairs: 0.1 is supported, 0.01 takes 3,000, or 30 false matches
    verifier = verifier_of(found, threshold_for(found, 0.08), threshold_for(found, reached))
    section = calibration_section.section(verifier, "", {}, found)
    assert ["too few pairs" in row[1] for row in section["thresholds"].rows] == [False, not supported]
    assert ("where 1 % is promised" in section["unsupported"]) == (not supported)


def test_a_member_that_adds_nothing_is_named():
    told = score_sections.members(evaluated(noise=(0.3, 30.0)))["useless"]
    assert "the ensemble is no worse without member1 (−0." in told
    assert "member0" not in told
    better = Score(0.01, 0.0, 0.02)
    assert score_sections._useless({"one": Gain(better, better)}, {"auc": "ROC AUC", "map": "mAP"}) == ""


def test_how_to_compare_with_no_training_is_told_where_it_is_not_done():
    found = evaluated()
    assert score_sections.scores(found)["compare"]
    assert not score_sections.scores(replace(found, embeddings={}))["compare"]  # of tables there is no network to score
    found.scores["member0 untrained"] = found.scores["member0"]
    assert not score_sections.scores(found)["compare"]
