"""Run by test_shared.py, alone or under torchrun: DATA OUT. Embeds the photographs at hand, rank 0 saves the rows."""

import sys
from pathlib import Path

import numpy as np
import torch

from noseprint.data.readable import readable_photographs
from noseprint.data.tables import read_train
from noseprint.data.transforms import A
from noseprint.distributed import join_world
from noseprint.models.embed_shared import embed_shared
from noseprint.models.network import SupConNet

torch.set_num_threads(1)
torch.manual_seed(0)
network = SupConNet("test_efficientnet.r160_in1k", image_size=32, dim=16, pretrained=False)
paths = read_train(Path(sys.argv[1])).paths
found = {}
with join_world("cpu") as place:
    assert readable_photographs(paths, skip_bad=False, listed=None) == set(paths)
    for name, count, batch_size in (("whole", len(paths), 4), ("short", 5, 4), ("one", 1, 4)):  # "one": rank 1 has none
        transform = A.Compose([A.Resize(32, 32), A.RandomBrightnessContrast(p=1)])
        found[name] = embed_shared(
            network, paths[:count], batch_size=batch_size, transform=transform, device=place.device, workers=0, seed=1
        )
    if place.is_main:
        np.savez(sys.argv[2], **found)
