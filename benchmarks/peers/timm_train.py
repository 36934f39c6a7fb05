"""Compare recipes/style_mobile with timm's train.py and its default options; timm's network answers in torch.

    python benchmarks/peers/timm_train.py PREPARED --backbone NAME --weights FILE --out FOLDER --ours MODEL...

PREPARED is recipes/style_mobile/prepare/results/RUN, so both learn from the same small images, and are judged on the
same hold-out. timm's package does not contain train.py: this is its loop, made of timm's parts, with its default
options. The last weights are judged, since the best epoch could only be chosen on the hold-out. MODEL is anything that
`noseprint benchmark` takes. All take turns on the held-out images: FOLDER/pareto.csv has accuracy and speed, and a line
for each MODEL says how much more accurate it is, paired by image, with an interval over groups. The times leave out
decoding. They include resizing, which timm does with Pillow.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from timm.data import create_dataset, create_loader, create_transform, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import random_seed
from torch import nn

from noseprint.data.class_tables import ClassTable
from noseprint.data.prepared import read_prepared
from noseprint.deploy.benchmark import Contestant, contestants, measure
from noseprint.deploy.pareto import pareto_lines, write_pareto
from noseprint.metrics.bootstrap import bootstrap_difference

LR_BASE, LR_BASE_SIZE = 0.1, 256  # --lr-base: the learning rate is LR_BASE * batch size / LR_BASE_SIZE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", type=Path, help="what the recipe's prepare.py has made")
    parser.add_argument("--backbone", required=True, help="timm name.tag")
    parser.add_argument("--weights", type=Path, help="its pretrained weights; without them it starts from random ones")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--ours", type=Path, nargs="*", default=[], help="models to compare with")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--warmup-epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--train-size", type=int, default=160, help="side of the training images in pixels")
    parser.add_argument("--image-size", type=int, default=192, help="side of the judged images in pixels")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--workers", type=int, default=2, help="processes that decode and augment")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each network")
    parser.add_argument("--rounds", type=int, default=3, help="how often each network answers the images")
    parser.add_argument("--most", type=int, help="at most this many training images, to try this script")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    prepared = read_prepared(options.prepared)
    train, val = prepared.split("train"), prepared.split("val")
    options.out.mkdir(parents=True, exist_ok=True)
    random_seed(options.seed)
    start = {"pretrained_cfg_overlay": {"file": str(options.weights)}} if options.weights else {}
    network = timm.create_model(
        options.backbone, pretrained=options.weights is not None, num_classes=len(train.classes), **start
    )
    chosen = (options.epochs, options.warmup_epochs, options.batch_size, options.train_size, options.seed, options.most)
    weights = options.out / f"{options.backbone}-{'-'.join(map(str, chosen))}.pth"
    if weights.is_file():
        network.load_state_dict(torch.load(weights, weights_only=True))
    else:
        fit(network, class_folders(train, options.out / "train", most=options.most), options=options)
        torch.save(network.state_dict(), weights)
    compute = in_torch(network.eval(), options.image_size)
    name = options.backbone.partition(".")[0]
    timms = Contestant(f"timm train.py, {name}", options.image_size, "float32", "torch", compute, train.classes)
    found = [timms, *(one for path in options.ours for one in contestants(path))]
    measured, _ = measure(found, val, rounds=options.rounds)
    print(f"{len(val)} held-out images")
    print("\n".join(pareto_lines(measured, weight=0.3, enough=100.0)))
    write_pareto(options.out / "pareto.csv", measured)
    groups = np.array(val.groups or val.names)
    print(f"timm's defaults: accuracy {measured[0].accuracy} over {len(set(groups.tolist()))} groups")
    for one in measured[1:]:
        gain = bootstrap_difference(one.right, measured[0].right, groups, seed=0)
        which = {key: getattr(one.contestant, key) for key in ("network", "size", "precision", "engine")}
        times = round(measured[0].median_ms / one.median_ms, 2)
        print(json.dumps({**which, "accuracy": str(one.accuracy), "more": str(gain), "times_as_fast": times}))


def class_folders(images: ClassTable, folder: Path, *, most: int | None) -> Path:
    """Links to the images in a folder for each class, whose names sort as the classes do: what timm reads."""
    rows = np.random.default_rng(0).permutation(len(images))[:most]
    for number in range(len(images.classes)):
        (folder / f"{number:03d}").mkdir(parents=True, exist_ok=True)
        for link in (folder / f"{number:03d}").iterdir():
            link.unlink()
    for row in rows:
        path = images.paths[row]
        own = folder / f"{images.classes.index(images.labels[row]):03d}"
        (own / f"{row}{path.suffix}").symlink_to(path.resolve())
    return folder


def fit(network: nn.Module, folder: Path, *, options: argparse.Namespace) -> None:
    """The loop of train.py: SGD with Nesterov momentum, a cosine by epochs, label smoothing, RandomResizedCrop."""
    config, numbers = resolve_data_config({}, model=network), {own.name: int(own.name) for own in folder.iterdir()}
    loader = create_loader(
        create_dataset("", root=str(folder), is_training=True, class_map=numbers),
        input_size=(3, options.train_size, options.train_size),
        batch_size=options.batch_size,
        is_training=True,
        scale=(0.08, 1.0),
        ratio=(3 / 4, 4 / 3),
        hflip=0.5,
        color_jitter=0.4,
        interpolation="random",
        mean=config["mean"],
        std=config["std"],
        num_workers=options.workers,
        device=torch.device("cpu"),
        use_prefetcher=False,
    )
    rate = LR_BASE * options.batch_size / LR_BASE_SIZE
    optimizer = create_optimizer_v2(network, opt="sgd", lr=rate, weight_decay=2e-5, momentum=0.9)
    schedule, epochs = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=options.epochs,
        warmup_epochs=options.warmup_epochs,
        warmup_lr=1e-5,
        updates_per_epoch=len(loader),
    )
    criterion, began = LabelSmoothingCrossEntropy(smoothing=0.1), time.monotonic()
    network.train()
    for epoch in range(epochs):
        losses = []
        for images, labels in loader:
            loss = criterion(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        schedule.step(epoch + 1)
        print(
            f"epoch {epoch + 1} of {epochs}: loss {np.mean(losses):.4f}, {time.monotonic() - began:.0f} s", flush=True
        )


def in_torch(network: nn.Module, size: int) -> Callable[[np.ndarray], np.ndarray]:
    """As validate.py: the transform that timm derives from the network, at `size` pixels, and the network in torch."""
    transform = create_transform(**resolve_data_config({"input_size": (3, size, size)}, model=network))

    def compute(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(transform(Image.fromarray(image))[None]).softmax(1)[0].numpy()

    return compute


if __name__ == "__main__":
    main()
