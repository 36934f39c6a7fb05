import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, log_loss, top_k_accuracy_score

from noseprint.errors import NoseprintError
from noseprint.metrics.calibration_error import expected_calibration_error
from noseprint.metrics.classification import (
    FEW_BELOW,
    MANY_ABOVE,
    Confusion,
    classification_scores,
    frequency_of,
    log_losses,
    mean_per_class,
    most_confused,
    true_ranks,
)

CLASSES = [f"class {k}" for k in range(7)]


def drawn(n=300, seed=0, signal=1.5):
    """Probabilities of a long-tailed set, and the labels."""
    rng = np.random.default_rng(seed)
    truth = np.minimum(rng.geometric(0.35, n) - 1, 6)
    logits = rng.standard_normal((n, 7))
    logits[np.arange(n), truth] += signal
    return softmax(logits, axis=1), [CLASSES[k] for k in truth], truth


def test_the_scores_equal_those_of_scikit_learn():
    p, labels, truth = drawn()
    found = classification_scores(p, labels, classes=CLASSES)
    assert found.top_1.value == pytest.approx(top_k_accuracy_score(truth, p, k=1, labels=range(7)))
    assert found.top_5.value == pytest.approx(top_k_accuracy_score(truth, p, k=5, labels=range(7)))
    assert found.mean_per_class.value == pytest.approx(balanced_accuracy_score(truth, p.argmax(1)))
    assert mean_per_class(p.argmax(1) == truth, labels) == pytest.approx(found.mean_per_class.value)
    assert found.log_loss.value == pytest.approx(log_loss(truth, p, labels=range(7)))
    assert log_losses(p, labels, CLASSES).mean() == pytest.approx(found.log_loss.value)
    error = expected_calibration_error(p.max(1), p.argmax(1) == truth)
    assert found.calibration_error.value == pytest.approx(error)
    assert found.by_frequency == {}


def test_ranks_equal_those_of_a_loop_with_ties_too():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 3, (200, 7)).astype(np.float32)
    truth = rng.integers(0, 7, 200)
    expected = [sorted(range(7), key=lambda k: (-row[k], k)).index(own) for row, own in zip(scores, truth, strict=True)]
    ranks = true_ranks(scores, [CLASSES[k] for k in truth], CLASSES)
    assert ranks.tolist() == expected
    np.testing.assert_array_equal(ranks == 0, scores.argmax(1) == truth)


@pytest.mark.parametrize("grouped", [False, True])
def test_intervals_equal_those_of_a_loop_that_repeats_images(grouped):
    p, labels, truth = drawn(n=60)
    groups = np.arange(60) // 3 if grouped else np.arange(60)
    counts = {name: 300 / 4**k for k, name in enumerate(CLASSES)}
    kind = np.array([frequency_of(counts[label]) for label in labels])
    names, rng, expected = np.unique(groups), np.random.default_rng(5), []
    for times in rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=50):
        rows = np.concatenate([np.flatnonzero(groups == group) for group in np.repeat(names, times)])
        t, q = truth[rows], p[rows]

        def of_classes(keep, t=t, q=q):
            if not keep.any():
                return np.nan
            return np.mean([(q[t == k].argmax(1) == k).mean() for k in np.unique(t[keep])])

        expected.append(
            [
                (q.argmax(1) == t).mean(),
                (np.argsort(-q, axis=1)[:, :5] == t[:, None]).any(1).mean(),
                of_classes(np.ones(len(t), bool)),
                *(of_classes(kind[rows] == name) for name in ("many", "medium", "few")),
                -np.log(q[np.arange(len(q)), t]).mean(),
            ]
        )
    chosen = groups if grouped else None
    got = classification_scores(
        p, labels, classes=CLASSES, groups=chosen, training_counts=counts, seed=5, replicates=50
    )
    scores = [got.top_1, got.top_5, got.mean_per_class, *got.by_frequency.values(), got.log_loss]
    assert list(got.by_frequency) == ["many", "medium", "few"]
    expected_intervals = np.nanquantile(expected, [0.025, 0.975], axis=0).T
    np.testing.assert_allclose([(score.low, score.high) for score in scores], expected_intervals, atol=1e-12)
    assert 0 <= got.calibration_error.low <= got.calibration_error.value <= got.calibration_error.high


