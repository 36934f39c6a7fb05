import contextlib
from pathlib import Path

import torch

from noseprint.distributed import World
from noseprint.losses.supcon import supcon_loss
from noseprint.models.network import SupConNet
from noseprint.training.fit_options import FitOptions
from noseprint.training.step import Updates


def test_a_step_never_asks_the_device_for_a_value(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # knows no such device
    nowhere = torch.device("meta")  # which has no values to give, and raises when asked
    updates = Updates(
        SupConNet("test_efficientnet.r160_in1k", image_size=32, dim=16, pretrained=False),
        step=lambda network, images, labels: supcon_loss(network(images), labels, temperature=0.07),
        criterion=None,
        options=FitOptions(data=Path(), epochs=1, batch_size=8, lr=1e-3),
        place=World(0, 1, nowhere),
        steps=10,
        epoch_steps=5,
        results=Path(),
    )
    loss = updates.update(0, torch.zeros(8, 3, 32, 32, dtype=torch.uint8), torch.zeros(8, dtype=torch.long))
    assert loss.device == nowhere
