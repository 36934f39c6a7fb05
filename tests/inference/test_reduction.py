from functools import partial

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch.nn import functional as F

from noseprint.errors import NoseprintError
from noseprint.inference.reduction import (
    compose,
    greedy_soup,
    join,
    mixture,
    pca_projection,
    random_projection,
    side_by_side,
    soup,
)
from noseprint.models.projection_net import ProjectionNet, with_size
from noseprint.models.weights import load_network, save_weights

CNN, VIT = "test_efficientnet.r160_in1k", "test_vit.r160_in1k"


def projection_of(network):
    return network.projection.weight.detach(), network.projection.bias.detach()


def build(name=CNN, *, seed=0, dim=6, **options) -> ProjectionNet:
    torch.manual_seed(seed)
    return ProjectionNet(name, dim=dim, image_size=32, pretrained=False, **options).eval()


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return (rng.standard_normal((300, 20)) * np.linspace(3, 0.1, 20) + 5).astype(np.float32)


@pytest.fixture
def images():
    return torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def apply(projection, features):
    weight, bias = (part.double().numpy() for part in projection)
    return features @ weight.T + bias


def mean_square(rows):
    return (rows**2).sum(axis=1).mean()


@pytest.mark.parametrize("whiten", [False, True])
def test_pca_is_that_of_scikit_learn_with_fixed_signs(features, whiten):
    weight, bias = projection = pca_projection(features, 6, whiten=whiten)
    got = apply(projection, features)
    theirs = PCA(6, whiten=whiten, svd_solver="full").fit_transform(features.astype(np.float64))
    np.testing.assert_allclose(got * np.sign((got * theirs).sum(0)), theirs, atol=1e-3)
    np.testing.assert_allclose(got.mean(0), 0, atol=1e-4)
    assert (weight.max(dim=1).values == weight.abs().max(dim=1).values).all()
    assert (weight.dtype, bias.shape) == (torch.float32, (6,))
    turned = pca_projection(features[::-1], 6, whiten=whiten)[0]
    torch.testing.assert_close(turned, weight, atol=1e-5, rtol=1e-4)


def test_pca_refuses_what_cannot_be(features):
    with pytest.raises(NoseprintError, match="PCA to 21 dimensions needs as many features and 22 photographs"):
        pca_projection(features, 21, whiten=False)
    with pytest.raises(NoseprintError, match="got 20, 6"):
        pca_projection(features[:6], 6, whiten=False)
    flat = features[:, :2] @ np.eye(2, 5, dtype=np.float32)
    with pytest.raises(NoseprintError, match="vary in 2 directions only, not 3"):
        pca_projection(flat, 3, whiten=True)
    with pytest.raises(NoseprintError, match="not finite"):
        pca_projection(np.where(features > 12, np.inf, features), 3, whiten=False)


def test_a_random_projection_keeps_lengths_on_average_and_depends_on_its_seed():
    weight, bias = random_projection(1000, 64, seed=3)
    vectors = F.normalize(torch.randn(200, 1000, generator=torch.Generator().manual_seed(0)))
    assert (vectors @ weight.T).pow(2).sum(dim=1).mean() == pytest.approx(1, abs=0.05)
    assert torch.equal(weight, random_projection(1000, 64, seed=3)[0])
    assert not torch.equal(weight, random_projection(1000, 64, seed=4)[0])
    assert not bias.any()


def test_joined_networks_see_what_each_saw(images, tmp_path):
    one, two = build(), build(VIT, seed=1, pooling="token", stride=10, mean=(0.1, 0.2, 0.3), std=(1, 1, 1))
    features = torch.cat([one.features(images), two.features(images)], dim=1).detach()
    blocks = side_by_side([projection_of(one), projection_of(two)])
    whole = join([one, two], projection=blocks)
    torch.testing.assert_close(whole.features(images), features)
    parts = [F.linear(n.features(images), n.projection.weight, n.projection.bias) for n in (one, two)]
    torch.testing.assert_close(whole.embed(images), F.normalize(torch.cat(parts, dim=1)))
    pca = pca_projection(apply(blocks, features.numpy()), 3, whiten=False)
    small = join([one, two], projection=compose(blocks, pca))
    expected = F.normalize(torch.from_numpy(apply(pca, apply(blocks, features.numpy()))).float())
    torch.testing.assert_close(small.embed(images), expected, atol=1e-4, rtol=1e-4)
    save_weights(tmp_path / "small.safetensors", small, extra={})
    assert torch.equal(load_network(tmp_path / "small.safetensors").embed(images), small.embed(images))
    three = join([small, one], projection=random_projection(256 + 64 + 256, 4, seed=0))
    assert [plan.backbone for plan in three.plan] == [CNN, VIT, CNN]


