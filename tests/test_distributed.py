import subprocess
import sys
from pathlib import Path

import pytest
import torch

from noseprint.devices import choose_device
from noseprint.distributed import gather
from noseprint.errors import NoseprintError

SCRIPT = str(Path(__file__).with_name("gradient_of_one_step.py"))
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def test_two_processes_make_the_gradient_of_one_with_the_whole_batch(tmp_path):
    subprocess.run([sys.executable, SCRIPT, tmp_path / "one.pt"], check=True, timeout=120)
    subprocess.run([*TORCHRUN, SCRIPT, tmp_path / "two.pt"], check=True, timeout=120)
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("one.pt", "two.pt"))
    assert one.keys() == two.keys()
    assert one["loss"] > 0.1
    for key, gradient in one.items():
        torch.testing.assert_close(two[key], gradient, rtol=1e-4, atol=1e-6, msg=key)
    largest = max(float(g.abs().max()) for k, g in one.items() if k != "loss")
    assert largest > 1e-2  # not a comparison of zeros


def test_alone_gather_gives_its_arguments():
    embeddings, labels = torch.rand(3, 2), torch.arange(3)
    assert gather(embeddings, labels) == (embeddings, labels)


@pytest.mark.parametrize("name", ["toaster", "cuda"])
def test_a_device_that_is_not_there_is_named(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(NoseprintError, match=f"--device {name}"):
        choose_device(name)
    assert choose_device("cpu") == torch.device("cpu")
