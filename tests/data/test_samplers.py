from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noseprint.data.samplers import (
    CappedBatches,
    EqualClassBatches,
    IdentityBatches,
    OversampledBatches,
    ShuffledBatches,
    SubsetFirstBatches,
    capped_counts,
    epoch_steps,
    identity_epoch_steps,
    oversampled_counts,
)
from noseprint.errors import NoseprintError

IDENTITIES = [str(i) for i in range(20) for _ in range(1 + i % 6)]


def batches(identities=IDENTITIES, **options):
    return IdentityBatches(identities, **{"batch_size": 16, "images_per_identity": 4, "steps": 30, "seed": 0} | options)


MANY = [str(i) for i in range(20) for _ in range(4 + i % 3)]
MOSTLY_SINGLE = [f"single {i}" for i in range(105)] + [f"several {i}" for i in range(20) for _ in range(2 + i % 3)]


def test_a_batch_holds_k_distinct_images_of_p_distinct_identities():
    for batch in batches(MANY):
        counts = Counter(MANY[row] for _, row in batch)
        assert list(counts.values()) == [4, 4, 4, 4]
        assert len({row for _, row in batch}) == 16


def test_identities_are_drawn_uniformly_whatever_their_number_of_images():
    counts = Counter(i for batch in batches(MANY, steps=4000) for i in {MANY[row] for _, row in batch})
    expected = 4000 * 4 / 20
    assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


def test_mostly_single_images_fill_up_batches_of_pairs():
    for batch in batches(MOSTLY_SINGLE):
        rows = [row for _, row in batch]
        assert len(rows) == len(set(rows)) == 16
        counts = Counter(MOSTLY_SINGLE[row] for row in rows)
        assert sum(identity.startswith("single") for identity in counts) == 4  # a quarter of the batch
        cut = [identity for identity, count in counts.items() if count < min(4, MOSTLY_SINGLE.count(identity))]
        assert len(cut) <= 1  # the last one drawn


def test_single_images_are_seen_even_if_the_others_could_fill_the_batches():
    for number in (1, 10):
        identities = [f"single {i}" for i in range(number)] + MANY
        seen = Counter(identities[row] for batch in batches(identities, steps=1000) for _, row in batch)
        share = sum(seen[f"single {i}"] for i in range(number)) / seen.total()
        assert share == pytest.approx(number / len(identities), rel=0.2)
        assert min(seen.values()) > 0


def test_few_images_each_draw_more_identities_into_the_batch():
    identities = [str(i) for i in range(30) for _ in range(2)]
    for batch in batches(identities):
        counts = Counter(identities[row] for _, row in batch)
        assert list(counts.values()) == [2] * 8


def test_a_batch_size_that_k_does_not_divide_is_kept():
    assert {len(batch) for batch in batches(MANY, batch_size=19)} == {19}


def test_too_few_identities_for_the_batch_size_all_take_part():
    identities = ["a"] * 9 + ["b"] * 2 + ["c"]
    for batch in batches(identities):
        assert Counter(identities[row] for _, row in batch) == {"a": 4, "b": 2, "c": 1}


@pytest.mark.parametrize("identities", [MANY, MOSTLY_SINGLE, ["a"] * 9 + ["b"] * 2 + ["c"]])
def test_an_epoch_shows_as_many_images_as_there_are(identities):
    options = {"batch_size": 16, "images_per_identity": 4}
    steps = identity_epoch_steps(identities, **options)
    images = [len(batch) for batch in batches(identities, steps=steps)]
    assert len(identities) - images[0] < sum(images) <= len(identities)


def test_a_resumed_run_yields_the_remaining_batches():
    whole = list(batches())
    assert list(batches(first_step=11)) == whole[11:]
    assert len(batches(first_step=11)) == 19
    assert list(batches(seed=1)) != whole


