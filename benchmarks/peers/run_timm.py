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
    training = T.Compose(
        [
            T.RandomResizedCrop(size, scale=(0.5, 1.0)),
            T.RandomHorizontalFlip(),
            T.ColorJitter(0.2, 0.2, 0.2),
            T.ToTensor(),
            T.Normalize(MEAN, STD),
        ]
    )
    photographs = Photographs([path for path, _ in job.train], job.labels, training)
    loader = DataLoader(photographs, batch_size=BATCH, shuffle=True, drop_last=True)
    head = ArcFace(1280, max(job.labels) + 1, margin=float(job.setting["loss"].removeprefix("arcface-")))
    optimizer = torch.optim.AdamW(
        [{"params": network.parameters(), "lr": rate}, {"params": head.parameters(), "lr": 10 * rate}],
        weight_decay=0.01,
    )
    peak = [group["lr"] for group in optimizer.param_groups]
    network.train()
    job.start()
    while job.spent() < 1:
        for images, labels in loader:
            done = job.spent()
            if done >= 1:
                break
            for group, at_most in zip(optimizer.param_groups, peak, strict=True):
                group["lr"] = at_most * min(0.1 + done / 0.05, 0.5 + 0.5 * math.cos(math.pi * done))
            loss = head(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            job.images += len(labels)
    job.stop()
    network.eval()
    for side in job.sizes:
        transform = T.Compose([T.Resize((side, side)), T.ToTensor(), T.Normalize(MEAN, STD)])
        found = Photographs(job.embed, [0] * len(job.embed), transform)
        with torch.inference_mode():
            job.hand_in(side, torch.cat([network(images) for images, _ in DataLoader(found, batch_size=BATCH)]).numpy())
    job.finish("torchvision")


if __name__ == "__main__":
    main(run)
