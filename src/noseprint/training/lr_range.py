"""The learning rate range test: a short training whose rate rises until the loss diverges."""

import json
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from noseprint.data.csv_rows import read_rows, write_csv
from noseprint.data.datasets import Sample, batches_of
from noseprint.devices import reuse_freed_memory
from noseprint.distributed import from_main, join_world
from noseprint.errors import DataError, Fault, NoseprintError
from noseprint.files import atomic_write
from noseprint.models.frozen_norm import unfold_norms
from noseprint.progress import progress
from noseprint.training.fit_options import FitOptions
from noseprint.training.loader import training_loader
from noseprint.training.plan import Plan
from noseprint.training.step import TrainingStep
from noseprint.training.task import Task

LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 100
"""The rate rises from LOWEST to HIGHEST in STEPS steps."""
SMOOTH = 0.05
"""Share of the newest loss in the smoothed one, which starts with the first loss, as in torch-lr-finder."""
DIVERGED = 4.0
"""The test ends when the smoothed loss is this many times its lowest."""
SKIPPED_FIRST, SKIPPED_LAST = 10, 5
"""Steps at both ends that the suggestions leave out, as torch-lr-finder and fastai do."""
_HEADER = ("member", "step", "lr", "loss", "smoothed")


@dataclass(frozen=True)
class RangeCurve:
    """The losses (N,) of N steps, at rising rates (N,)."""

    rates: npt.NDArray[np.float64]
    losses: npt.NDArray[np.float64]

    @property
    def smoothed(self) -> npt.NDArray[np.float64]:
        """(N,) the exponential mean of the losses."""
        smoothed = self.losses.copy()
        for step in range(1, len(smoothed)):
            smoothed[step] = SMOOTH * smoothed[step] + (1 - SMOOTH) * smoothed[step - 1]
        return smoothed

    def steepest(self) -> float:
        """The rate at which the smoothed loss falls fastest (Smith, arXiv 1506.01186, section 3.3, read by eye)."""
        rates, smoothed = self._middle()
        return float(rates[np.gradient(smoothed).argmin()])

    def valley(self) -> float:
        """The rate in the middle of the longest fall of the smoothed loss, as in fastai.

        The fall is the longest strictly falling subsequence. Its steps need not be neighbours, but they are taken to
        be: as many steps as it has, up to its last one.
        """
        rates, smoothed = self._middle()
        end, length = longest_fall(smoothed)
        third = length / 3
        return float(rates[end - length + int(third) + int(third / 2)])

    def between(self) -> float:
        """The geometric mean of both: the valley is often too low for a short training, and the steepest too high."""
        return math.sqrt(self.valley() * self.steepest())

    def suggestions(self) -> dict[str, float]:
        """The rates that the curve suggests, by name."""
        return {"steepest": self.steepest(), "valley": self.valley(), "between": self.between()}

    def _middle(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        rates, smoothed = (values[SKIPPED_FIRST : len(values) - SKIPPED_LAST] for values in (self.rates, self.smoothed))
        if len(rates) < 2 or smoothed.min() >= smoothed[0]:
            raise NoseprintError(
                f"the range test found no learning rate at which the loss falls (its {len(self.rates)} steps are from "
                f"{self.rates[0]:.0e} to {self.rates[-1]:.0e}): give a rate with --lr NUMBER"
            )
        return rates, smoothed


def longest_fall(losses: Sequence[float] | npt.NDArray[np.float64]) -> tuple[int, int]:
    """The last step and the length of the longest strictly falling subsequence of losses (N,); of equals the first."""
    lengths = list[int]()
    for step, loss in enumerate(losses):
        lengths.append(1 + max((lengths[before] for before in range(step) if losses[before] > loss), default=0))
    end = int(np.argmax(lengths))
    return end, lengths[end]


def range_rate(step: int, steps: int = STEPS) -> float:
    """The learning rate at `step` of the test."""
    return float(LOWEST * (HIGHEST / LOWEST) ** (step / (steps - 1)))


def lr_range_test(step: TrainingStep, batches: Iterable[Sample], *, steps: int = STEPS) -> RangeCurve:
    """Train on up to `steps` batches with a rate that rises exponentially; then put everything back as it was.

    These are the weights and buffers, the averaged weights, the optimizers and the random number generators, bit for
    bit. The test ends early if the loss is not finite or has diverged.
    """
    rates, losses, smoothed, lowest = list[float](), list[float](), 0.0, math.inf
    with _restored(step):
        for number, batch in enumerate(islice(batches, steps)):
            rate = range_rate(number, steps)
            loss = from_main([float(step.update(number, batch, rate=rate))], step.device)[0]
            if not math.isfinite(loss):
                break
            rates.append(rate)
            losses.append(loss)
            smoothed = SMOOTH * loss + (1 - SMOOTH) * smoothed if number else loss
            lowest = min(lowest, smoothed)
            if smoothed > DIVERGED * lowest:
                break
    return RangeCurve(np.array(rates), np.array(losses))


@contextmanager
def _restored(step: TrainingStep) -> Iterator[None]:
    """Put the training and the random number generators back as they were."""
    state = deepcopy(step.state())
    learns = [(parameter, parameter.requires_grad) for parameter in step.parameters()]
    device, was_training = step.device, step.network.training
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002
        step.load(state)
        step.network.train(was_training)
        for parameter, did_learn in learns:
            parameter.requires_grad_(did_learn)
            parameter.grad = None


def find_rates(task: Task, *, results: Path, options: FitOptions, steps: int = STEPS) -> RangeCurve:
    """Run the range test of the training `fit(task, results=results, options=options)`, on its first batches."""
    reuse_freed_memory()
    with join_world(options.device) as world:
        task.prepare(world, results)
        epoch_steps = task.epoch_steps
        plan = Plan(options, epoch_steps=epoch_steps)
        try:
            step = TrainingStep(task, options=options, world=world, plan=plan, epoch_steps=epoch_steps, results=results)
            batches = task.batches(steps=max(plan.steps or 0, steps), first_step=0)
            loader = training_loader(task, batches, options=options, world=world)
            with closing(batches_of(loader)) as loaded:
                shown = progress(loaded, total=steps, unit="step", desc="range test", shown=world.is_main)
                return lr_range_test(step, shown, steps=steps)
        finally:
            unfold_norms(task.network)


def write_curves(folder: Path, curves: Mapping[str, RangeCurve]) -> None:
    """Write the curve of each network to lr_range.csv, a row for each step, and its suggestions to lr_range.json.

    lr_range.json is {network: {"steepest": rate, "valley": rate, "between": rate}}. Raises NoseprintError after
    lr_range.csv is written if the loss of a network fell at no rate.
    """
    rows = (
        (name, step, *values)
        for name, curve in curves.items()
        for step, values in enumerate(zip(curve.rates, curve.losses, curve.smoothed, strict=True), start=1)
    )
    write_csv(folder / "lr_range.csv", _HEADER, rows)
    suggestions = {name: curve.suggestions() for name, curve in curves.items()}
    with atomic_write(folder / "lr_range.json") as part:
        part.write_text(json.dumps(suggestions, indent=2) + "\n", encoding="utf-8")


def read_curves(folder: Path) -> dict[str, RangeCurve]:
    """Read what `write_curves` wrote. Raises DataError if it is damaged."""
    faults, rows = list[Fault](), dict[str, list[tuple[float, float]]]()
    for line, (name, _, rate, loss, _) in read_rows(folder / "lr_range.csv", _HEADER, faults=faults):
        try:
            rows.setdefault(name, []).append((float(rate), float(loss)))
        except ValueError:
            faults.append(Fault(folder / "lr_range.csv", line, "not a number: run the range test again"))
    if faults:
        raise DataError(faults)
    return {name: RangeCurve(*np.array(values).T) for name, values in rows.items()}


def suggested_rate(path: Path, name: str) -> float:
    """The rate `between` of the network `name` in a file lr_range.json. Raises NoseprintError if it is not there."""
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))[name]["between"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a file of the range test"
        raise NoseprintError(
            f"{path}: no learning rate of {name} can be read ({reason}): make it with members/find_rate.py --part "
            f"{name}, or give a rate with --lr"
        ) from error
