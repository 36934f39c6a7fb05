import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noseprint.data.holdout import (
    Changed,
    changed_photographs,
    held_out_fewer,
    holdout_hash,
    holdout_rows,
    photograph_hashes,
    require_scorable,
    split_holdout,
)
from noseprint.data.tables import ImageTable
from noseprint.errors import NoseprintError


def images(n, *, per=2, start=0):
    return [str(i) for i in range(start, start + n) for _ in range(per)]


@pytest.mark.parametrize(
    ("identities", "share", "want"),
    [
        (6000, 0.05, 300),
        (1000, 0.5, 333),
        (200, 0.05, 32),
        (95, 0.05, 19),
        (24, 0.05, 8),
        (23, 0.05, 7),
        (6, 0.05, 2),
        (100, 0.0, 0),
    ],
)
def test_the_number_held_out_follows_the_share(identities, share, want):
    held = split_holdout(images(identities), share=share, seed=0)
    assert len(held) == want
    assert held <= set(images(identities))


def test_single_images_are_never_held_out():
    pairs, singles = images(30), images(1000, per=1, start=100)
    assert split_holdout(pairs + singles, share=0.1, seed=3) == split_holdout(pairs, share=0.1, seed=3)


def test_stratified_rows_hold_out_the_same_share_of_every_class():
    classes = ["a"] * 40 + ["b"] * 20 + ["c"] * 8
    held_out = holdout_rows(classes, share=0.25)
    counts = Counter(name for name, out in zip(classes, held_out, strict=True) if out)
    assert counts == {"a": 10, "b": 5, "c": 2}
    assert not (held_out == holdout_rows(classes, share=0.25, seed=1)).all()
    assert not holdout_rows(classes, share=0).any()


def test_no_group_is_on_both_sides():
    rng = np.random.default_rng(0)
    classes, groups = [rng.choice(list(letters), 300).tolist() for letters in ("abc", "mnopqrstuvwxyz")]
    held_out = holdout_rows(classes, share=0.2, groups=groups)
    sides = [{group for group, out in zip(groups, held_out, strict=True) if out == side} for side in (True, False)]
    assert not sides[0] & sides[1]
    assert 0.1 < held_out.mean() < 0.3


def test_a_class_with_few_rows_is_accepted_and_too_few_rows_are_refused():
    assert 0 < holdout_rows(["a"] * 30 + ["b"], share=0.1).sum() < 6
    with pytest.raises(NoseprintError, match=r"needs 10 images, and there are 3"):
        holdout_rows(["a", "b", "b"], share=0.1)
    with pytest.raises(NoseprintError, match=r"needs 5 groups, and there are 2"):
        holdout_rows(["a", "b"] * 9, share=0.2, groups=["x", "y"] * 9)


@given(st.randoms(use_true_random=False), st.integers(0, 99))
def test_order_and_further_images_change_nothing(random, seed):
    identities = images(60)
    held = split_holdout(identities, share=0.2, seed=seed)
    more = identities + random.choices(identities, k=30)
    random.shuffle(more)
    assert split_holdout(more, share=0.2, seed=seed) == held


def test_a_larger_share_contains_the_smaller_and_a_new_identity_changes_little():
    identities = images(400)
    small, large = (split_holdout(identities, share=share, seed=1) for share in (0.05, 0.2))
    assert small < large
    grown = split_holdout(identities + images(1, start=400), share=0.2, seed=1)
    assert len(grown ^ large) <= 2


def test_only_the_seed_changes_the_choice():
    identities = images(200)
    a, b = (split_holdout(identities, share=0.1, seed=seed) for seed in (0, 1))
    assert a != b
    # Written down once: nine folders on several machines have to agree.
    assert sorted(map(int, split_holdout(images(24), share=0.1, seed=0))) == [4, 7, 9, 15, 18, 20, 21, 23]


@pytest.mark.parametrize("share", [-0.1, 0.51, 5, math.nan])
def test_a_share_outside_its_range_is_refused(share):
    with pytest.raises(NoseprintError, match="outside"):
        split_holdout(images(100), share=share, seed=0)