def test_join_refuses_what_does_not_fit():
    one, two = build(), build(VIT)
    with pytest.raises(NoseprintError, match="networks for 32 and 48 pixels: give them one size"):
        join([one, with_size(two, 48)], projection=side_by_side([projection_of(one), projection_of(two)]))
    with pytest.raises(NoseprintError, match="a projection of 256 features does not fit networks with 320"):
        join([one, two], projection=side_by_side([projection_of(one)]))


def test_a_mixture_gives_each_part_its_share_of_the_squared_length(features):
    learnt, pca = random_projection(20, 8, seed=0), pca_projection(features, 8, whiten=False)
    for dims in ((8, 8), (3, 5), (6, 2)):
        rows = apply(mixture(learnt, pca, dims=dims, features=features), features)
        first, second = mean_square(rows[:, : dims[0]]), mean_square(rows[:, dims[0] :])
        assert rows.shape[1] == sum(dims)
        assert first / second == pytest.approx(dims[0] / dims[1], rel=1e-4)


def test_a_mixture_keeps_the_dimensions_that_say_most(features):
    learnt, pca = random_projection(20, 8, seed=0), pca_projection(features, 8, whiten=False)
    rows = apply(mixture(learnt, pca, dims=(8, 3), features=features), features)
    whole = apply(learnt, features)
    np.testing.assert_allclose(rows[:, :8] / whole, np.full_like(whole, rows[0, 0] / whole[0, 0]), rtol=1e-3)
    first_three = apply(pca, features)[:, :3]
    unit = [part / np.linalg.norm(part, axis=0) for part in (rows[:, 8:], first_three)]
    np.testing.assert_allclose(np.abs((unit[0] * unit[1]).sum(axis=0)), 1, atol=1e-4)
    cut = apply(mixture(learnt, pca, dims=(4, 8), features=features), features)[:, :4]
    found, best = (np.linalg.svd(part, compute_uv=False)[:4] for part in (cut, whole))
    np.testing.assert_allclose(found / found[0], best / best[0], rtol=1e-4)
    with pytest.raises(NoseprintError, match=r"9 dimensions of 20 features cannot come from .* 20 features to 8"):
        mixture(learnt, pca, dims=(9, 3), features=features)
    with pytest.raises(NoseprintError, match="gives 0 for all features"):
        mixture((torch.zeros(8, 20), torch.zeros(8)), pca, dims=(8, 3), features=features)


@pytest.fixture
def files(tmp_path):
    """Weights of three networks that share their projection; their first layers differ by 0, 1 and -3."""
    network, paths = build(), []
    for number, shift in enumerate((0.0, 1.0, -4.0)):
        with torch.no_grad():
            network.backbone.model.conv_stem.weight += shift
        paths.append(tmp_path / f"{number}.safetensors")
        save_weights(paths[-1], network, extra={})
    return paths


def stem(network):
    return network.backbone.model.conv_stem.weight.detach()


def test_a_soup_is_the_mean_of_networks_that_share_their_projection(files):
    mean = sum(stem(load_network(path)) for path in files) / 3
    torch.testing.assert_close(stem(soup(files)), mean)
    assert torch.equal(soup(files).projection.weight, build().projection.weight)


def test_a_greedy_soup_keeps_what_does_not_lower_the_score(files):
    start = stem(build()).mean()

    def closeness(network, *, to):
        return -abs(float(stem(network).mean() - start) - to)

    assert greedy_soup(files, score=partial(closeness, to=0.2)) == (files[0],)  # with the second it would be at 0.5
    assert greedy_soup(files, score=partial(closeness, to=0.6)) == (files[1], files[0])


def test_independent_networks_are_not_averaged(files, tmp_path):
    other = tmp_path / "other.safetensors"
    network = build()
    with torch.no_grad():
        network.projection.bias[3] = network.projection.bias[3].nextafter(torch.tensor(9.0))
    save_weights(other, network, extra={})
    for mix in (soup, lambda paths: greedy_soup(paths, score=lambda _: 1.0)):
        with pytest.raises(
            NoseprintError, match=r"other\.safetensors and .*0\.safetensors do not share their projection"
        ):
            mix([*files, other])
    with pytest.raises(NoseprintError, match="at least one"):
        soup([])
