import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from noseprint.calibration import holdout_pairs
from noseprint.calibration.holdout_pairs import (
    NoVerifierError,
    choose_pairs,
    draw_balanced_pairs,
    read_held_out_share,
    read_photographs,
    thin,
)
from noseprint.data.holdout import HOLDOUT_SEED, holdout_hash, photograph_hashes, split_holdout
from noseprint.data.tables import ImageTable, read_train
from noseprint.errors import NoseprintError


def table_of(photographs, *, encounters=None):
    """A table with as many photographs of each identity; `encounters` (how many of each) take turns."""
    identities = [name for name, number in photographs.items() for _ in range(number)]
    paths = tuple(Path(f"{row}.jpg") for row in range(len(identities)))
    met = None if encounters is None else tuple(f"{name}{row % encounters}" for row, name in enumerate(identities))
    return ImageTable(paths, tuple(identities), met)


def test_pairs_have_a_held_out_photograph_and_none_are_near_copies():
    table = table_of(dict.fromkeys("abcdefgh", 4), encounters=2)
    pairs = choose_pairs(table, 20)
    names, met = np.array(table.identities), np.array(table.encounters)
    i, j = np.triu_indices(len(table), 1)
    wanted = (i < 20) & ((names[i] != names[j]) | (met[i] != met[j]))
    assert set(zip(pairs.a, pairs.b, strict=True)) == set(zip(i[wanted], j[wanted], strict=True))
    np.testing.assert_array_equal(pairs.same, names[pairs.a] == names[pairs.b])


def test_fewer_than_five_identities_with_same_pairs_are_refused():
    with pytest.raises(NoVerifierError, match=r"only 4 of the held-out identities .*hold out more"):
        choose_pairs(table_of({"a": 3, "b": 2, "c": 2, "d": 2, "e": 1, "f": 5}), 10)
    with pytest.raises(NoVerifierError, match="only 0 of"):
        choose_pairs(table_of(dict.fromkeys("abcdef", 4), encounters=1), 24)


def test_an_identity_with_many_photographs_does_not_dominate_the_balanced_pairs(monkeypatch):
    monkeypatch.setattr(holdout_pairs, "MAX_SAME_PAIRS", 100)
    table = table_of({"a": 60, "b": 3, "c": 3, "d": 3, "e": 3, "single": 1})
    drawn = draw_balanced_pairs(choose_pairs(table, len(table)), table)
    names = np.array(table.identities)[drawn.a]
    assert drawn.same.sum() == (~drawn.same).sum() == 20 + 4 * 3
    assert Counter(names[drawn.same]) == {"a": 20, "b": 3, "c": 3, "d": 3, "e": 3}
    assert set(names[~drawn.same]) >= set("abcd")
    assert max(Counter(names[~drawn.same]).values()) <= 20


def test_thinning_takes_from_the_largest_identities_and_from_all_encounters(monkeypatch):
    monkeypatch.setattr(holdout_pairs, "MAX_PHOTOGRAPHS", 40)
    table = table_of({"a": 60, "b": 20, "c": 5, "d": 2}, encounters=4)
    thinned = thin(table)
    assert Counter(thinned.identities) == {"a": 16, "b": 16, "c": 5, "d": 2}
    for name in "ab":
        counts = Counter(met for met in thinned.encounters if met.startswith(name))
        assert set(counts.values()) == {4}
    assert thin(table) == thinned
    assert thin(table_of({"a": 20, "b": 20})) == table_of({"a": 20, "b": 20})
    many = thin(table_of({str(number): 3 for number in range(100)}))
    assert Counter(Counter(many.identities).values()) == {2: 20}


def test_weights_that_held_nothing_out_are_refused(tmp_path, write_weights):
    nothing = write_weights(tmp_path / "all.safetensors", training='{"holdout": 0.0}')
    silent = write_weights(tmp_path / "silent.safetensors", training="{}")
    for path, reason in ((nothing, "trained on all"), (silent, "does not say"), (tmp_path / "a.pth", "does not say")):
        with pytest.raises(NoVerifierError, match=reason):
            read_held_out_share({"one": path})
    a = write_weights(tmp_path / "a.safetensors")
    b = write_weights(tmp_path / "b.safetensors", training='{"holdout": 0.3}')
    assert read_held_out_share({"a": a}) == 0.2
    with pytest.raises(NoseprintError, match=r"different shares .*a 0\.2, b 0\.3"):
        read_held_out_share({"a": a, "b": b})


def test_weights_of_version_0_1_are_refused_with_the_reason(sixty, tmp_path, write_weights):
    before = split_holdout(read_train(sixty, missing_ok=True).identities, share=0.05, at_least=0)
    path = write_weights(tmp_path / "old.safetensors", training='{"holdout": 0.05}', held_out=holdout_hash(before))
    with pytest.raises(NoVerifierError, match="which held out fewer identities: calibrate with that version"):
        read_photographs({"old": path}, sixty, share=0.05)


def test_data_of_another_training_are_refused(campaign, tmp_path, write_weights):
    with pytest.raises(NoVerifierError, match="has no training photographs"):
        read_photographs(campaign.weights, tmp_path, share=0.2)
    other = write_weights(tmp_path / "other.safetensors", held_out=holdout_hash(["1", "2"]))
    with pytest.raises(NoVerifierError, match="with other identities held out"):
        read_photographs({"one": other}, campaign.data, share=0.2)


def test_other_photographs_under_the_same_names_are_refused(campaign, tmp_path, capsys, write_weights):
    data = shutil.copytree(campaign.data, tmp_path / "data")
    table = read_train(data)
    names = split_holdout(table.identities, share=0.2, seed=HOLDOUT_SEED)
    held_out = table.where(identity in names for identity in table.identities)
    hashes = photograph_hashes(held_out)
    weights = {"one": write_weights(tmp_path / "one.safetensors", data=data, held_out_photographs=hashes)}
    held_out.paths[0].write_bytes(held_out.paths[0].read_bytes() + b"0")
    held_out.paths[1].unlink()
    assert len(read_photographs(weights, data, share=0.2)[0]) == len(held_out) - 1
    assert "since the training: 1 new, 2 gone" in capsys.readouterr().out
    held_out.paths[2].write_bytes(b"")
    assert len(read_photographs(weights, data, share=0.2)[0]) == len(held_out) - 2
    assert f"left out: {held_out.paths[2]}" in capsys.readouterr().out
    for path in held_out.paths[3:]:
        path.write_bytes(path.read_bytes() + b"0")
    with pytest.raises(NoVerifierError, match=r"on other photographs than .*only 0 of the held-out ones"):
        read_photographs(weights, data, share=0.2)
