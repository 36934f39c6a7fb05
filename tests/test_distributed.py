import subprocess
import sys
from pathlib import Path

import pytest
import torch

from noseprint.distributed import gather, own_rows

from .processes import run_script

SCRIPT = str(Path(__file__).with_name("gradient_of_one_step.py"))
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.mark.parametrize("chunk", [(), ("4",)], ids=["direct", "in chunks"])
def test_two_processes_compute_the_gradient_of_one_process(tmp_path, chunk):
    run_script(SCRIPT, tmp_path / "one.pt", log=tmp_path)
    run_script(SCRIPT, tmp_path / "two.pt", *chunk, log=tmp_path, ranks=2)
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("one.pt", "two.pt"))
    assert one.keys() == two.keys()
    assert one["loss"] > 0.1
    for key, gradient in one.items():  # the embedding is float32: errors scale with the largest value
        torch.testing.assert_close(two[key], gradient, rtol=0, atol=1e-5 * float(gradient.abs().max()), msg=key)
    largest = max(float(g.abs().max()) for k, g in one.items() if k != "loss")
    assert largest > 1e-2  # the gradients are not all zero


def test_gather_in_one_process_returns_its_arguments():
    embeddings, labels = torch.rand(3, 2), torch.arange(3)
    assert gather(embeddings, labels) == (embeddings, labels)


@pytest.mark.parametrize(("rows", "block", "ranks"), [(0, 4, 2), (1, 4, 3), (13, 4, 2), (64, 4, 3), (100, 1, 7)])
def test_ranks_share_all_rows_in_whole_blocks(rows, block, ranks, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: ranks)
    shares = []
    for rank in range(ranks):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        shares.append(own_rows(rows, block=block))
    assert [row for share in shares for row in share] == list(range(rows))
    assert all(share.start % block == 0 for share in shares if share)
    sizes = [-(-len(share) // block) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_the_same_error_on_all_ranks_is_printed_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("""
import os, sys
from noseprint.errors import NoseprintError
from noseprint.command_line import friendly_errors
with friendly_errors():
    raise NoseprintError("every rank" if sys.argv[1] == "same" else f"rank {os.environ['RANK']}")
""")
    for kind, messages in (("same", ["error: every rank"]), ("different", ["error: rank 0", "error: rank 1"])):
        done = subprocess.run([*TORCHRUN, script, kind], capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        printed = sorted(line for line in done.stderr.splitlines() if line.startswith("error: "))
        assert printed
        # torchrun may stop one rank before it prints its own error
        assert set(printed) <= set(messages)
        assert len(set(printed)) == len(printed)
