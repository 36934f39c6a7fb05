"""A tiny embedding training, for the tests of the loop. Run as a program: DATA RESULTS [--workers N] [--slow S]
[--die-at STEP], alone or under torchrun."""

import argparse
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import torch
from pytorch_metric_learning.losses import SupConLoss

from noseprint.command_line import friendly_errors
from noseprint.data.tables import read_train
from noseprint.data.transforms import A
from noseprint.distributed import gather
from noseprint.models.network import SupConNet
from noseprint.tasks.embedding import EmbeddingTask
from noseprint.tasks.embedding_options import EmbeddingOptions
from noseprint.training.fit import fit

BACKBONE, SIZE = "test_efficientnet.r160_in1k", 32


def options(data=Path(), **changes):
    base = EmbeddingOptions(data=data, epochs=2, batch_size=16, lr=1e-3, device="cpu", workers=0, holdout=0.2)
    return replace(base, **changes)


def network():
    torch.manual_seed(0)
    return SupConNet(BACKBONE, image_size=SIZE, dim=16, pretrained=False)


def task(table, chosen, *, net=None, loss=None, pseudo=None, **more):
    supcon = SupConLoss(temperature=0.07)
    return EmbeddingTask(
        net or network(),
        options=chosen,
        labelled=table,
        pseudo=pseudo,
        training_transform=lambda size: A.Compose([A.Resize(size, size), A.HorizontalFlip(p=0.5)]),
        evaluation_transform=lambda size: A.Resize(size, size),
        loss=loss or (lambda forward, images, labels: supcon(*gather(forward(images), labels))),
        **more,
    )


def train(results, table, chosen, **more):
    fit(task(table, chosen, **more), results=results, options=chosen)


def records(results):
    return [json.loads(line) for line in (results / "metrics.jsonl").read_text().splitlines()]


class Interrupting:
    """SupCon that does something at step number `at`: by default it asks the process to stop, as Ctrl-C does."""

    def __init__(self, at, act=lambda: os.kill(os.getpid(), signal.SIGINT)):
        self.at, self.act, self.done = at, act, 0
        self.loss = SupConLoss(temperature=0.07)

    def __call__(self, forward, images, labels):
        self.done += 1
        if self.done == self.at:
            self.act()
        return self.loss(*gather(forward(images), labels))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--slow", type=float, default=0)
    parser.add_argument("--die-at", type=int)
    given = parser.parse_args()
    torch.set_num_threads(1)
    supcon = Interrupting(None)

    def step(forward, images, labels):
        loss = supcon(forward, images, labels)
        if supcon.done == given.die_at and os.environ.get("RANK", "0") == os.environ.get("DYING_RANK", "0"):
            os.kill(os.getpid(), signal.SIGKILL)
        if given.slow:
            print(f"step {supcon.done}", flush=True)
            time.sleep(given.slow)
        return loss

    with friendly_errors():
        chosen = options(given.data, epochs=4, save_every=2, workers=given.workers)
        train(given.results, read_train(given.data), chosen, loss=step)


if __name__ == "__main__":
    main()
