"""A tiny training of instances in phases. Run as a program, FOLDER RESULTS: with two processes."""

import atexit
import os
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from noseprint.command_line import friendly_errors
from noseprint.data.instances import InstanceTable
from noseprint.data.transforms import A
from noseprint.losses.margin_options import Margin
from noseprint.models.projection_net import ProjectionNet
from noseprint.tasks import phases as phases_module
from noseprint.tasks.instances import InstanceTask
from noseprint.tasks.phase_options import InstanceOptions, TrainingPhase
from noseprint.tasks.phases import run_phases

SIZE = 32
DOMAINS = ("things", "pets")
CONVOLUTIONAL, TRANSFORMER = "test_efficientnet.r160_in1k", "test_vit.r160_in1k"


def draw_images(folder, *, identities=12, each=4):
    """Of each identity some noisy images of one colour. Those of the first domain come first."""
    folder.mkdir()
    for number in range(identities):
        for image in range(each):
            random = np.random.default_rng((number, image))
            colour = np.random.default_rng(number).integers(0, 256, 3)
            pixels = np.clip(colour + random.normal(0, 30, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{number:02}_{image}.png"), pixels)


def read(folder):
    paths = tuple(sorted(folder.glob("*.png")))
    identities = tuple(path.stem.partition("_")[0] for path in paths)
    middle = len(set(identities)) / 2
    domains = tuple(DOMAINS[int(identity) >= middle] for identity in identities)
    parts = tuple("val" if int(identity) % 3 == 2 else "train" for identity in identities)
    return InstanceTable(paths, identities, domains, parts, ("both",) * len(paths), tuple(p.name for p in paths))


def options(**changes):
    base = {"data": Path(), "part": "tiny", "method": "ladder", "dim": 8, "floor": 4, "device": "cpu", "workers": 0}
    return InstanceOptions(**{**base, **changes})


def phase(name="all", **changes):
    return TrainingPhase(**{"name": name, "epochs": 2, "lr": 1e-2, "batch_size": 8, "warmup": 0.0, **changes})


def network(backbone=CONVOLUTIONAL, *, image_size=SIZE, **more):
    torch.manual_seed(0)
    given = {"dim": 8, "dropout": 0.1, "pretrained": False, "freeze_batch_norm": True, **more}
    return ProjectionNet(backbone, image_size=image_size, **given)


def transforms():
    return {
        "training_transform": lambda size: A.Compose([A.Resize(size, size), A.HorizontalFlip(p=0.5)]),
        "evaluation_transform": lambda size: A.Resize(size, size),
    }


def task(table, *, net=None, of=None, train=None, **more):
    of = of or phase()
    return InstanceTask(
        net or network(),
        phase=of,
        options=options().of(of),
        train=table.part("train") if train is None else train,
        holdout=table.part("val"),
        **more,
        **transforms(),
    )


LADDER = (
    phase("head", trains=("head", "classifier"), epochs=1),
    phase("backbone", trains=("backbone",), optimizer="sgd", backbone_lr_scale=0.1, domains=("pets",), epochs=1),
    phase("large", size=40, layer_decay=0.5, margin=Margin(growth=0.1), epochs=1),
)
PLAIN_LADDER = tuple(replace(one, optimizer="sgd", lr=1e-2) for one in LADDER)
"""For processes that compute sums in another order: AdamW makes a small difference of a small gradient a large one."""


class Stopping(InstanceTask):
    """Asks the process to stop at the loss number `stop_at`, counted over all phases."""

    stop_at, done = None, 0

    def loss(self, forward, batch):
        Stopping.done += 1
        if Stopping.done == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().loss(forward, batch)


def train(results, table, ladder=LADDER, *, stop_at=None, net=None, classifier=None, **changes):
    Stopping.stop_at, Stopping.done = stop_at, 0
    phases_module.InstanceTask = Stopping
    return run_phases(
        net or network(),
        ladder,
        options=options(**changes),
        results=results,
        train=table.part("train"),
        holdout=table.part("val"),
        classifier=classifier,
        **transforms(),
    )


def begin_ranks(size: int) -> None:
    """Go on as `size` processes, as torchrun would start them; rank 0 waits for the others, and fails if one does.

    They are forked: loading torch takes longer than the training.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
    os.environ.update(world)
    children = []
    for rank in range(1, size):
        if not (child := os.fork()):
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
            return
        children.append(child)
    os.environ.update(RANK="0", LOCAL_RANK="0")
    atexit.register(wait_for_ranks, children)


def wait_for_ranks(children: list[int]) -> None:
    if any(os.waitpid(child, 0)[1] for child in children):
        os._exit(1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    begin_ranks(2)
    with friendly_errors():  # without dropout, of which each process has its own
        train(Path(sys.argv[2]), read(Path(sys.argv[1])), PLAIN_LADDER, net=network(dropout=0.0))
