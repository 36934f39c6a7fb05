"""The plain baseline: timm, ArcFace, AdamW, a cosine schedule."""

import math

import torch
import torch.nn.functional as F
from job import BATCH, MEAN, STD, Job, Photographs, main
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms as T

SCALE = 30.0


class ArcFace(nn.Module):
    """Additive angular margin (arXiv 1801.07698, equation 3): embeddings (B, D), labels (B,) -> loss."""

    def __init__(self, dim: int, classes: int, margin: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(classes, dim)))
        self.margin = margin

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        cosine = F.linear(F.normalize(embeddings), F.normalize(self.weight)).clamp(-1 + 1e-6, 1 - 1e-6)
        angle = torch.acos(cosine) + self.margin * F.one_hot(labels, cosine.shape[1])
        return F.cross_entropy(SCALE * torch.cos(angle.clamp(max=math.pi)), labels)


def run(job: Job) -> None:
    size, rate = job.setting["size"], job.setting["lr"]
    network = nn.Sequential(job.backbone(), nn.BatchNorm1d(1280))
    augmentation = T.Compose(
        [
            T.RandomResizedCrop(size, scale=(0.5, 1.0)),
            T.RandomHorizontalFlip(),
            T.ColorJitter(0.2, 0.2, 0.2),
            T.ToTensor(),
            T.Normalize(MEAN, STD),
        ]
    )
    photographs = Photographs([path for path, _ in job.train], job.labels, augmentation)
    loader = DataLoader(photographs, batch_size=BATCH, shuffle=True, drop_last=True)
    head = ArcFace(1280, max(job.labels) + 1, margin=float(job.setting["loss"].removeprefix("arcface-")))
    optimizer = torch.optim.AdamW(
        [{"params": network.parameters(), "lr": rate}, {"params": head.parameters(), "lr": 10 * rate}],
        weight_decay=0.01,
    )
    peak_rates = [group["lr"] for group in optimizer.param_groups]
    network.train()
    job.start_clock()
    while job.share_spent() < 1:
        for images, labels in loader:
            share_spent = job.share_spent()
            if share_spent >= 1:
                break
            for group, peak_rate in zip(optimizer.param_groups, peak_rates, strict=True):
                group["lr"] = peak_rate * min(0.1 + share_spent / 0.05, 0.5 + 0.5 * math.cos(math.pi * share_spent))
            loss = head(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            job.images_seen += len(labels)
    job.stop_clock()
    network.eval()
    for side in job.sizes:
        transform = T.Compose([T.Resize((side, side)), T.ToTensor(), T.Normalize(MEAN, STD)])
        dataset = Photographs(job.embed, [0] * len(job.embed), transform)
        with torch.inference_mode():
            job.write_embeddings(
                side, torch.cat([network(images) for images, _ in DataLoader(dataset, batch_size=BATCH)]).numpy()
            )
    job.write_usage("torchvision")


if __name__ == "__main__":
    main(run)
