"""Images that are no member of any class, found from examples."""

import numpy as np
import pytest

from noseprint.cleaning.not_members import find_not_members


@pytest.fixture(scope="module")
def pictures():
    """Features of 300 members of 3 classes and 40 of no class, 8 examples of these, and folds."""
    random = np.random.default_rng(0)
    centres = np.concatenate([np.eye(3, 20), -np.eye(1, 20)])
    kind = np.repeat([0, 1, 2, 3, 3], [100, 100, 100, 40, 8])
    features = centres[kind] + random.normal(0, 0.12, (348, 20))
    return features[:340], features[340:], np.arange(340) % 5


def find(pictures, *, marked=(), certain=(), seeds=8):
    features, examples, folds = pictures
    rows = np.arange(340)
    return find_not_members(
        features, examples[:seeds], marked=np.isin(rows, marked), certain=np.isin(rows, certain), folds=folds
    )


def test_pictures_of_no_class_are_found_from_a_few_examples(pictures):
    found = find(pictures)
    assert (found.since[300:] > 0).mean() > 0.9
    assert (found.since[:300] == 0).all()
    assert found.probability[300:].min() > found.probability[:300].max()


def test_what_is_found_helps_to_find_more(pictures):
    since = find(pictures, seeds=3).since
    assert len(set(since[since > 0])) > 1
    assert (since[300:] > 0).mean() > 0.5


def test_images_that_people_marked_are_examples_and_those_that_they_kept_are_not_found(pictures):
    found = find(pictures, seeds=0, marked=[300, 301, 302, 303], certain=[310])
    assert (found.since[304:] > 0).mean() > 0.8
    assert found.since[310] == 0
    assert (found.since[300:304] == 0).all()  # a person has decided on them


def test_without_an_example_nothing_is_found(pictures):
    assert not find(pictures, seeds=0).since.any()


def test_nothing_is_found_where_all_but_one_fold_are_examples(pictures):
    assert (find(pictures, marked=np.flatnonzero(pictures[2] != 0)).since == 0).all()
