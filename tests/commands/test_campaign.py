import shutil

import pytest

from noseprint.commands.campaign import Campaign
from noseprint.errors import NoseprintError
from noseprint.models.network import SupConNet
from noseprint.models.weights import save_weights


def campaign(root, **recipes):
    """A campaign whose members have weights that name these recipes."""
    for member, recipe in recipes.items():
        network = SupConNet("test_efficientnet.r160_in1k", image_size=32, dim=8, pretrained=False)
        save_weights(root / member / "results" / "best.safetensors", network, extra={"recipe": recipe})
    return Campaign(root=root, members=tuple(recipes))


def test_weights_of_another_recipe_are_refused(tmp_path):
    assert list(campaign(tmp_path, one="one", two="two").weights) == ["one", "two"]
    with pytest.raises(NoseprintError, match=r"one.* weights of two, not of one; put each file under its own name"):
        _ = campaign(tmp_path, one="two", two="two").weights


def test_the_same_weights_cannot_be_two_members(tmp_path):
    two_members = campaign(tmp_path, one="one", two="two")
    one, two = (tmp_path / member / "results" / "best.safetensors" for member in ("one", "two"))
    network = SupConNet("test_efficientnet.r160_in1k", image_size=32, dim=8, pretrained=False)
    save_weights(one, network, extra={})
    shutil.copyfile(one, two)
    with pytest.raises(NoseprintError, match=r"two.* weights of .*one.*; train two, or leave it out"):
        _ = two_members.weights


def test_missing_or_damaged_weights_are_left_to_whoever_loads_them(tmp_path):
    two_members = campaign(tmp_path, one="one", two="two")
    one, two = (tmp_path / member / "results" / "best.safetensors" for member in ("one", "two"))
    one.unlink()
    two.write_text("weights")
    assert two_members.weights == {"one": one, "two": two}
