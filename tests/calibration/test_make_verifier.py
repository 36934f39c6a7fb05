import numpy as np
import pytest
import torch

from noseprint.calibration.make_verifier import make_verifier
from noseprint.calibration.verifier import write_verifier
from noseprint.data.holdout import HOLDOUT_SEED, holdout_hash, split_holdout
from noseprint.data.tables import read_train
from noseprint.data.transforms import A
from noseprint.models.embed import embed_images
from noseprint.models.weights import load_network

CPU = torch.device("cpu")


def held_out_of(data):
    table = read_train(data)
    return table, split_holdout(table.identities, share=0.2, seed=HOLDOUT_SEED)


def test_a_verifier_is_made_from_the_hold_out_alone(campaign):
    table, held_out = held_out_of(campaign.data)
    counts = [table.identities.count(identity) for identity in held_out]
    photographs = sum(counts)
    found = campaign.verifier.holdout
    assert (found.identities, found.photographs, found.share) == (len(held_out), photographs, 0.2)
    assert found.identities_hash == holdout_hash(held_out)
    assert found.cohort == min(200, len(table) - photographs)
    assert found.same_pairs == sum(n * (n - 1) // 2 for n in counts)
    assert found.different_pairs == photographs * (photographs - 1) // 2 - found.same_pairs + photographs * found.cohort
    assert campaign.verifier.least_fmr == pytest.approx(3 / (5 * 4 / 2 + 5 * 10))  # 10 identities in the cohort


def test_thresholds_keep_their_promise_on_the_hold_out(campaign):
    table, held_out = held_out_of(campaign.data)
    networks = [load_network(path) for path in campaign.weights.values()]
    embeddings = [embed_images(n, table.paths, transform=A.Resize(32, 32), device=CPU, workers=0) for n in networks]
    similarity = np.mean([e @ e.T for e in embeddings], axis=0)
    names = np.array(table.identities)
    held = np.isin(names, list(held_out))
    pairs = np.triu(held[:, None] | held[None], 1)  # the cohort is everyone else
    same = similarity[pairs & (names[:, None] == names[None])]
    different = similarity[pairs & (names[:, None] != names[None])]
    for point in campaign.verifier.points:
        measured = np.mean(different >= point.threshold - 1e-6)
        assert measured == pytest.approx(point.measured_fmr.value, abs=2 / len(different))
        assert point.measured_fmr.low <= point.measured_fmr.value <= point.measured_fmr.high <= point.fmr
        assert np.mean(same < point.fnmr_threshold - 1e-6) <= point.fmr


def test_making_it_again_gives_the_same_bytes(campaign, tmp_path):
    again = make_verifier(campaign.weights, campaign.data, device=CPU, engine="torch")
    assert again == campaign.verifier
    for name, verifier in (("a.json", again), ("b.json", campaign.verifier)):
        write_verifier(tmp_path / name, verifier)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
