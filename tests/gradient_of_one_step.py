"""Write the gradient of one batch to a file, for test_distributed.py. Arguments: OUT [CHUNK]. Also under torchrun."""

import contextlib
import sys

import torch
from pytorch_metric_learning.losses import SupConLoss

from noseprint.distributed import gather, join_world, sum_gradients
from noseprint.models.network import SupConNet
from noseprint.training.gradient_cache import ChunkedForward

torch.set_num_threads(1)
labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 4])
share = {0: labels <= 2, 1: labels > 2}  # nine rows on rank 0, three on rank 1
images = torch.randint(0, 256, (len(labels), 3, 32, 32), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
with join_world("cpu") as world:
    torch.manual_seed(0)
    network = SupConNet("test_efficientnet.r160_in1k", image_size=32, dim=16, pretrained=False).double()
    mine = share[world.rank] if world.size > 1 else torch.ones_like(labels, dtype=torch.bool)
    chunked = ChunkedForward(network, int(sys.argv[2]), contextlib.nullcontext()) if len(sys.argv) > 2 else None
    loss = SupConLoss(temperature=0.07)(*gather((chunked or network)(images[mine]).double(), labels[mine]))
    loss.backward()
    if chunked:
        chunked.backward()
    sum_gradients(network.parameters())
    if world.is_main:
        torch.save({"loss": loss.detach(), **{k: p.grad for k, p in network.named_parameters()}}, sys.argv[1])
