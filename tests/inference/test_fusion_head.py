"""The head on the features of several members."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from noseprint.errors import NoseprintError
from noseprint.inference.classify import ClassifierOutputs
from noseprint.inference.fusion_head import FusionHead, fuse_members, side_by_side, train_head, write_head

CLASSES = ("a", "b", "c", "d")
OPTIONS = {"epochs": 30, "batch_size": 16, "lr": 0.01, "weight_decay": 0.01, "smoothing": 0.0, "seed": 0}


@dataclass(frozen=True)
class Case:
    members: dict[str, ClassifierOutputs]
    labels: list[str]
    weights: dict[str, Path]


@pytest.fixture
def case(tmp_path) -> Case:
    """Two members, of which each can tell two pairs of classes apart, and only together all four."""
    rng = np.random.default_rng(0)
    truth = np.arange(80) % 4
    names, members, weights = tuple(f"{row}.jpg" for row in range(80)), {}, {}
    for number, (name, size) in enumerate((("b4", 3), ("b5", 5))):
        weights[name] = tmp_path / f"{name}.safetensors"
        weights[name].write_bytes(name.encode())
        features = rng.normal(size=(80, size)).astype(np.float32)
        features[:, 0] += 6 * ((truth >> number) & 1)
        logits = np.zeros((80, 4), np.float32)
        members[name] = ClassifierOutputs(names, logits, features, CLASSES, _fingerprint(weights[name]))
    return Case(members, [CLASSES[t] for t in truth], weights)


def _fingerprint(path):
    from noseprint.models.weights_header import fingerprint  # noqa: PLC0415

    return fingerprint(path)


def trained(case, kind="linear", views=1, **options):
    torch.manual_seed(options.get("seed", 0))
    head = FusionHead([3, 5], 4, kind=kind)
    all_views = [list(case.members.values())] * views
    train_head(head, all_views, case.labels, classes=CLASSES, **OPTIONS | options)
    return head


def accuracy(outputs, labels):
    return np.mean([CLASSES[row.argmax()] == label for row, label in zip(outputs.logits, labels, strict=True)])


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_the_head_learns_what_no_member_knows_alone(case, tmp_path, kind):
    write_head(tmp_path / "head.safetensors", trained(case, kind), classes=CLASSES, members=case.weights)
    found = fuse_members(tmp_path / "head.safetensors", case.members)
    assert accuracy(found, case.labels) > 0.95
    assert (found.names, found.classes) == (case.members["b4"].names, CLASSES)
    np.testing.assert_array_equal(found.features, side_by_side(list(case.members.values())))
    assert found.network == _fingerprint(tmp_path / "head.safetensors")


def test_the_linear_head_is_a_linear_layer_on_standardised_features(case, tmp_path):
    head = trained(case)
    write_head(tmp_path / "head.safetensors", head, classes=CLASSES, members=case.weights)
    found = fuse_members(tmp_path / "head.safetensors", case.members)
    x = side_by_side(list(case.members.values())).astype(float)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    expected = z @ head.linear.weight.detach().numpy().T + head.linear.bias.detach().numpy()
    np.testing.assert_allclose(found.logits, expected, atol=1e-4)


def test_the_convolution_has_kernel_5_and_halves_the_channels():
    torch.manual_seed(0)
    head = FusionHead([4, 6], 2, kind="conv").eval()
    torch.nn.init.normal_(head.linear.weight)
    x = torch.randn(3, 10)
    places = np.zeros((3, 6, 2))  # the smaller member is filled up with zeros
    places[:, :4, 0], places[:, :, 1] = x[:, :4], x[:, 4:]
    kernel = head.mix[0].weight.detach().numpy()
    assert kernel.shape == (3, 6, 5)
    mixed = np.zeros((3, 3, 2))
    for image, out, place in np.ndindex(3, 3, 2):
        for tap in range(5):
            source = place + tap - 2
            if 0 <= source < 2:
                mixed[image, out, place] += kernel[out, :, tap] @ places[image, :, source]
    norm = head.mix[2]
    flat = mixed.reshape(3, 6) / np.sqrt(1 + norm.eps)  # BatchNorm as it begins
    expected = flat @ head.linear.weight.detach().numpy().T + head.linear.bias.detach().numpy()
    np.testing.assert_allclose(head(x).detach(), expected, atol=1e-5)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(case, tmp_path):
    written = []
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        write_head(tmp_path / name, trained(case, "conv", seed=seed, views=2), classes=CLASSES, members=case.weights)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1] != written[2]


def test_every_view_is_used(case):
    """Each of two views shows the class in one member only; both are needed."""
    empty = {name: replace(m, features=np.zeros_like(m.features)) for name, m in case.members.items()}
    views = [[case.members["b4"], empty["b5"]], [empty["b4"], case.members["b5"]]]
    seen = []

    class Recorder(FusionHead):
        def forward(self, features):
            seen.append(((features[:, :3] != 0).any(1), (features[:, 3:] != 0).any(1)))
            return super().forward(features)

    head = Recorder([3, 5], 4, kind="linear")
    train_head(head, views, case.labels, classes=CLASSES, **OPTIONS | {"epochs": 4, "smoothing": 0.1})
    first, second = (torch.cat([pair[k] for pair in seen]) for k in (0, 1))
    assert bool((first ^ second).all())
    assert len(first) == 4 * 80
    assert 0.4 < float(first.float().mean()) < 0.6


def test_a_head_with_other_members_weights_or_images_is_refused(case, tmp_path):
    path = tmp_path / "head.safetensors"
    write_head(path, trained(case), classes=CLASSES, members=case.weights)
    with pytest.raises(NoseprintError, match=r"needs what b5 computes, too"):
        fuse_members(path, {"b4": case.members["b4"]})
    with pytest.raises(NoseprintError, match="was trained with other weights of b5: train the fusion again"):
        fuse_members(path, case.members | {"b5": replace(case.members["b5"], network="0" * 16)})
    other = replace(case.members["b5"], names=tuple(f"{row}.png" for row in range(80)))
    with pytest.raises(NoseprintError, match="b5 has classified other images than the first"):
        fuse_members(path, case.members | {"b5": other})
    path.write_bytes(path.read_bytes().replace(b'"sizes":"[3, 5]"', b'"sizes":"[3, 4]"'))
    with pytest.raises(NoseprintError, match="is damaged"):
        fuse_members(path, case.members)


def test_a_feature_that_never_changes_does_no_harm(case):
    still = {name: replace(m, features=m.features.copy()) for name, m in case.members.items()}
    for member in still.values():
        member.features[:, 1] = 3
    head = trained(Case(still, case.labels, case.weights))
    assert all(torch.isfinite(weight).all() for weight in head.parameters())


def test_one_member_and_one_image_a_batch_of_one(case):
    for kind in ("linear", "conv"):
        head = FusionHead([3], 4, kind=kind)
        one = replace(case.members["b4"], features=case.members["b4"].features[:3], names=("x", "y", "z"))
        train_head(head, [[one]], case.labels[:3], classes=CLASSES, **OPTIONS | {"epochs": 2})
        assert torch.isfinite(head(torch.zeros(1, 3))).all()
