"""What a network has not seen: recorded by the bytes of the images that it learned from."""

from pathlib import Path

import pytest

from noseprint.data.class_tables import ClassTable
from noseprint.data.holdout import content_hashes
from noseprint.errors import NoseprintError
from noseprint.inference.out_of_fold import require_unseen
from noseprint.models.classifier import ClassifierNet
from noseprint.models.weights import save_weights


def images(folder, *names):
    for name in names:
        (folder / name).write_bytes(name.encode())
    number = len(names)
    return ClassTable(tuple(folder / name for name in names), ("a",) * number, ("train",) * number, names)


@pytest.fixture
def weights(tmp_path):
    """Of a network that learned from one, two and three."""
    learned = images(tmp_path, "one", "two", "three")
    network = ClassifierNet("test_efficientnet.r160_in1k", heads={"label": ["a"]}, image_size=32, pretrained=False)
    path = tmp_path / "best.safetensors"
    save_weights(path, network, extra={"trained_images": "".join(content_hashes(learned.paths))})
    return path


def test_other_images_are_unseen(weights, tmp_path):
    require_unseen(weights, images(tmp_path, "four", "five"))


def test_an_image_that_was_learned_from_is_refused_also_as_a_copy_under_another_name(weights, tmp_path):
    with pytest.raises(NoseprintError, match=r"learned from 1 of the 2 images .* \(two\)"):
        require_unseen(weights, images(tmp_path, "four", "two"))
    own = images(tmp_path, "four", "five")
    Path(own.paths[1]).write_bytes(b"three")
    with pytest.raises(NoseprintError, match=r"\(five\), or from copies of them"):
        require_unseen(weights, own)


def test_a_network_that_does_not_say_what_it_learned_from_is_refused(weights, tmp_path):
    network = ClassifierNet("test_efficientnet.r160_in1k", heads={"label": ["a"]}, image_size=32, pretrained=False)
    save_weights(weights, network, extra={})
    with pytest.raises(NoseprintError, match="does not say which images it learned from"):
        require_unseen(weights, images(tmp_path, "four"))
