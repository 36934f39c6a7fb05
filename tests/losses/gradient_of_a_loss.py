"""Write the gradients of losses that ranks share, for test_embedding_loss.py; also under torchrun. OUT [CHUNK]"""

import sys
from pathlib import Path

import torch
from torch import nn

from noseprint.data.datasets import Sample
from noseprint.data.tables import ImageTable
from noseprint.data.transforms import A
from noseprint.distributed import join_world
from noseprint.models.network import SupConNet
from noseprint.tasks.embedding import EmbeddingTask
from noseprint.tasks.embedding_options import EmbeddingOptions
from noseprint.training.plan import Plan
from noseprint.training.step import TrainingStep

torch.set_num_threads(1)
labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 4])
share = {0: labels <= 2, 1: labels > 2}  # nine rows on rank 0, three on rank 1
images = torch.randint(0, 256, (len(labels), 3, 32, 32), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
with join_world("cpu") as world:
    gradients = {}
    for name in ("arcface", "triplet+smoothing"):
        torch.manual_seed(0)
        network = SupConNet("test_efficientnet.r160_in1k", image_size=32, dim=16, pretrained=False)
        chunk_size = int(sys.argv[2]) if len(sys.argv) > 2 else None
        options = EmbeddingOptions(
            data=Path(), epochs=1, batch_size=12, lr=1e-3, clip_norm=1e9, chunk_size=chunk_size, loss=name, holdout=0
        )
        task = EmbeddingTask(
            network,
            options=options,
            labelled=ImageTable((Path(),) * 5, tuple("abcde")),
            training_transform=lambda size: A.Resize(size, size),
            evaluation_transform=lambda size: A.Resize(size, size),
        )
        step = TrainingStep(
            task, options=options, world=world, plan=Plan(options, epoch_steps=1), epoch_steps=1, results=Path()
        )
        mine = share[world.rank] if world.size > 1 else torch.ones_like(labels, dtype=torch.bool)
        gradients[f"{name} value"] = step.update(0, Sample(images[mine], labels[mine], torch.arange(12)[mine]))
        parts: dict[str, nn.Module] = {"network": network, "loss": task.criterion}
        for part, module in parts.items():
            gradients |= {f"{name} {part}.{key}": p.grad for key, p in module.named_parameters()}
    if world.is_main:
        torch.save(gradients, sys.argv[1])
