"""Run by the tests of interruptions, alone or under torchrun: DATA RESULTS [--workers N] [--slow S] [--die-at STEP]."""

import argparse
import itertools
import os
import signal
import time
from pathlib import Path

import torch
from pytorch_metric_learning.losses import SupConLoss

from noseprint.command_line import friendly_errors
from noseprint.data.tables import read_train
from noseprint.data.transforms import A
from noseprint.distributed import gather
from noseprint.models.network import SupConNet
from noseprint.training.fit import fit
from noseprint.training.fit_options import FitOptions

parser = argparse.ArgumentParser()
parser.add_argument("data", type=Path)
parser.add_argument("results", type=Path)
parser.add_argument("--workers", type=int, default=0)
parser.add_argument("--slow", type=float, default=0)
parser.add_argument("--die-at", type=int)
given = parser.parse_args()

torch.set_num_threads(1)
torch.manual_seed(0)
loss = SupConLoss(temperature=0.07)
steps = itertools.count(1)


def step(network: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    done = next(steps)
    if done == given.die_at and os.environ.get("RANK", "0") == os.environ.get("DYING_RANK", "0"):
        os.kill(os.getpid(), signal.SIGKILL)
    if given.slow:
        print(f"step {done}", flush=True)
        time.sleep(given.slow)
    return loss(*gather(network(images), labels))


with friendly_errors():
    fit(
        SupConNet("test_efficientnet.r160_in1k", image_size=32, dim=16, pretrained=False),
        step=step,
        labelled=read_train(given.data),
        training_transform=A.Compose([A.Resize(32, 32), A.HorizontalFlip(p=0.5)]),
        evaluation_transform=A.Resize(32, 32),
        results=given.results,
        options=FitOptions(
            data=given.data, epochs=4, batch_size=16, lr=1e-3, device="cpu", holdout=0.2, save_every=2,
            workers=given.workers,
        ),
    )  # fmt: skip
