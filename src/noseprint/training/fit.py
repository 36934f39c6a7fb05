"""The one training loop."""

import math
import time
from collections.abc import Iterable
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from noseprint.data.datasets import batches_of
from noseprint.devices import reuse_freed_memory
from noseprint.distributed import World, any_rank, from_main, join_world, report_lost_ranks, wait_for_all
from noseprint.errors import NoseprintError
from noseprint.lock import lock
from noseprint.models.frozen_norm import unfold_norms
from noseprint.models.weights import save_weights
from noseprint.progress import progress
from noseprint.training.best import BestWeights
from noseprint.training.checkpoints import MetricsLog, differing, load_state, require_same, save_state, score_line
from noseprint.training.faults import faulty_batch
from noseprint.training.fit_options import FREE_TO_CHANGE, FitOptions
from noseprint.training.interrupt import Interrupted, stop_requested
from noseprint.training.loader import training_loader
from noseprint.training.plan import MEASURED_FROM, Plan, has_stopped_falling
from noseprint.training.step import TrainingStep
from noseprint.training.task import Task

CHECK_EVERY = 20
"""Steps between two checks of the loss: each check waits for the device."""
FIRST_STEPS = 4
"""The mean loss of this many steps counts as the loss before training."""
_MOST_STEPS = 10**9


