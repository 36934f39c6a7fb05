from pathlib import Path

import numpy as np
import pytest
import torch

from noseprint.data.transforms import A
from noseprint.errors import NoseprintError
from noseprint.models import openvino_runtime as runtime
from noseprint.models.embed import embed_images, embed_with, embedder, run_on
from noseprint.models.network import SupConNet

from ..processes import run_script

CPU = torch.device("cpu")
BY_RANKS = str(Path(__file__).with_name("embed_by_ranks.py"))


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
    reference = embed(network, paths, "torch")
    assert reference.shape == (7, network.embedding_size)
    for engine in ("auto", "openvino"):
        embeddings = embed(network, paths, engine)
        assert embeddings.dtype == np.float32
        np.testing.assert_allclose((embeddings * reference).sum(1), 1, atol=5e-4)
    assert network.training


def test_auto_takes_openvino_on_a_cpu(network):
    assert isinstance(embedder(network.eval(), device=CPU, engine="auto"), runtime.CompiledNetwork)


def test_auto_takes_torch_without_openvino(network, paths, monkeypatch):
    monkeypatch.setattr(runtime, "is_installed", lambda: False)
    np.testing.assert_array_equal(embed(network, paths, "auto"), embed(network, paths, "torch"))
    with pytest.raises(NoseprintError, match="not installed"):
        embed(network, paths, "openvino")


def test_auto_takes_torch_where_openvino_fails(network, paths, monkeypatch, capsys):
    def fail(_):
        raise OSError("no such operation\nand many more lines")

    monkeypatch.setattr(runtime, "compile_network", fail)
    np.testing.assert_array_equal(embed(network, paths, "auto"), embed(network, paths, "torch"))
    message = "OpenVINO cannot run test_efficientnet.r160_in1k (no such operation); torch runs it instead\n"
    assert capsys.readouterr().err == message
    with pytest.raises(NoseprintError, match="pass --engine torch"):
        embed(network, paths, "openvino")


def test_openvino_is_for_cpus(network):
    with pytest.raises(NoseprintError, match="not on cuda"):
        embedder(network, device=torch.device("cuda"), engine="openvino")


def test_torch_is_the_default_and_leaves_openvino_alone(network, paths, monkeypatch):
    monkeypatch.setattr(runtime, "compile_network", None)  # calling it would fail
    embeddings = embed_images(network, paths, transform=A.Resize(32, 32), device=CPU, workers=0)
    assert embeddings.shape == (7, network.embedding_size)


def test_any_function_of_a_batch_can_run_on_photographs(network, paths):
    """Such as a classifier's logits; here, the training embedding."""
    run = run_on(network.eval(), CPU)
    rows = embed_with(run, paths, transform=A.Resize(32, 32), workers=0, batch_size=3, rows=range(2, 7))
    assert rows.shape == (5, network.dim)
    whole = embed_with(run, paths, transform=A.Resize(32, 32), workers=0, batch_size=7)
    np.testing.assert_allclose(rows, whole[2:], atol=1e-6)


def test_two_processes_embed_to_the_same_bits_as_one_with_random_transforms_too(demo, tmp_path):
    run_script(BY_RANKS, demo, tmp_path / "one.npz", log=tmp_path)
    run_script(BY_RANKS, demo, tmp_path / "two.npz", log=tmp_path, ranks=2)
    one, two = np.load(tmp_path / "one.npz"), np.load(tmp_path / "two.npz")
    assert one["all"].shape[0] > 20
    assert (one["few"].shape[0], one["one"].shape[0]) == (5, 1)
    for name in one.files:
        np.testing.assert_array_equal(one[name], two[name])
