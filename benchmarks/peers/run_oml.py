"""Open Metric Learning: its README's loader, sampler and losses, its module under PyTorch Lightning, its inference."""

from collections import Counter

import pandas as pd
import pytorch_lightning as pl
import torch
from job import MEAN, STD, Job, main
from oml import datasets
from oml.inference import inference
from oml.interfaces.models import IExtractor
from oml.lightning.modules.extractor import ExtractorModule
from oml.losses import ArcFaceLoss, TripletLossWithMiner
from oml.miners import HardTripletsMiner
from oml.samplers import BalanceSampler
from oml.transforms.images.torchvision import get_augs_torch, get_normalisation_resize_torch
from torch import Tensor, nn


class Extractor(IExtractor):
    """The backbone in the interface that the library's documentation asks for."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixels: Tensor) -> Tensor:
        return nn.functional.normalize(self.backbone(pixels))  # normalise_features=True of the library's own extractors

    @property
    def feat_dim(self) -> int:
        return 1280


class StopAtBudget(pl.Callback):
    """Stops the trainer when the budget is spent."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def on_train_batch_end(self, trainer: pl.Trainer, module: object, outputs: object, batch: object, at: int) -> None:
        self.job.images_seen += len(batch["labels"])  # type: ignore[index]
        trainer.should_stop = self.job.share_spent() >= 1


def run(job: Job) -> None:
    size, rate = job.setting["size"], job.setting["lr"]
    images_per_label = Counter(job.labels)
    rows = [
        (label, path) for label, (path, _) in zip(job.labels, job.train, strict=True) if images_per_label[label] > 1
    ]
    table = pd.DataFrame(rows, columns=["label", "path"])  # BalanceSampler refuses an identity with one image
    table["label"] = pd.factorize(table["label"])[0]
    train = datasets.ImageLabeledDataset(table, transform=get_augs_torch(size, mean=MEAN, std=STD))
    extractor = Extractor(job.backbone()).train()
    if job.setting["loss"] == "triplet":
        criterion: nn.Module = TripletLossWithMiner(0.1, HardTripletsMiner())
    else:
        criterion = ArcFaceLoss(in_features=extractor.feat_dim, num_classes=table["label"].nunique(), m=0.4, s=64)
    optimizer = torch.optim.Adam([*extractor.parameters(), *criterion.parameters()], lr=rate)
    sampler = BalanceSampler(train.get_labels(), n_labels=16, n_instances=4)
    loader = torch.utils.data.DataLoader(train, batch_sampler=sampler)
    trainer = pl.Trainer(
        max_epochs=-1,
        min_epochs=0,
        accelerator="cpu",
        callbacks=[StopAtBudget(job)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
    )
    job.start_clock()
    trainer.fit(ExtractorModule(extractor, criterion, optimizer), train_dataloaders=loader)
    job.stop_clock()
    to_embed = pd.DataFrame({"label": range(len(job.embed)), "path": job.embed})
    for side in job.sizes:
        transform = get_normalisation_resize_torch(side, mean=MEAN, std=STD)
        dataset = datasets.ImageLabeledDataset(to_embed, transform=transform)
        job.write_embeddings(side, inference(extractor, dataset, batch_size=64, num_workers=0).numpy())
    job.write_usage("torchvision", "open-metric-learning", "pytorch-lightning", "numpy")


if __name__ == "__main__":
    main(run)
