import sys

import numpy as np
import pytest
import torch

from noseprint.data.transforms import A
from noseprint.errors import NoseprintError
from noseprint.models import openvino_runtime as runtime
from noseprint.models.embed import embed_images, embedder
from noseprint.models.network import SupConNet

CPU = torch.device("cpu")


@pytest.fixture
def network() -> SupConNet:
    torch.manual_seed(0)
    return SupConNet("test_efficientnet.r160_in1k", dim=8, image_size=32, pretrained=False)


@pytest.fixture
def paths(demo):
    return sorted((demo / "test" / "images").iterdir())[:7]


def embed(network, paths, engine, batch_size=3):
    transform = A.Resize(32, 32)
    return embed_images(
        network, paths, transform=transform, device=CPU, workers=0, batch_size=batch_size, engine=engine
    )


def test_each_engine_gives_the_same_embeddings(network, paths):
    whole = embed(network, paths, "torch")
    assert whole.shape == (7, network.embedding_size)
    for engine in ("auto", "openvino"):
        found = embed(network, paths, engine)
        assert found.dtype == np.float32
        np.testing.assert_allclose((found * whole).sum(1), 1, atol=5e-4)
    assert network.training


def test_openvinos_bytes_do_not_depend_on_the_batch(network, paths):
    np.testing.assert_array_equal(embed(network, paths, "openvino"), embed(network, paths, "openvino", batch_size=7))


def test_auto_takes_openvino_on_a_cpu(network):
    assert isinstance(embedder(network.eval(), device=CPU, engine="auto"), runtime.Runtime)


def test_auto_without_openvino_is_torch(network, paths, monkeypatch):
    monkeypatch.setattr(runtime, "available", lambda: False)
    np.testing.assert_array_equal(embed(network, paths, "auto"), embed(network, paths, "torch"))
    with pytest.raises(NoseprintError, match="not installed"):
        embed(network, paths, "openvino")


def test_auto_goes_on_with_torch_where_openvino_fails(network, paths, monkeypatch, capsys):
    def fail(_):
        raise OSError("no such operation\nand a long tale")

    monkeypatch.setattr(runtime, "open_runtime", fail)
    np.testing.assert_array_equal(embed(network, paths, "auto"), embed(network, paths, "torch"))
    told = capsys.readouterr().err
    assert told == "OpenVINO cannot run test_efficientnet.r160_in1k (no such operation); torch does\n"
    with pytest.raises(NoseprintError, match="take --engine torch"):
        embed(network, paths, "openvino")


def test_openvino_is_for_cpus(network):
    with pytest.raises(NoseprintError, match="not on cuda"):
        embedder(network, device=torch.device("cuda"), engine="openvino")


def test_torch_is_the_default_and_leaves_openvino_alone(network, paths, monkeypatch):
    monkeypatch.setattr(runtime, "open_runtime", None)
    embed_images(network, paths, transform=A.Resize(32, 32), device=CPU, workers=0)
    assert sys.modules["noseprint.models.openvino_runtime"].open_runtime is None
