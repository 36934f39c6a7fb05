"""Run by test_losses.py, alone or under torchrun: OUT [CHUNK], each loss's gradients of a step that the ranks share."""

import sys
from pathlib import Path

import torch

from noseprint.data.tables import ImageTable
from noseprint.distributed import join_world
from noseprint.losses.ladder import build_loss
from noseprint.models.network import SupConNet
from noseprint.training.fit_options import FitOptions
from noseprint.training.step import Updates

torch.set_num_threads(1)
labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 4])
share = {0: labels <= 2, 1: labels > 2}  # nine rows on rank 0, three on rank 1
images = torch.randint(0, 256, (len(labels), 3, 32, 32), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
with join_world("cpu") as place:
    gradients = {}
    for name in ("arcface", "triplet+smoothing"):
        torch.manual_seed(0)
        network = SupConNet("test_efficientnet.r160_in1k", image_size=32, dim=16, pretrained=False)
        table = ImageTable((Path(),) * 5, tuple("abcde"))
        loss = build_loss(name, network=network, labelled=table, holdout=0, temperature=0.07)
        updates = Updates(
            network,
            step=loss,
            criterion=loss,
            options=FitOptions(
                data=Path(),
                epochs=1,
                batch_size=12,
                lr=1e-3,
                clip_norm=1e9,
                chunk_size=int(sys.argv[2]) if len(sys.argv) > 2 else None,
            ),
            place=place,
            steps=1,
            epoch_steps=1,
            results=Path(),
        )
        mine = share[place.rank] if place.size > 1 else torch.ones_like(labels, dtype=torch.bool)
        value = updates.update(0, images[mine], labels[mine])
        gradients[f"{name} value"] = value
        for part, module in (("network", network), ("loss", loss)):
            gradients |= {f"{name} {part}.{key}": p.grad for key, p in module.named_parameters()}
    if place.is_main:
        torch.save(gradients, sys.argv[1])