def test_too_few_identities_are_refused():
    with pytest.raises(NoseprintError, match="5 identities have two images or more"):
        split_holdout(images(5) + images(50, per=1, start=10), share=0.3, seed=0)


def test_a_holdout_with_one_encounter_per_identity_is_refused():
    identities = images(5, per=3)
    require_scorable(identities, share=0.05)
    require_scorable(identities, share=0.05, encounters=["a", "b", "b"] * 5)
    require_scorable(identities, share=0, encounters=["a"] * 15)
    with pytest.raises(NoseprintError, match="too few photographs from two encounters"):
        require_scorable(identities, share=0.05, encounters=["a", "b", "b", *["a"] * 12])
    with pytest.raises(NoseprintError, match=r"remove the column camera .*has one value only, 'north'"):
        require_scorable(identities, share=0.05, encounters=["north"] * 15, encounter_column="camera")
    with pytest.raises(NoseprintError, match="too few photographs can be used"):
        require_scorable(images(5, per=1), share=0.05)


def photographs(folder, names):
    """A table of files of different sizes, all of one identity."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x" * (len(folder.name) + len(name)))
    return ImageTable(tuple(folder / name for name in names), ("rex",) * len(names))


def test_photographs_are_recognised_in_any_folder_and_any_order(tmp_path):
    table = photographs(tmp_path / "a", ["1.jpg", "2.jpg", "33.jpg"])
    hashes = photograph_hashes(table)
    assert len(hashes) == 3 * 8
    again = photographs(tmp_path / "b", ["33.jpg", "1.jpg", "2.jpg"])
    assert photograph_hashes(again) == hashes
    assert changed_photographs(hashes, again) == Changed(3, 0, 0)
    again.paths[0].write_bytes(b"another one")
    assert changed_photographs(hashes, again) == Changed(2, 1, 1)
    again.paths[1].unlink()
    assert changed_photographs(hashes, again) == Changed(1, 1, 2)
    assert changed_photographs(hashes, ImageTable(table.paths, ("max",) * 3)) == Changed(0, 3, 3)


@pytest.mark.parametrize(
    ("known", "added", "removed", "other"),
    [(3, 100, 0, False), (3, 0, 100, False), (5, 5, 5, False), (4, 5, 5, True), (0, 9, 3, True), (3, 100, 2, False)],
)
def test_data_are_other_data_only_if_most_photographs_changed(known, added, removed, other):
    assert Changed(known, added, removed).other_data is other


def test_only_a_draw_of_very_many_photographs_is_compared(tmp_path, monkeypatch):
    table = photographs(tmp_path / "a", [f"{number}.jpg" for number in range(400)])
    monkeypatch.setattr("noseprint.data.holdout.MOST_HASHES", 40)
    hashes = photograph_hashes(table)
    assert len(hashes) == 40 * 8
    assert changed_photographs(hashes, table) == Changed(40, 0, 0)
    half = changed_photographs(hashes, table.where(number % 2 for number in range(400)))
    assert (half.added, 10 < half.known < 30) == (0, True)
    more = photographs(tmp_path / "a", [f"{number}.jpg" for number in range(1200)])
    grown = changed_photographs(hashes, more)
    assert (grown.removed, grown.other_data, grown.known < 30) == (0, False, True)


def test_the_smaller_hold_out_of_version_0_1_is_recognised():
    names = [f"dog {i}" for i in range(60) for _ in range(2)]
    before = split_holdout(names, share=0.05, at_least=0)
    assert (len(before), len(split_holdout(names, share=0.05))) == (8, 12)
    assert held_out_fewer(names, share=0.05, recorded=holdout_hash(before))
    assert not held_out_fewer(names, share=0.05, recorded=holdout_hash(split_holdout(names, share=0.05)))
    assert not held_out_fewer(names, share=0.05, recorded=None)
    assert not held_out_fewer(names[:24], share=0.05, recorded=holdout_hash(split_holdout(names[:24], share=0.05)))
