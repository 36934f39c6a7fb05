from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noseprint.data.samplers import IdentityBatches, ShuffledBatches, epoch_steps
from noseprint.errors import NoseprintError

IDENTITIES = [str(i) for i in range(20) for _ in range(1 + i % 6)]


def batches(identities=IDENTITIES, **options):
    return IdentityBatches(identities, **{"batch_size": 16, "images_per_identity": 4, "steps": 30, "seed": 0} | options)


def test_a_batch_holds_up_to_k_distinct_images_of_p_distinct_identities():
    for batch in batches():
        counts = Counter(IDENTITIES[row] for _, row in batch)
        assert len(counts) == 4
        assert len({row for _, row in batch}) == len(batch)
        assert all(count == min(4, IDENTITIES.count(identity)) for identity, count in counts.items())


def test_identities_are_drawn_uniformly_whatever_their_number_of_images():
    counts = Counter(i for batch in batches(steps=4000) for i in {IDENTITIES[row] for _, row in batch})
    expected = 4000 * 4 / 20
    assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


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
        (IDENTITIES, {"world_size": 5}, "5 processes cannot share 4"),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused(identities, options, message):
    with pytest.raises(NoseprintError, match=message):
        batches(identities, **options)
