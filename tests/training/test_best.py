import json
from pathlib import Path

import numpy as np
import pytest
import torch

from noseprint.distributed import World
from noseprint.errors import NoseprintError
from noseprint.models.weights_header import read_header
from noseprint.training.best import BestWeights
from noseprint.training.task import Scores

from .tiny import network

GROUPS = np.repeat([f"dog {i}" for i in range(10)], 4)


class ATask:
    """Scores that the test has written down; the header says which ones."""

    def __init__(self, *scores, groups=GROUPS):
        self.scores, self.groups, self.asked = scores, groups, 0

    def score(self, _, *, untrained=False):
        per_item = np.broadcast_to(self.scores[self.asked], (len(self.groups),)).astype(float)
        self.asked += 1
        return Scores({"map": float(per_item.mean())}, "mAP", f"{len(per_item)} photographs", per_item, self.groups)

    def header(self):
        return {"asked": str(self.asked)}


def kept(tmp_path, *scores, **more):
    best = BestWeights(ATask(*scores, **more), world=World(0, 1, torch.device("cpu")), results=tmp_path, extra={})
    for step in range(len(scores)):
        best.score_and_keep(network(), step=step)
    return best, read_header(tmp_path / "best.safetensors").extra


def varied(mean, spread=0.3, seed=0):
    """Scores of the 40 photographs that differ from dog to dog."""
    return np.clip(mean + np.random.default_rng(seed).uniform(-spread, spread, 10), 0, 1).repeat(4)


def test_the_last_weights_are_kept_though_earlier_ones_are_a_little_better(tmp_path):
    best, extra = kept(tmp_path, 0.2, varied(0.61, seed=1), varied(0.6, seed=2))
    assert extra["asked"] == "3"
    assert not best.overtaken


def test_earlier_weights_are_kept_if_the_last_are_worse_for_every_group(tmp_path):
    better = varied(0.6)
    best, extra = kept(tmp_path, 0.2, better, better - 0.01)
    assert extra["asked"] == "2"
    assert best.overtaken
    assert "earlier weights are kept" in best.summary()[-1]


def test_the_start_weights_are_kept_if_training_does_harm(tmp_path):
    best, extra = kept(tmp_path, varied(0.6), varied(0.6) - 0.1)
    assert extra["asked"] == "1"
    assert best.summary()[0].endswith("before this training, which did harm: the weights from before it are kept")


def test_later_weights_take_over_again(tmp_path):
    better = varied(0.6)
    _, extra = kept(tmp_path, 0.2, better, better - 0.1, better)
    assert extra["asked"] == "4"


def test_the_header_and_the_summary_say_what_training_gained(tmp_path):
    best, extra = kept(tmp_path, varied(0.3), varied(0.3) + 0.25)
    gain = json.loads(extra["gain"])
    assert gain["value"] == pytest.approx(0.25)
    assert (gain["by"], gain["step"]) == ("mAP", 1)
    assert gain["low"] <= 0.25 <= gain["high"]
    assert "mAP 0.3303 before this training, 0.5803 after: +0.2500 [+0.2500, +0.2500]" in best.summary()[0]
    assert "differences of about 0.00" in best.summary()[0]


def test_four_groups_are_too_few_to_say_anything(tmp_path):
    best, extra = kept(tmp_path, 0.9, 0.1, groups=np.array(["a", "b", "c", "d"]))
    assert extra["asked"] == "2"  # not even that the start was better
    assert best.summary() == [
        "hold-out (4 photographs): mAP 0.9000 before this training, 0.1000 after: -0.8000; too few are held out to "
        "say more: an interval takes 5 identities or groups"
    ]


def test_a_resumed_training_knows_the_best_scores(tmp_path):
    better = varied(0.6)
    best, _ = kept(tmp_path, 0.2, better)
    torch.save(best.state(), tmp_path / "state.pt")
    resumed = BestWeights(ATask(better - 0.01), world=World(0, 1, torch.device("cpu")), results=tmp_path, extra={})
    resumed.load(torch.load(tmp_path / "state.pt", weights_only=True))
    resumed.score_and_keep(network(), step=2)
    assert resumed.overtaken
    assert read_header(tmp_path / "best.safetensors").extra["asked"] == "2"


def test_longer_training_is_advised_only_where_it_may_help(tmp_path):
    best, _ = kept(tmp_path, varied(0.6), varied(0.6))
    assert "Try longer training (--minutes, --epochs), larger images" in best.summary()[-1]
    assert "Try larger images" in best.summary(may_train_longer=False)[-1]
    assert "Try" not in "".join(best.summary(advise=False))


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9])])
def test_highest_weights_that_are_gone_or_damaged_are_not_copied(tmp_path, damage):
    better = varied(0.6)
    best, _ = kept(tmp_path, 0.2, better)
    damage(tmp_path / "last" / "highest.safetensors")
    resumed = BestWeights(ATask(better - 0.1), world=World(0, 1, torch.device("cpu")), results=tmp_path, extra={})
    torch.save(best.state(), tmp_path / "state.pt")
    resumed.load(torch.load(tmp_path / "state.pt", weights_only=True))
    with pytest.raises(NoseprintError, match=r"(?s)highest\.safetensors.*--restart"):
        resumed.score_and_keep(network(), step=2)
    assert read_header(tmp_path / "best.safetensors").extra["asked"] == "2"
