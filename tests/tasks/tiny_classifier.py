"""A tiny classification. Run as a program: FOLDER RESULTS [OPTION=VALUE ...], alone or under torchrun."""

import ast
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from noseprint.command_line import friendly_errors
from noseprint.data.transforms import A
from noseprint.models.classifier import ClassifierNet
from noseprint.tasks.classification import ClassificationTask
from noseprint.tasks.classification_options import ClassificationOptions
from noseprint.training.fit import fit


@dataclass(frozen=True)
class Images:
    paths: tuple
    labels: tuple
    groups: tuple | None = None

    def where(self, keep):
        rows = [row for row, kept in enumerate(keep) if kept]
        return Images(*(column and tuple(column[row] for row in rows) for column in vars(self).values()))


def read(folder):
    paths = tuple(sorted(folder.glob("*/*.jpg")))
    return Images(paths, tuple(path.parent.name for path in paths))


def options(**changes):
    base = ClassificationOptions(
        data=Path(), epochs=2, batch_size=8, lr=3e-3, device="cpu", workers=0, holdout=0.25, smoothing=0.1, dropout=0.1
    )
    return replace(base, **changes)


def network(classes, *, dropout=0.0, **more):
    torch.manual_seed(0)
    given = {"image_size": 32, "pretrained": False, "freeze_batch_norm": True, **more}
    return ClassifierNet("test_efficientnet.r160_in1k", heads={"label": classes}, dropout=dropout, **given)


class Stopping(ClassificationTask):
    """Asks the process to stop at the loss number `stop_at`, and keeps the batches that it has seen."""

    stop_at = None

    def loss(self, forward, batch):
        self.seen = [*getattr(self, "seen", []), (batch.row.tolist(), batch.image.clone())]
        if len(self.seen) == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().loss(forward, batch)


def task(images, chosen, *, classes=None, net=None, **more):
    return Stopping(
        net or network(classes or sorted(set(images.labels)), dropout=chosen.dropout),
        options=chosen,
        images=images,
        training_transform=lambda size: A.Compose([A.Resize(size, size), A.HorizontalFlip(p=0.5)]),
        evaluation_transform=lambda size: A.Resize(size, size),
        **more,
    )


def train(results, images, chosen, *, stop_at=None, **more):
    made = task(images, chosen, **more)
    made.stop_at = stop_at
    fit(made, results=results, options=chosen)
    return made


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = (argument.split("=") for argument in sys.argv[3:])
    chosen = options(**{name: ast.literal_eval(value) for name, value in given})
    with friendly_errors():
        train(Path(sys.argv[2]), read(Path(sys.argv[1])), chosen)