def fit(task: Task, *, results: Path, options: FitOptions, advise: bool = True) -> None:
    """Train the task's network and leave its averaged weights in `results/best.safetensors`.

    The task scores the averaged weights at the start, after each epoch (`options.eval_every`) and at the end.
    `BestWeights` says which weights are kept, and `Plan` says how long the training is. After an interruption, the same
    call continues from the last save. On a CPU with as many threads the final weights are then the same bit for bit,
    unless `options.minutes` set the number of steps. Under torchrun every rank calls it. advise: say what to try if
    the training may not have helped.

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
        try:
            _Training(task, world=joined, results=results, options=options).run(advise=advise)
        finally:
            unfold_norms(task.network)


class _Training:
    """The state of one call of `fit`."""

    def __init__(self, task: Task, *, world: World, results: Path, options: FitOptions) -> None:
        self.task, self.world, self.results, self.options = task, world, results, options
        self.epoch_steps = task.epoch_steps
        self.plan = Plan(options, epoch_steps=self.epoch_steps)
        self.settings = {key: str(value) for key, value in vars(options).items() if key not in FREE_TO_CHANGE}
        self.settings |= task.settings()
        self.step = TrainingStep(
            task, options=options, world=world, plan=self.plan, epoch_steps=self.epoch_steps, results=results
        )
        self.recipe = next(
            (path.parent.name for path in results.parents if path.name == "results"), results.parent.name
        )
        self.best = BestWeights(task, world=world, results=results, extra={"recipe": self.recipe})
        self.losses: list[float] = []  # of the first steps, then the mean between each two scores
        self.stretch: list[Tensor] = []  # the losses since the last score
        self.before = 0.0  # seconds of the interrupted runs of this training
        self.logged = 0.0  # seconds until the last record of the log
        self.score_seconds = 0.0  # of the latest score
        self.ending = ""  # why an open-ended training ended before its time was up

    def run(self, *, advise: bool) -> None:
        self.began = time.monotonic()
        first = self._resume()
        most = self.plan.steps if self.plan.steps and not self.plan.open_ended else _MOST_STEPS
        self.batches = self.task.batches(steps=most, first_step=first)
        loader = training_loader(self.task, self.batches, options=self.options, world=self.world)
        if first == 0 and self.world.is_main:  # a kill before the first save must not bring back an older training
            (self.results / "last" / "state.pt").unlink(missing_ok=True)
            for snapshot in (self.results / "snapshots").glob("*.safetensors"):
                snapshot.unlink()
        self.log = MetricsLog(self.results / "metrics.jsonl", resume_step=first) if self.world.is_main else None
        self._say(f"{self.task.describe()}; {self._length()} on {self.world.device}")
        if first == 0:
            self._score(0, {})
        if first != self.plan.steps:
            bar = progress(total=self.plan.steps, initial=first, unit="step", desc="training", shown=self.world.is_main)
            with bar, stop_requested() as stop, closing(batches_of(loader)) as batches:
                self._train(first, batches, bar, stop)
        wait_for_all()
        if self.world.is_main:
            self._require_best()
            if first != self.plan.steps:
                self._report(advise=advise)

    def _train(self, first: int, batches: Iterable[Any], bar: Any, stop: Any) -> None:
        """Run the steps after `first`."""
        images, segment_start, timed = 0, time.monotonic(), (first, time.monotonic())
        for number, batch in enumerate(batches, start=first + 1):
            self.stretch.append(self.step.update(number - 1, batch))
            images += len(batch.image) * self.world.size
            bar.update()
            if number == first + MEASURED_FROM:
                timed = (number, time.monotonic())
            if number >= first + CHECK_EVERY and self.plan.needs_time(number):
                self._fit_into_time(number, timed)
                bar.total = self.plan.steps
                bar.refresh()
            if snapshot := self.plan.snapshot_after(number):
                self._require_finite(number)
                self._keep_snapshot(snapshot, number)
            scores = self.plan.scores_after(number)
            checks = scores or number % CHECK_EVERY == 0
            if checks:
                self._require_finite(number)
                bar.set_postfix(loss=f"{self.stretch[-1].item():.4f}")
            stopping = stop.signal is not None
            if self.world.size > 1:  # all ranks must stop at the same step; asking them all waits for the device
                stopping = checks and any_rank(stopping, self.world.device)
            line = ""
            if scores:
                rate = images / (time.monotonic() - segment_start)
                line = self._end_stretch(number, images_per_s=rate)
                if self.plan.open_ended and number != self.plan.steps and self._has_learned():
                    self.plan.steps = number
            if scores or number % self.options.save_every == 0 or stopping:
                self._require_finite(number)
                self._save(number)
            if line:
                tqdm.write(line)  # after the save: writing fails if the reader of the output has gone
            if stopping and number != self.plan.steps:
                of = "" if self.plan.steps is None else f" of {self.plan.steps}"
                raise Interrupted(stop.signal, f"saved after step {number}{of} in {self.results}")
            if number == self.plan.steps:
                break
            if scores:
                images, segment_start, timed = 0, time.monotonic(), (number, time.monotonic())
        if stop.signal is not None and self.world.size == 1:
            raise Interrupted(stop.signal, f"trained to the end, in {self.results}")

    def _elapsed(self) -> float:
        """Seconds of training so far, without the time between an interruption and the resume."""
        return self.before + time.monotonic() - self.began

    def _fit_into_time(self, number: int, timed: tuple[int, float]) -> None:
        """Plan as many steps as the time allows; `timed`: an earlier step, and when it ended. Rank 0 decides."""
        since, then = timed
        seconds = [self._elapsed(), (time.monotonic() - then) / max(1, number - since), self.score_seconds]
        elapsed, per_step, per_score = from_main(seconds, self.world.device)
        self.plan.fit_into_time(number, elapsed=elapsed, per_step=per_step, per_score=per_score)
        if self.world.is_main and not self.plan.open_ended and self.plan.steps:
            cut = f"only {self.plan.steps} steps fit into {self.plan.minutes:g} minutes; " * self.plan.out_of_time
            tqdm.write(f"{cut}about {_duration((self.plan.steps - number) * per_step)} of training left")

    def _end_stretch(self, number: int, *, images_per_s: float) -> str:
        """Score the averaged weights after step `number`, and log it with the mean loss; return it as a line."""
        losses = torch.stack(self.stretch)
        if not self.losses:
            self.losses.append(losses[:FIRST_STEPS].mean().item())
        self.losses.append(losses.mean().item())
        self.stretch = []
        rate, speed = self.step.rate(number - 1), round(images_per_s, 1)
        return self._score(number, {"loss": self.losses[-1], "lr": rate, "images_per_s": speed})

    def _score(self, number: int, record: dict[str, Any]) -> str:
        """Score the averaged weights after step `number`, and log `record` with the scores; return it as a line."""
        start = time.monotonic()
        scores = self.best.score_and_keep(self.step.average, step=number)
        self.score_seconds = time.monotonic() - start
        epoch, elapsed = round(number / self.epoch_steps, 2), self._elapsed()
        record = {"step": number, "epoch": epoch, **record, "seconds": round(elapsed - self.logged, 1), **scores}
        self.logged = elapsed
        if not self.log:
            return ""
        self.log.write(record)
        return score_line(record, steps=self.plan.steps) if number else ""

    def _has_learned(self) -> bool:
        """Whether an open-ended training has learned what it can. Rank 0, which knows the scores, decides for all."""
        why = ""
        if self.best.overtaken:
            why = "the hold-out gets worse"
        elif has_stopped_falling(self.losses):
            why = "the loss no longer falls"
        self.ending = why
        return bool(from_main([float(bool(why))], self.world.device)[0])

    def _length(self) -> str:
        if self.plan.open_ended:
            return f"at most about {self.plan.minutes:g} minutes, less if nothing more is learned,"
        return f"{self.plan.steps} steps"  # the first of them show how long they take

    def _report(self, *, advise: bool) -> None:
        """Say why the training ended, and what it gained."""
        ending = self.ending or ("the time is up" if self.plan.out_of_time else "")
        if ending:
            self._say(f"ended after {self.plan.steps} steps: {ending}")
        for line in self.best.summary(advise=advise, may_train_longer=not self.ending):
            self._say(line)

    def _say(self, text: str) -> None:
        if self.world.is_main:
            print(text, flush=True)

    def _require_finite(self, number: int) -> None:
        """Refuse a loss that is not finite. Called before every save, so that the last save is a good one."""
        values = torch.stack(self.stretch).tolist() if self.stretch else []
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
            stretch = [loss.item() for loss in self.stretch]
            own: dict[str, Any] = {"step": number, "seconds": self._elapsed(), "logged": self.logged}
            own |= {"losses": self.losses, "stretch": stretch}
            parts = {"plan": self.plan.state(), "best": self.best.state(), **self.step.state()}
            state = {**own, "settings": self.settings, **parts}
            save_state(self.results / "last", state)

    def _keep_snapshot(self, snapshot: int, number: int) -> None:
        """Write the weights after step `number`, not averaged."""
        if self.world.is_main:
            path = self.results / "snapshots" / f"{snapshot}.safetensors"
            save_weights(path, self.task.network, extra={"recipe": self.recipe, "step": str(number)})

    def _resume(self) -> int:
        """Load the last save, if there is one; return the number of steps that are done."""
        state = None if self.options.restart else load_state(self.results / "last")
        if state is None:
            return 0
        if missing := {"plan", "best", "losses", "stretch", "seconds", "logged"} - state.keys():
            raise NoseprintError(
                f"{self.results / 'last' / 'state.pt'} was saved by another version of noseprint (it lacks "
                f"{', '.join(sorted(missing))}): finish this training with that version, or pass --run NAME for "
                "another training beside it, or --restart to start again and lose it"
            )
        changed = differing(state["settings"], self.settings)
        if self.options.skip_bad and changed and changed <= self.task.data_settings:
            print("Other photographs are left out than before: this training starts again.", flush=True)
            return 0
        require_same(state["settings"], self.settings, where=self.results / "last")
        self.step.load(state)
        self.best.load(state["best"])
        self.plan.load(state["plan"])
        self.before, self.logged, self.losses = float(state["seconds"]), float(state["logged"]), state["losses"]
        self.stretch = [torch.tensor(loss, device=self.world.device) for loss in state["stretch"]]
        done = int(state["step"])
        if self.world.is_main and done == self.plan.steps:
            self._require_best()
        of = "" if self.plan.steps is None else f" of {self.plan.steps}"
        self._say("already trained" if done == self.plan.steps else f"resuming after step {done}{of}")
        return done

    def _require_best(self) -> None:
        if not (self.results / "best.safetensors").is_file():
            raise NoseprintError(f"{self.results} is trained but best.safetensors is gone: pass --restart")


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} s"
