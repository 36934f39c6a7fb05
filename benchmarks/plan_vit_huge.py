"""What each phase of recipes/universal_embedding costs with ViT-H/14, planned without weights or a GPU.

    python benchmarks/plan_vit_huge.py [--method published] [--classes 10000] [--tflops 60]

For each phase, it prints the memory of a step and its time at --tflops TFLOP/s. In large matrix products, an RTX 3090
reaches about 60 of the 71 that its data sheet states for bfloat16; a training reaches less.
"""

import sys
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import torch
import tyro

from noseprint.losses.margin import MarginSoftmax
from noseprint.models.projection_net import ProjectionNet
from noseprint.tasks.phase_options import TrainingPhase
from noseprint.training.step_cost import StepCost, step_cost

FAMILY = Path(__file__).parents[1] / "recipes" / "universal_embedding"


@dataclass(frozen=True)
class Options:
    method: str = "published"
    """One of those that phases/phases.py names."""
    backbone: str = "vit_huge_patch14_clip_224.laion2b"
    dim: int = 64
    classes: int = 10_000
    batch_size: int | None = None
    """None: that of each phase."""
    tflops: float = 60.0
    """Sustained TFLOP/s of the GPU."""


def ladder(method: str) -> list[TrainingPhase]:
    """All phases of a method, at the normal size and at higher ones."""
    found = []
    for folder in ("phases", "large"):
        sys.path.insert(0, str(FAMILY / folder))
        sys.modules.pop("phases", None)
        found += import_module("phases").METHODS.get(method, ())
        sys.path.pop(0)
        sys.modules.pop("phases", None)
    return found


def plan(phase: TrainingPhase, *, options: Options, size: int, stride: int | None) -> StepCost:
    """The cost of a step of the phase."""
    with torch.device("meta"):
        network = ProjectionNet(
            options.backbone, dim=options.dim, image_size=size, stride=stride, pretrained=False, freeze_batch_norm=True
        )
        criterion = MarginSoftmax(options.classes, options.dim, kind=phase.margin.kind, centres=phase.margin.centres)
    network.requires_grad_(False)
    for name, part in (("backbone", network.backbone), ("head", network.projection), ("classifier", criterion)):
        part.requires_grad_(name in phase.trains)
    return step_cost(network, criterion, batch_size=phase.batch_size, optimizer=phase.optimizer)


def main(options: Options) -> None:
    print(
        f"{options.backbone}, {options.classes} classes; memory in GiB, weights with the averaged ones; "
        f"time at {options.tflops:g} TFLOP/s"
    )
    names = ("px", "batch", "learned", "weights", "grad.", "optim.", "activ.", "all", "TFLOP", "s/step", "img/s")
    print(f"{'phase':24}" + "".join(f"{name:>9}" for name in names))
    size, stride = 224, None
    for given in ladder(options.method):
        phase = replace(given, batch_size=options.batch_size or given.batch_size)
        size, stride = phase.size or size, phase.stride or stride
        cost = plan(phase, options=options, size=size, stride=stride)
        seconds = cost.operations / options.tflops / 1e12
        shares = (cost.weights, cost.gradients, cost.optimizer, cost.activations, cost.memory)
        row = [f"{size}", f"{phase.batch_size}", f"{cost.learned / 1e6:.1f}M", *(f"{n / 2**30:.1f}" for n in shares)]
        row += [f"{cost.operations / 1e12:.1f}", f"{seconds:.2f}", f"{phase.batch_size / seconds:.0f}"]
        print(f"{phase.name:24}" + "".join(f"{text:>9}" for text in row), flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
