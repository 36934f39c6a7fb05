"""The one training loop."""

import math
import time
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from noseprint.data.datasets import batches_of, begin_worker
from noseprint.devices import default_workers, reuse_freed_memory
from noseprint.distributed import World, any_rank, join_world, report_lost_ranks, wait_for_all
from noseprint.errors import NoseprintError
from noseprint.lock import lock
from noseprint.progress import progress
from noseprint.training.best import BestWeights
from noseprint.training.checkpoints import MetricsLog, differing, epoch_line, load_state, require_same, save_state
from noseprint.training.faults import faulty_batch
from noseprint.training.fit_options import FREE_TO_CHANGE, FitOptions
from noseprint.training.interrupt import Interrupted, stop_requested
from noseprint.training.step import TrainingStep
from noseprint.training.task import Task

CHECK_EVERY = 20
"""Steps between two checks of the loss: each check waits for the device."""


def fit(task: Task, *, results: Path, options: FitOptions) -> None:
    """Train the task's network and leave its averaged weights in `results/best.safetensors`.

    After each epoch (`options.eval_every`) the task scores the averaged weights; the best are kept. Interrupted, the
    same call continues from the last save; on a CPU the final weights are the same bit for bit. Under torchrun every
    rank calls it.

    Raises NoseprintError if the loss is no longer finite, memory runs out, the settings of a resumed training differ,
    another run uses `results`, or the task refuses its data or weights.
    """
    reuse_freed_memory()
    with (
        join_world(options.device) as joined,
        lock(results) if joined.is_main else nullcontext(),
        report_lost_ranks(joined.size),
    ):
        task.prepare(joined, results)
        _Training(task, world=joined, results=results, options=options).run()