@settings(max_examples=25, deadline=None)
@given(world_size=st.integers(1, 4), seed=st.integers(0, 99))
def test_ranks_share_each_batch_by_identity(world_size, seed):
    whole = list(batches(seed=seed, steps=5))
    shares = [list(batches(seed=seed, steps=5, rank=rank, world_size=world_size)) for rank in range(world_size)]
    for step, batch in enumerate(whole):
        parts = [share[step] for share in shares]
        assert sorted(index for part in parts for index in part) == sorted(batch)
        seen = [{IDENTITIES[row] for _, row in part} for part in parts]
        assert sum(map(len, seen)) == len(set().union(*seen))


def shuffled(rows=10, **options):
    return ShuffledBatches(rows, **{"batch_size": 4, "steps": 6, "seed": 0} | options)


def test_an_epoch_shows_no_row_twice_and_the_next_has_another_order():
    rows = [[row for _, row in batch] for batch in shuffled()]  # two batches an epoch
    epochs = [rows[i] + rows[i + 1] for i in (0, 2, 4)]
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert [step for batch in shuffled() for step, _ in batch] == [step for step in range(6) for _ in range(4)]


def test_shuffled_batches_resume_and_are_shared_by_rank():
    whole = list(shuffled())
    assert list(shuffled(first_step=3)) == whole[3:]
    parts = [list(shuffled(rank=rank, world_size=2)) for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*parts, strict=True)] == [sorted(batch) for batch in whole]
    assert shuffled(rank=1, world_size=2).batch(2, of_all_processes=True) == whole[2]
    with pytest.raises(NoseprintError, match="5 processes cannot share batches of 4"):
        shuffled(world_size=5)


def test_an_epoch_has_as_many_steps_as_the_images_fill_batches():
    assert [epoch_steps(n, 16) for n in (1, 16, 31, 32)] == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("identities", "options", "message"),
    [
        (["1", "1"], {}, "at least 2 identities"),
        (["1", "2", "3"], {}, "single image"),
        (IDENTITIES, {"batch_size": 7}, "does not hold 2 identities"),
        (IDENTITIES, {"world_size": 5}, "5 processes cannot share the 4"),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused(identities, options, message):
    with pytest.raises(NoseprintError, match=message):
        batches(identities, **options)


TAILED = [f"class {k}" for k, n in enumerate((12, 5, 3, 1)) for _ in range(n)]


def oversampled(classes=TAILED, **options):
    return OversampledBatches(classes, **{"batch_size": 6, "steps": 40, "seed": 0} | options)


def test_every_class_is_shown_at_least_a_third_as_often_as_the_largest():
    shown = [12, 5, 4, 4]
    assert oversampled_counts(TAILED).tolist() == shown
    rows = [row for batch in oversampled(batch_size=25, steps=8) for _, row in batch]  # a batch is an epoch
    for epoch in range(8):
        own = Counter(rows[25 * epoch : 25 * (epoch + 1)])
        assert own.keys() == set(range(len(TAILED)))
        counts = Counter()
        for row, number in own.items():
            counts[TAILED[row]] += number
        assert [counts[f"class {k}"] for k in range(4)] == shown
        assert max(own[row] for row in range(12)) == 1
        assert sorted(own[row] for row in (17, 18, 19)) == [1, 1, 2]
    twice = {row for epoch in range(8) for row, n in Counter(rows[25 * epoch : 25 * epoch + 25]).items() if n == 2}
    assert {17, 18, 19} <= twice  # not always the same row of the class


def test_oversampled_batches_resume_and_are_shared_by_rank():
    whole = list(oversampled())
    assert list(oversampled(first_step=7)) == whole[7:]
    assert list(oversampled(seed=1)) != whole
    assert oversampled().batch(30) == whole[30]  # after no other one
    parts = [list(oversampled(rank=rank, world_size=2)) for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*parts, strict=True)] == [sorted(batch) for batch in whole]


def test_classes_of_equal_size_are_not_oversampled():
    assert oversampled_counts(["a", "b"] * 5).tolist() == [5, 5]
    assert oversampled_counts(["a"] * 9 + ["b"] * 3).tolist() == [9, 3]
    assert oversampled_counts(["a"] * 10 + ["b"] * 3).tolist() == [10, 4]


