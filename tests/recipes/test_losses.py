"""`--loss` of every recipe."""

import subprocess
import sys
from typing import get_args

import pytest

from noseprint.losses import LossName

from .conftest import FOLDERS, ROOT, SHORT, TINY


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_unknown_loss_is_refused_and_the_known_ones_are_listed(folder):
    command = [sys.executable, str(ROOT / folder / "train.py"), "--loss", "triplets"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    said = (done.stdout + done.stderr).replace(" ", "")
    assert all(name in said for name in get_args(LossName))


def test_a_training_does_not_continue_with_another_loss(checkout):
    options = (*TINY, *SHORT, "--no-pseudo")
    checkout.works("swin224_stage1/train.py", *options, "--loss", "triplet+smoothing")
    assert "loss was triplet+smoothing, is supcon" in checkout.run("swin224_stage1/train.py", *options).stderr
