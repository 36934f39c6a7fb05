import subprocess
import sys
from pathlib import Path

import numpy as np

SCRIPT = str(Path(__file__).with_name("embed_shared_by_ranks.py"))
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def test_two_processes_make_the_embeddings_of_one_bit_for_bit_random_views_too(demo, tmp_path):
    subprocess.run([sys.executable, SCRIPT, str(demo), tmp_path / "one.npz"], check=True, timeout=120)
    subprocess.run([*TORCHRUN, SCRIPT, str(demo), tmp_path / "two.npz"], check=True, timeout=120)
    one, two = np.load(tmp_path / "one.npz"), np.load(tmp_path / "two.npz")
    assert one["whole"].shape[0] > 20
    assert (one["short"].shape[0], one["one"].shape[0]) == (5, 1)
    for name in one.files:
        np.testing.assert_array_equal(one[name], two[name])