def equal_classes(**options):
    return EqualClassBatches(TAILED, **{"batch_size": 6, "steps": 400, "seed": 0} | options)


def test_every_class_comes_equally_often_with_replacement():
    rows = [row for batch in equal_classes() for _, row in batch]
    counts = Counter(TAILED[row] for row in rows)
    assert all(abs(counts[f"class {k}"] - 600) < 5 * (2400 * 3 / 16) ** 0.5 for k in range(4))
    of_first = Counter(row for row in rows if row < 12)
    assert all(abs(of_first[row] - counts["class 0"] / 12) < 5 * (counts["class 0"] / 12) ** 0.5 for row in range(12))


def test_equal_class_batches_are_those_of_a_loop():
    for step in (0, 7):
        random, expected = np.random.default_rng((0, step)), []
        for number in random.integers(4, size=6):
            own = [row for row, name in enumerate(TAILED) if name == f"class {number}"]
            expected.append((step, int(random.choice(own))))
        assert equal_classes().batch(step) == expected


def subset_first(**options):
    classes = TAILED[:20]  # of 12, 5 and 3 images
    return SubsetFirstBatches(classes, **{"batch_size": 4, "steps": 21, "seed": 0} | options)


def test_the_first_half_shows_an_even_subset_and_the_second_half_all():
    batches = [[row for _, row in batch] for batch in subset_first()]
    subset = {row for batch in batches[:10] for row in batch}
    assert Counter(TAILED[row] for row in subset) == {"class 0": 3, "class 1": 3, "class 2": 3}
    for epoch in range(5):  # of two batches
        rows = batches[2 * epoch] + batches[2 * epoch + 1]
        assert len(set(rows)) == 8
    for epoch in range(2):  # of five batches
        assert {row for batch in batches[10 + 5 * epoch : 15 + 5 * epoch] for row in batch} == set(range(20))
    other = {row for batch in list(subset_first(seed=1))[:10] for _, row in batch}
    assert other != subset


@pytest.mark.parametrize("make", [equal_classes, subset_first])
def test_balanced_batches_resume_and_are_shared_by_rank(make):
    whole = list(make())
    for first in (3, 15):
        assert list(make(first_step=first)) == whole[first:]
    assert make().batch(14) == whole[14]
    assert list(make(seed=1)) != whole
    parts = [list(make(rank=rank, world_size=2)) for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*parts, strict=True)] == [sorted(batch) for batch in whole]
    assert [[step for step, _ in batch] for batch in whole] == [[n] * len(batch) for n, batch in enumerate(whole)]
    with pytest.raises(NoseprintError, match="7 processes cannot share"):
        make(world_size=7)


UNEVEN = ["many"] * 12 + ["some"] * 5 + ["few"] * 2


def capped(**options):
    return CappedBatches(UNEVEN, **{"cap": 7, "floor": 4, "batch_size": 16, "steps": 40, "seed": 0} | options)


def test_an_epoch_shows_each_identity_at_most_cap_and_at_least_floor_times():
    assert capped_counts(UNEVEN, cap=7, floor=4).tolist() == [4, 7, 5]  # few, many, some
    of_many = Counter()
    for batch in capped():  # a batch is an epoch
        own = Counter(row for _, row in batch)
        assert Counter(UNEVEN[row] for _, row in batch) == {"many": 7, "some": 5, "few": 4}
        assert {own[row] for row in range(17)} == {0, 1}
        assert own[17] == own[18] == 2
        of_many.update(row for row in own if row < 12)
    assert len(of_many) == 12  # each epoch draws others
    assert max(of_many.values()) < 2 * min(of_many.values())


def test_capped_batches_resume_and_are_shared_by_rank():
    whole = list(capped(batch_size=6))
    assert list(capped(batch_size=6, first_step=7)) == whole[7:]
    parts = [list(capped(batch_size=6, rank=rank, world_size=2)) for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*parts, strict=True)] == [sorted(batch) for batch in whole]
