"""Embed training photographs, for test_embed.py; rank 0 saves the rows. Arguments: DATA OUT. Also under torchrun."""

import sys
from pathlib import Path

import numpy as np
import torch

from noseprint.data.readable import readable_photographs
from noseprint.data.tables import read_train
from noseprint.data.transforms import A
from noseprint.distributed import join_world
from noseprint.models.embed import embed_images
from noseprint.models.network import SupConNet

torch.set_num_threads(1)
torch.manual_seed(0)
network = SupConNet("test_efficientnet.r160_in1k", image_size=32, dim=16, pretrained=False)
paths = read_train(Path(sys.argv[1])).paths
embeddings = {}
with join_world("cpu") as world:
    assert readable_photographs(paths, skip_bad=False, skipped_csv=None) == set(paths)
    for name, count, batch_size in (("all", len(paths), 4), ("few", 5, 4), ("one", 1, 4)):  # "one": rank 1 has none
        transform = A.Compose([A.Resize(32, 32), A.RandomBrightnessContrast(p=1)])
        embeddings[name] = embed_images(
            network, paths[:count], batch_size=batch_size, transform=transform, device=world.device, workers=0, seed=1
        )
    if world.is_main:
        np.savez(sys.argv[2], **embeddings)