class _Training:
    """The state of one call of `fit`."""

    def __init__(self, task: Task, *, world: World, results: Path, options: FitOptions) -> None:
        self.task, self.world, self.results, self.options = task, world, results, options
        self.epoch_steps = task.epoch_steps
        self.settings = {key: str(value) for key, value in vars(options).items() if key not in FREE_TO_CHANGE}
        self.settings |= task.settings()
        self.step = TrainingStep(task, options=options, world=world, epoch_steps=self.epoch_steps, results=results)
        self.steps = self.step.steps
        recipe = (results.parent if options.run else results).parent.name
        self.best = BestWeights(task, world=world, results=results, extra={"recipe": recipe})
        self.epoch_start = time.monotonic()  # a resume moves it back by the time that the epoch had taken

    def run(self) -> None:
        first = self._resume()
        self.batches = self.task.batches(steps=self.steps, first_step=first)
        loader = self._loader()
        if first == 0 and self.world.is_main:  # a kill before the first save must not bring back an older training
            (self.results / "last" / "state.pt").unlink(missing_ok=True)
        log = MetricsLog(self.results / "metrics.jsonl", resume_step=first) if self.world.is_main else None
        bar = progress(total=self.steps, initial=first, unit="step", desc="training", shown=self.world.is_main)
        losses: list[Tensor] = []
        segment_start, images_seen = time.monotonic(), 0
        if self.world.is_main:
            print(f"{self.task.describe()}; {self.steps} steps on {self.world.device}", flush=True)
        with bar, stop_requested() as stop, closing(batches_of(loader)) as batches:
            for number, batch in enumerate(batches, start=first + 1):
                losses.append(self.step.update(number - 1, batch))
                images_seen += len(batch.image) * self.world.size
                bar.update()
                epoch_ends = number % self.epoch_steps == 0
                checks = epoch_ends or number % CHECK_EVERY == 0
                if checks:
                    self._require_finite(losses, number)
                    bar.set_postfix(loss=f"{losses[-1].item():.4f}")
                line = ""
                if epoch_ends:
                    rate = images_seen / (time.monotonic() - segment_start)
                    record = self._end_epoch(number, losses, images_per_s=rate)
                    if log:
                        log.write(record)
                        line = epoch_line(record, self.steps // self.epoch_steps)
                    losses, images_seen, self.epoch_start = [], 0, time.monotonic()
                stopping = stop.signal is not None
                if self.world.size > 1:  # all ranks must stop at the same step; asking them all waits for the device
                    stopping = checks and any_rank(stopping, self.world.device)
                if epoch_ends or number % self.options.save_every == 0 or stopping:
                    self._require_finite(losses, number)
                    self._save(number)
                if line:
                    tqdm.write(line)  # after the save: writing fails if the reader of the output has gone
                if stopping and number < self.steps:
                    raise Interrupted(stop.signal, f"saved after step {number} of {self.steps} in {self.results}")
                if epoch_ends:
                    segment_start = time.monotonic()
            if stop.signal is not None and self.world.size == 1:
                raise Interrupted(stop.signal, f"trained to the end, in {self.results}")
        wait_for_all()
        if self.world.is_main:
            self._require_best()

    def _loader(self) -> DataLoader[Any]:
        workers = default_workers(self.world.device) if self.options.workers is None else self.options.workers
        return DataLoader(
            self.task.dataset(),
            batch_sampler=self.batches,
            num_workers=workers,
            worker_init_fn=begin_worker,
            pin_memory=self.world.device.type == "cuda",
            prefetch_factor=4 if workers else None,
        )

    def _end_epoch(self, number: int, losses: list[Tensor], *, images_per_s: float) -> dict[str, Any]:
        """Score the averaged weights if this epoch is to be scored; return the record for the log."""
        epoch = number // self.epoch_steps
        scores = {}
        if number == self.steps or epoch % self.options.eval_every == 0:
            scores = self.best.score_and_keep(self.step.average)
        return {
            "step": number,
            "epoch": epoch,
            "loss": torch.stack(losses).mean().item(),
            "lr": self.step.rate(number - 1),
            "images_per_s": round(images_per_s, 1),
            "seconds": round(time.monotonic() - self.epoch_start, 1),
            **scores,
        }

    def _require_finite(self, losses: list[Tensor], number: int) -> None:
        """Refuse a loss that is not finite. Called before every save, so that the last save is a good one."""
        values = torch.stack(losses).tolist() if losses else []
        for done, loss in enumerate(values, start=number - len(values) + 1):
            if not math.isfinite(loss):
                rows = [row for _, row in self.batches.batch(done - 1, of_all_processes=True)]
                raise faulty_batch(
                    done,
                    loss,
                    self.step.rate(done - 1),
                    samples=self.task.identify(rows),
                    results=self.results,
                    write=self.world.is_main,
                )

    def _save(self, number: int) -> None:
        if self.world.is_main:
            counts = {"step": number, "epoch_seconds": time.monotonic() - self.epoch_start}
            state = {**counts, "settings": self.settings, **self.best.state(), **self.step.state()}
            save_state(self.results / "last", state)

    def _resume(self) -> int:
        """Load the last save, if there is one; return the number of steps that are done."""
        state = None if self.options.restart else load_state(self.results / "last")
        if state is None:
            return 0
        changed = differing(state["settings"], self.settings)
        if self.options.skip_bad and changed and changed <= self.task.data_settings:
            print("Other photographs are left out than before: this training starts again.", flush=True)
            return 0
        require_same(state["settings"], self.settings, where=self.results / "last")
        self.step.load(state)
        self.best.load(state)
        self.epoch_start = time.monotonic() - float(state.get("epoch_seconds", 0))
        done = int(state["step"])
        if self.world.is_main:
            if done == self.steps:
                self._require_best()
            print(f"resuming after step {done} of {self.steps}" if done < self.steps else "already trained", flush=True)
        return done

    def _require_best(self) -> None:
        if not (self.results / "best.safetensors").is_file():
            raise NoseprintError(f"{self.results} is trained but best.safetensors is gone: pass --restart")
