"""A classification recipe in a few lines, to show that `fit` trains any task: a folder of classes in, accuracy out.

Run as a program: FOLDER RESULTS [--stop-at STEP], alone or under torchrun.
"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from noseprint.command_line import friendly_errors
from noseprint.data.datasets import PlainImages, TrainingImages
from noseprint.data.holdout import holdout_rows
from noseprint.data.samplers import ShuffledBatches, epoch_steps
from noseprint.data.transforms import A
from noseprint.distributed import gather
from noseprint.models.classifier import ClassifierNet
from noseprint.training.fit import fit
from noseprint.training.fit_options import FitOptions
from noseprint.training.task import Part, Phase, Scores, Task


class ClassificationTask(Task):
    def __init__(self, folder, options, *, stop_at=None):
        self.paths = sorted(folder.glob("*/*.jpg"))
        self.classes = sorted({path.parent.name for path in self.paths})
        self.targets = np.array([self.classes.index(path.parent.name) for path in self.paths])
        self.options, self.stop_at, self.calls = options, stop_at, 0
        torch.manual_seed(options.seed)
        self.network = ClassifierNet(
            "test_efficientnet.r160_in1k",
            heads={"class": self.classes},
            image_size=32,
            pretrained=False,
            freeze_batch_norm=True,
        )
        self.criterion = nn.Module()

    def prepare(self, world, results):
        self.world = world
        held_out = holdout_rows(self.targets.tolist(), share=0.25)
        self.train, self.held_out = np.flatnonzero(~held_out), np.flatnonzero(held_out)

    def dataset(self):
        paths = [self.paths[row] for row in self.train]
        transform = A.Compose([A.Resize(32, 32), A.HorizontalFlip(p=0.5)])
        return TrainingImages(paths, self.targets[self.train], transform=transform, seed=self.options.seed)

    @property
    def epoch_steps(self):
        return epoch_steps(len(self.train), self.options.batch_size)

    def batches(self, *, steps, first_step):
        return ShuffledBatches(
            len(self.train), batch_size=self.options.batch_size, steps=steps, seed=self.options.seed,
            first_step=first_step, rank=self.world.rank, world_size=self.world.size,
        )  # fmt: skip

    def parts(self):
        return Part("backbone", self.network.backbone, lr_scale=0.5), Part("heads", self.network.heads)

    def phases(self):
        return Phase(1 / self.options.epochs, trains=("heads",), lr=3e-3), Phase(1 - 1 / self.options.epochs)

    def loss(self, forward, batch):
        self.calls += 1
        if self.calls == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return F.cross_entropy(*gather(forward(batch.image), batch.target))

    def score(self, network, *, untrained=False):
        if not self.world.is_main:
            return None
        images = PlainImages([self.paths[row] for row in self.held_out], transform=A.Resize(32, 32))
        with torch.inference_mode():
            logits = network(torch.stack([images[i] for i in range(len(images))]))
        right = logits.argmax(1).numpy() == self.targets[self.held_out]
        groups = self.held_out.astype(str)
        accuracy = float(right.mean())
        return Scores({"accuracy": accuracy}, "accuracy", f"{len(right)} images", right.astype(float), groups)

    def header(self):
        return {}

    def settings(self):
        return {"images": str(len(self.paths))}

    def describe(self):
        return f"{len(self.train)} images of {len(self.classes)} classes"

    def identify(self, rows):
        return [(self.classes[self.targets[self.train[row]]], self.paths[self.train[row]]) for row in rows]


OPTIONS = FitOptions(data=Path(), epochs=3, batch_size=8, lr=2e-3, device="cpu", workers=0, optimizer="radam",
                     schedule="restarts", cycles=2)  # fmt: skip


def train(folder, results, *, stop_at=None, **changes):
    chosen = replace(OPTIONS, **changes)
    fit(ClassificationTask(folder, chosen, stop_at=stop_at), results=results, options=chosen)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with friendly_errors():
        train(Path(sys.argv[1]), Path(sys.argv[2]), stop_at=int(sys.argv[3]) if len(sys.argv) > 3 else None)
