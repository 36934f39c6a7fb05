"""Loads the batches of a training."""

from typing import Any

from torch.utils.data import DataLoader

from noseprint.data.datasets import begin_worker
from noseprint.data.samplers import Batches
from noseprint.devices import default_workers
from noseprint.distributed import World
from noseprint.training.fit_options import FitOptions
from noseprint.training.task import Task


def training_loader(task: Task, batches: Batches, *, options: FitOptions, world: World) -> DataLoader[Any]:
    """The loader of `batches` of the task's training samples, as `Sample`."""
    workers = default_workers(world.device) if options.workers is None else options.workers
    return DataLoader(
        task.dataset(),
        batch_sampler=batches,
        num_workers=workers,
        worker_init_fn=begin_worker,
        pin_memory=world.device.type == "cuda",
        prefetch_factor=4 if workers else None,
    )
