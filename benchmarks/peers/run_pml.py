"""pytorch-metric-learning's trainer, as its example notebook MetricLossOnly drives it."""

from contextlib import suppress

import torch
from job import BATCH, MEAN, STD, BudgetSpentError, Job, Photographs, main
from pytorch_metric_learning import losses, miners, samplers, testers, trainers
from torchvision import transforms as T


def run(job: Job) -> None:
    size, rate = job.setting["size"], job.setting["lr"]
    augmentation = T.Compose(  # that of the example
        [
            T.RandomResizedCrop(size, scale=(0.16, 1), ratio=(0.75, 1.33)),
            T.RandomHorizontalFlip(0.5),
            T.ToTensor(),
            T.Normalize(MEAN, STD),
        ]
    )
    models = {"backbone": job.backbone(), "embedder": torch.nn.Linear(1280, 512)}
    optimizers = {  # the embedder is new and learns at ten times the backbone's rate, as in the example
        "backbone_optimizer": torch.optim.Adam(models["backbone"].parameters(), lr=rate, weight_decay=0.0001),
        "embedder_optimizer": torch.optim.Adam(models["embedder"].parameters(), lr=10 * rate, weight_decay=0.0001),
    }
    triplet = job.setting["loss"] == "triplet"
    loss = losses.TripletMarginLoss(margin=0.1) if triplet else losses.SupConLoss(temperature=0.1)

    def after_step(_: object) -> None:
        job.images_seen += BATCH
        if job.share_spent() >= 1:
            raise BudgetSpentError

    trainer = trainers.MetricLossOnly(
        models,
        optimizers,
        BATCH,
        {"metric_loss": loss},
        Photographs([path for path, _ in job.train], job.labels, augmentation),
        mining_funcs={"tuple_miner": miners.MultiSimilarityMiner(epsilon=0.1)} if triplet else {},
        sampler=samplers.MPerClassSampler(job.labels, m=4, length_before_new_iter=len(job.train)),
        data_device=torch.device("cpu"),
        dataloader_num_workers=0,
        end_of_iteration_hook=after_step,
    )
    job.start_clock()
    with suppress(BudgetSpentError):
        trainer.train(num_epochs=10**6)
    job.stop_clock()
    tester = testers.BaseTester(data_device=torch.device("cpu"), batch_size=BATCH, dataloader_num_workers=0)
    for side in job.sizes:
        transform = T.Compose([T.Resize((side, side)), T.ToTensor(), T.Normalize(MEAN, STD)])
        dataset = Photographs(job.embed, [0] * len(job.embed), transform)
        embeddings, _ = tester.get_all_embeddings(dataset, models["backbone"], models["embedder"])
        job.write_embeddings(side, embeddings.cpu().numpy())
    job.write_usage("torchvision", "pytorch-metric-learning")


if __name__ == "__main__":
    main(run)
