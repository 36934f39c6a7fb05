"""How fast do the networks of recipes/ train at full size on this device, and how much memory do they need?

    python benchmarks/gpu_recipes.py                            all of them, on CUDA
    python benchmarks/gpu_recipes.py --networks student b4      some of them
    python benchmarks/gpu_recipes.py --small --device cpu --steps 2 --networks student     without a GPU

The images are random and already on the device; benchmarks/input.py measures the loader. A row is one update with the
options of the recipe's train.py. A batch larger than 512 is cut to 512, and passes through the network in chunks, as
in the recipe. The phases of ViT-H/14 are those of the 1st place, with 10,000 identities.
"""

import argparse
import runpy
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from gpu import forget_memory, most_memory, seconds
from plan_vit_huge import ladder

from noseprint.data.class_tables import ClassTable
from noseprint.data.datasets import Sample
from noseprint.data.instances import InstanceTable
from noseprint.data.transforms import A
from noseprint.devices import choose_device, reuse_freed_memory
from noseprint.distributed import World
from noseprint.models.projection_net import ProjectionNet, with_size
from noseprint.tasks.classification import ClassificationTask
from noseprint.tasks.instances import InstanceTask
from noseprint.tasks.phase_options import InstanceOptions
from noseprint.training.plan import Plan
from noseprint.training.step import TrainingStep
from noseprint.training.task import Task

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
CLASSIFIERS = {  # name: folder, and --part
    "resnet50": ("product_hierarchy/members", "resnet50"),
    "resnet101": ("product_hierarchy/members", "resnet101"),
    "resnet152": ("product_hierarchy/members", "resnet152"),
    "densenet161": ("product_hierarchy/members", "densenet161"),
    "seresnext50": ("product_hierarchy/members", "seresnext50"),
    "teacher": ("style_mobile/teacher", ""),
    "student": ("style_mobile/student", ""),
    "b4": ("web_finegrained/b4", ""),
    "b5": ("web_finegrained/b5", ""),
}
TRAIN: Final = "train"
CLASSES = 100
IDENTITIES = 10_000
MOST = 512  # images in a batch


def module(folder: Path, name: str) -> dict[str, Any]:
    """The names of a script that imports the scripts beside it."""
    for other in ("dataset", "model", "task"):
        sys.modules.pop(other, None)
    sys.path.insert(0, str(folder))
    try:
        return runpy.run_path(str(folder / name))
    finally:
        sys.path.remove(str(folder))


def resize(side: int) -> A.BasicTransform:
    return A.Resize(side, side)


def classifier(name: str, images: tuple[Path, ...], *, small: bool) -> tuple[Task, Any, int]:
    """The task of a recipe's network, its options and the side of its training images."""
    folder, part = RECIPES / CLASSIFIERS[name][0], CLASSIFIERS[name][1]
    options = module(folder, "task.py" if part else "train.py")["SMALL" if small else "FULL"]
    model = module(folder, "model.py")
    backbone = model["BACKBONES"][part] if part else options.backbone
    batch = min(options.batch_size, MOST)
    chunk = options.chunk_size if (options.chunk_size or batch) < batch else None
    options = replace(options, batch_size=batch, chunk_size=chunk, workers=0)
    neck = {"hidden": options.hidden} if hasattr(options, "hidden") else {}
    torch.manual_seed(0)
    network = model["build_model"](
        [f"class {number}" for number in range(CLASSES)],
        backbone,
        image_size=options.image_size,
        pretrained=False,
        pooling=options.pooling,
        dropout=options.dropout,
        **neck,
    )
    table = ClassTable(
        images, network.classes["label"], tuple(TRAIN for _ in images), tuple(path.name for path in images)
    )
    task = ClassificationTask(
        network,
        options=options,
        images=table,
        holdout=table,
        training_transform=resize,
        evaluation_transform=resize,
    )
    return task, options, options.train_size or network.image_size


def vit_huge(images: tuple[Path, ...]) -> Iterator[tuple[str, InstanceTask, InstanceOptions, int]]:
    """The phases that differ in size or in what they train."""
    network = ProjectionNet(
        "vit_huge_patch14_clip_224.laion2b", dim=64, image_size=224, pretrained=False, freeze_batch_norm=True
    )
    names = tuple(f"identity {number}" for number in range(IDENTITIES))
    table = InstanceTable(
        paths=images[:1] * IDENTITIES,
        identities=names,
        domains=("all",) * IDENTITIES,
        parts=tuple(TRAIN for _ in names),
        roles=("",) * IDENTITIES,
        names=names,
    )
    options = InstanceOptions(part="vit_h", method="published", data=Path(), workers=0)
    seen = set()
    for phase in ladder("published"):
        size, stride = phase.size or network.image_size, phase.stride
        if (size, stride or network.stride) != (network.image_size, network.stride):
            network = with_size(network, size, stride)
        if (size, network.stride, phase.trains) in seen or phase.trains in (("classifier",), ("head",)):
            continue
        seen.add((size, network.stride, phase.trains))
        of = options.of(phase)
        task = InstanceTask(
            network,
            phase=phase,
            options=of,
            train=table,
            holdout=table.part("val"),
            training_transform=resize,
            evaluation_transform=resize,
        )
        yield f"vit_h {phase.name}", task, of, size


def measure(
    name: str, task: Task, options: Any, size: int, *, classes: int, device: torch.device, steps: int, folder: Path
) -> None:
    """Print a row: images per second and the most memory that was in use."""
    forget_memory(device)
    task.prepare(World(0, 1, device), folder)
    plan = Plan(options, epoch_steps=100)
    step = TrainingStep(task, options=options, world=World(0, 1, device), plan=plan, epoch_steps=100, results=folder)
    batch = options.batch_size
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, device=device)
    sample = Sample(images, torch.arange(batch, device=device) % classes, torch.arange(batch))
    act: Callable[[], object] = lambda: step.update(1, sample)  # noqa: E731
    rate = batch / seconds(act, steps=steps, device=device)
    row = f"{name:34}{size:5}{batch:6}{options.chunk_size or '':>6}{rate:10.1f}{most_memory(device):7.1f}"
    print(row, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=[*CLASSIFIERS, "vit_h"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    device = choose_device(given.device)
    reuse_freed_memory()
    print(torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu")
    print(f"{'network':34}{'px':>5}{'batch':>6}{'chunk':>6}{'images/s':>10}{'GiB':>7}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = tuple(folder / f"{number}.png" for number in range(CLASSES))
        for number, path in enumerate(images):
            cv2.imwrite(str(path), np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8))
        for network in given.networks:
            if network == "vit_h":
                for label, phase, found, size in vit_huge(images):
                    options = replace(found, compile=given.compile)
                    measure(label, phase, options, size, classes=IDENTITIES, device=device, steps=3, folder=folder)
            else:
                task, options, size = classifier(network, images, small=given.small)
                options = replace(options, compile=given.compile)
                measure(network, task, options, size, classes=CLASSES, device=device, steps=given.steps, folder=folder)


if __name__ == "__main__":
    main()
