"""The one training loop."""

import hashlib
import math
import time
from collections.abc import Iterable
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from noseprint.data.datasets import TrainingImages, batches_of, begin_worker
from noseprint.data.decode_cache import cached_decoder
from noseprint.data.holdout import HOLDOUT_SEED, require_scorable, split_holdout
from noseprint.data.readable import readable_photographs
from noseprint.data.samplers import IdentityBatches, epoch_steps
from noseprint.data.tables import ImageTable
from noseprint.data.transforms import Transform
from noseprint.devices import default_workers, reuse_freed_memory
from noseprint.distributed import World, any_rank, telling_of_lost_ranks, wait_for_all, world
from noseprint.errors import NoseprintError
from noseprint.lock import lock
from noseprint.models.network import SupConNet
from noseprint.progress import progress
from noseprint.training.best import Best
from noseprint.training.checkpoints import MetricsLog, differing, load_state, require_same, save_state, told
from noseprint.training.faults import tell_faulty_batch
from noseprint.training.fit_options import FREE_TO_CHANGE, FitOptions
from noseprint.training.gradient_cache import Step
from noseprint.training.interrupt import Interrupted, stop_requested
from noseprint.training.step import Updates

CHECK_EVERY = 20  # steps between looks at the loss: each look waits for the device


def fit(
    network: SupConNet,
    *,
    step: Step,
    labelled: ImageTable,
    pseudo: ImageTable | None = None,
    training_transform: Transform,
    evaluation_transform: Transform,
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
    longer finite, when memory runs out or the network collapses, when the settings of a resumed run differ, or when
    another run is at work in `results`.
    """
    reuse_freed_memory()
    held_out = split_holdout(labelled.identities, share=options.holdout, seed=HOLDOUT_SEED)
    with (
        world(options.device) as place,
        lock(results) if place.is_main else nullcontext(),
        telling_of_lost_ranks(place.size),
    ):
        sound = readable_photographs(
            labelled.paths + (pseudo.paths if pseudo else ()),
            skip_bad=options.skip_bad,
            read=cached_decoder(options.cache),
            skipped_csv=results / "skipped.csv" if place.is_main else None,
        )
        labelled = labelled.where(path in sound for path in labelled.paths)
        train = labelled.where(identity not in held_out for identity in labelled.identities)
        if pseudo:
            train = train + pseudo.where(path in sound for path in pseudo.paths)
        holdout = labelled.where(identity in held_out for identity in labelled.identities)
        require_scorable(holdout.identities, share=options.holdout, encounters=holdout.encounters)
        training = _Training(
            network=network,
            step=step,
            train=train,
            holdout=holdout,
            training_transform=training_transform,
            evaluation_transform=evaluation_transform,
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
        training_transform: Transform,
        evaluation_transform: Transform,
        results: Path,
        options: FitOptions,
        criterion: nn.Module | None,
        place: World,
    ) -> None:
        self.results, self.options, self.place = results, options, place
        self.train_table, self.training_transform = train, training_transform
        self.workers = default_workers(place.device) if options.workers is None else options.workers
        self.epoch_steps = epoch_steps(len(train), options.batch_size)
        self.steps = self.epoch_steps * options.epochs
        self.settings = self._settings(network)
        self.epoch_start = time.monotonic()  # on resuming moved back by what the epoch had taken
        self.updates = Updates(
            network,
            step=step,
            criterion=criterion,
            options=options,
            place=place,
            steps=self.steps,
            epoch_steps=self.epoch_steps,
            results=results,
        )
        recipe = (results.parent if options.run else results).parent.name
        self.best = Best(
            holdout=holdout,
            train=train,
            transform=evaluation_transform,
            results=results,
            extra={"recipe": recipe, "training": options.noted()},
            place=place,
            workers=self.workers,
            cache=options.cache,
        )
        self.begins = (
            f"{len(train)} photographs of {len(set(train.identities))} identities to learn from, {len(holdout)} of "
            f"{len(set(holdout.identities))} held out; {self.steps} steps on {place.device}"
        )

    def run(self) -> None:
        first = self._resume()
        loader = self._loader(first)
        if first == 0 and self.place.is_main:  # else a kill before the first save would bring back an older training
            (self.results / "last" / "state.pt").unlink(missing_ok=True)
        log = MetricsLog(self.results / "metrics.jsonl", resume_step=first) if self.place.is_main else None
        bar = progress(total=self.steps, initial=first, unit="step", desc="training", shown=self.place.is_main)
        losses: list[Tensor] = []
        begun, images_seen = time.monotonic(), 0
        if self.place.is_main:
            print(self.begins, flush=True)
        with bar, stop_requested() as stop, closing(batches_of(loader)) as batches:
            for number, (images, labels) in enumerate(batches, start=first + 1):
                losses.append(self.updates.update(number - 1, images, labels))
                images_seen += len(labels) * self.place.size
                bar.update()
                epoch_ends = number % self.epoch_steps == 0
                if epoch_ends or number % CHECK_EVERY == 0:
                    self._require_finite(losses, number)
                    bar.set_postfix(loss=f"{losses[-1].item():.4f}")
                line = ""
                if epoch_ends:
                    seconds = time.monotonic() - begun
                    scores = {}
                    if number == self.steps or number // self.epoch_steps % self.options.eval_every == 0:
                        scores = self.best.score_and_keep(self.updates.average)
                    record: dict[str, Any] = {
                        "step": number,
                        "epoch": number // self.epoch_steps,
                        "loss": torch.stack(losses).mean().item(),
                        "lr": self.updates.rate(number - 1),
                        "images_per_s": round(images_seen / seconds, 1),
                        "seconds": round(time.monotonic() - self.epoch_start, 1),
                        **scores,
                    }
                    if log:
                        log.write(record)
                        line = told(record, self.options.epochs)
                    losses, images_seen, self.epoch_start = [], 0, time.monotonic()
                interrupted = stop.signal is not None
                if self.place.size > 1:  # all ranks leave at the same step, and asking each other waits for the device
                    agreed = epoch_ends or number % CHECK_EVERY == 0
                    interrupted = agreed and any_rank(interrupted, self.place.device)
                if epoch_ends or number % self.options.save_every == 0 or interrupted:
                    self._require_finite(losses, number)
                    self._save(number)
                if line:
                    tqdm.write(line)  # when all is saved: whoever reads may be gone
                if interrupted and number < self.steps:
                    raise Interrupted(stop.signal, f"saved after step {number} of {self.steps} in {self.results}")
                if epoch_ends:
                    begun = time.monotonic()
            if stop.signal is not None and self.place.size == 1:
                raise Interrupted(stop.signal, f"trained to the end, in {self.results}")
        wait_for_all()
        if self.place.is_main:
            self._require_best()

    def _loader(self, first: int) -> DataLoader[Any]:
        labels = {identity: i for i, identity in enumerate(dict.fromkeys(self.train_table.identities))}
        dataset = TrainingImages(
            self.train_table.paths,
            [labels[identity] for identity in self.train_table.identities],
            transform=self.training_transform,
            seed=self.options.seed,
            cache=self.options.cache,
        )
        self.sampler = IdentityBatches(
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
            batch_sampler=self.sampler,
            num_workers=self.workers,
            worker_init_fn=begin_worker,
            pin_memory=self.place.device.type == "cuda",
            prefetch_factor=4 if self.workers else None,
        )

    def _require_finite(self, losses: list[Tensor], number: int) -> None:
        """The last save stays the last good one: this is asked before every save."""
        if not losses:
            return
        values = torch.stack(losses).tolist()
        for done, loss in enumerate(values, start=number - len(values) + 1):
            if not math.isfinite(loss):
                rows = [row for _, row in self.sampler.batch(done - 1, of_all_processes=True)]
                raise tell_faulty_batch(
                    done,
                    loss,
                    self.updates.rate(done - 1),
                    paths=[self.train_table.paths[row] for row in rows],
                    identities=[self.train_table.identities[row] for row in rows],
                    results=self.results,
                    write=self.place.is_main,
                )

    def _settings(self, network: SupConNet) -> dict[str, str]:
        """What must not change between a start and its resume."""
        settings = {key: str(value) for key, value in vars(self.options).items() if key not in FREE_TO_CHANGE}
        settings["training images"] = str(len(self.train_table))
        settings["training table"] = _digest(zip(self.train_table.identities, self.train_table.paths, strict=True))
        settings["backbone"], settings["image_size"] = network.backbone_name, str(network.image_size)
        settings["start weights"] = _digest((key, float(t.float().sum())) for key, t in network.state_dict().items())
        return settings

    def _save(self, number: int) -> None:
        if not self.place.is_main:
            return
        counts = {"step": number, "epoch_seconds": time.monotonic() - self.epoch_start}
        state = {**counts, "settings": self.settings, **self.best.state(), **self.updates.state()}
        save_state(self.results / "last", state)

    def _resume(self) -> int:
        """Load the last save, if there is one; gives the number of steps done."""
        state = None if self.options.restart else load_state(self.results / "last")
        if state is None:
            return 0
        changed = differing(state["settings"], self.settings)
        if self.options.skip_bad and changed and changed <= {"training images", "training table"}:
            print("Other photographs are left out than before: this training begins afresh.", flush=True)
            return 0
        require_same(state["settings"], self.settings, where=self.results / "last")
        self.updates.load(state)
        self.best.load(state)
        self.epoch_start = time.monotonic() - float(state.get("epoch_seconds", 0))
        done = int(state["step"])
        if self.place.is_main:
            if done == self.steps:
                self._require_best()
            print(f"resuming after step {done} of {self.steps}" if done < self.steps else "already trained", flush=True)
        return done

    def _require_best(self) -> None:
        if not (self.results / "best.safetensors").is_file():
            raise NoseprintError(f"{self.results} is trained but best.safetensors is gone: pass --restart")


def _digest(rows: Iterable[tuple[object, object]]) -> str:
    """A short hash of rows; of a path its file name counts, since a data folder may move."""
    text = "\n".join(f"{a},{b.name if isinstance(b, Path) else b}" for a, b in rows)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