def test_intervals_by_group_are_wider_where_a_group_is_all_right_or_all_wrong():
    p, labels, truth = drawn(n=200)
    order = np.argsort(p.argmax(1) == truth, kind="stable")
    labels = [labels[row] for row in order]
    by_image = classification_scores(p[order], labels, classes=CLASSES).top_1
    by_group = classification_scores(p[order], labels, classes=CLASSES, groups=np.arange(200) // 10).top_1
    assert by_group.high - by_group.low > 2 * (by_image.high - by_image.low)


def test_classes_are_split_by_their_training_images():
    assert [frequency_of(n) for n in (0, FEW_BELOW - 1, FEW_BELOW, MANY_ABOVE, MANY_ABOVE + 1)] == [
        "few", "few", "medium", "medium", "many",
    ]  # fmt: skip
    p, labels, truth = drawn()
    counts = {"class 0": 500, "class 1": 50, "class 2": 50}  # the others have none
    found = classification_scores(p, labels, classes=CLASSES, training_counts=counts).by_frequency
    right = p.argmax(1) == truth
    for name, numbers in {"many": [0], "medium": [1, 2], "few": [3, 4, 5, 6]}.items():
        assert found[name].value == pytest.approx(np.mean([right[truth == k].mean() for k in numbers]))


def test_an_image_of_a_class_that_the_network_lacks_is_wrong():
    p, labels, _ = drawn(n=50)
    found = classification_scores(np.vstack([p, p[:50]]), [*labels, *["new"] * 50], classes=CLASSES)
    own = classification_scores(p, labels, classes=CLASSES)
    assert found.top_1.value == pytest.approx(own.top_1.value / 2)
    assert found.top_5.value == pytest.approx(own.top_5.value / 2)
    seen = len(set(labels))
    assert found.mean_per_class.value == pytest.approx(own.mean_per_class.value * seen / (seen + 1))
    assert found.log_loss.value == pytest.approx(own.log_loss.value)
    assert np.isinf(log_losses(p[:1], ["new"], CLASSES))
    assert true_ranks(p[:1], ["new"], CLASSES).tolist() == [-1]
    with pytest.raises(NoseprintError, match="none of the 50 images has a class"):
        classification_scores(p, ["new"] * 50, classes=CLASSES)


def test_few_groups_tell_nothing():
    p, labels, _ = drawn(n=50)
    found = classification_scores(p, labels, classes=CLASSES, groups=np.arange(50) % 4)
    assert (found.top_1.low, found.top_1.high, found.log_loss.low) == (0, 1, 0)
    assert found.log_loss.high > 30


def test_the_most_frequent_confusions_are_those_of_the_confusion_matrix():
    p, labels, truth = drawn()
    matrix = confusion_matrix(truth, p.argmax(1), labels=range(7))
    found = most_confused(labels, [CLASSES[k] for k in p.argmax(1)], most=1000)
    np.fill_diagonal(matrix, 0)
    assert {(c.label, c.answer): c.images for c in found} == {
        (CLASSES[a], CLASSES[b]): matrix[a, b] for a, b in zip(*np.nonzero(matrix), strict=True)
    }
    assert [c.images for c in found] == sorted((c.images for c in found), reverse=True)
    assert most_confused(["b", "a", "a", "a"], ["a", "b", "a", "a"], most=1) == [Confusion("a", "b", 1, 1 / 3)]
    assert most_confused(["a"], ["a"]) == []


def test_logits_and_empty_sets_are_refused():
    p, labels, _ = drawn(n=20)
    with pytest.raises(NoseprintError, match=r"of 20 of 20 images, first of row 1, are no distribution"):
        classification_scores(p * 2, labels, classes=CLASSES)
    with pytest.raises(NoseprintError, match="no images"):
        classification_scores(p[:0], [], classes=CLASSES)
