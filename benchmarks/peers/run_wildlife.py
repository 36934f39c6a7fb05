"""wildlife-tools: dataset, trainer, losses and feature extraction, as its documentation's training page has them."""

import itertools
from contextlib import suppress

import pandas as pd
import torch
from job import BATCH, MEAN, STD, BudgetSpentError, Job, main
from torchvision import transforms as T
from wildlife_tools.data import TransformTimm, WildlifeDataset
from wildlife_tools.features import DeepFeatures
from wildlife_tools.train import ArcFaceLoss, BasicTrainer, TripletLoss, set_seed


def run(job: Job) -> None:
    set_seed(job.seed)
    size = job.setting["size"]
    policy = {"input_size": size, "is_training": True, "auto_augment": "rand-m10-n2-mstd1", "mean": MEAN, "std": STD}
    augmentation = TransformTimm.from_config(policy)  # the policy of TransformTimm's documentation
    dataset = WildlifeDataset(pd.DataFrame(job.train, columns=["path", "identity"]), transform=augmentation)
    backbone = job.backbone()
    if job.setting["loss"] == "arcface":
        objective: torch.nn.Module = ArcFaceLoss(
            num_classes=dataset.num_classes, embedding_size=1280, margin=0.5, scale=64
        )
    else:
        objective = TripletLoss(margin=0.2, mining="semihard", distance="l2_squared")
    parameters = itertools.chain(backbone.parameters(), objective.parameters())
    optimizer = torch.optim.SGD(parameters, lr=job.setting["lr"], momentum=0.9)

    def before_batch(_: object, batch: tuple[torch.Tensor]) -> None:
        if job.share_spent() >= 1:
            raise BudgetSpentError
        job.images_seen += len(batch[0])

    trainer = BasicTrainer(
        dataset=dataset,
        model=backbone,
        objective=objective,
        optimizer=optimizer,
        epochs=10**6,
        device="cpu",
        batch_size=BATCH,
        num_workers=0,
    )
    hook = backbone.register_forward_pre_hook(before_batch)  # the trainer itself calls back only after whole epochs
    job.start_clock()
    with suppress(BudgetSpentError):
        trainer.train()
    job.stop_clock()
    hook.remove()
    to_embed = pd.DataFrame({"path": job.embed, "identity": "?"})
    for side in job.sizes:
        transform = T.Compose([T.Resize((side, side)), T.ToTensor(), T.Normalize(MEAN, STD)])
        extract = DeepFeatures(backbone, batch_size=BATCH, num_workers=0, device="cpu")
        job.write_embeddings(side, extract(WildlifeDataset(to_embed, transform=transform)))
    job.write_usage("torchvision", "wildlife-tools", "pytorch-metric-learning")


if __name__ == "__main__":
    main(run)
