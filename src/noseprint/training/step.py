"""One step of a training: loss, gradient, weights, averaged weights."""

import math
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from timm.optim import param_groups_weight_decay
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from noseprint.data.datasets import Sample
from noseprint.devices import autocast_dtype
from noseprint.distributed import World, sum_gradients
from noseprint.errors import NoseprintError
from noseprint.models.frozen_norm import fold_frozen_norms
from noseprint.models.network import Network
from noseprint.training.faults import is_out_of_memory, largest_that_fits
from noseprint.training.fit_options import FitOptions, OptimizerName
from noseprint.training.gradient_cache import ChunkedForward, even_chunks
from noseprint.training.plan import Plan
from noseprint.training.schedules import average_decay, learning_rate_factor, phase_at
from noseprint.training.task import Task

SMALL_MOST_BYTES = 2.6e9
"""With --small on a CPU, larger batches pass through the network in chunks: a training then takes less than 4 GB."""
OPEN_ENDED_WARMUP = 10
"""Steps over which the learning rate climbs if no length is given."""


class TrainingStep:
    """The steps of a training and all that they change: network, criterion, optimizer, averaged weights.

    task: gives the loss. plan: says how many steps there are. epoch_steps: steps of an epoch. results: the folder to
    name in messages.
    """

    def __init__(
        self, task: Task, *, options: FitOptions, world: World, plan: Plan, epoch_steps: int, results: Path
    ) -> None:
        self._task, self._options, self._world, self._results, self._plan = task, options, world, results, plan
        self._phases = task.phases()
        if plan.open_ended and len(self._phases) > 1:
            raise NoseprintError("the phases of this training need a given length: pass --epochs or --steps")
        self._half_life = math.inf if plan.open_ended else epoch_steps * options.ema_epochs
        self._chunk_size, self._chunks_known = options.chunk_size, False
        self._network = task.network.to(world.device)
        self._criterion = task.criterion.to(world.device)
        self._forward: nn.Module = self._network
        if options.compile:
            self._forward = cast(nn.Module, torch.compile(self._network))
        self._average = ModelEmaV3(self._network)
        fold_frozen_norms(self._network)
        self._parts = {part.name: part for part in task.parts()}
        names = {options.optimizer, *(phase.optimizer for phase in self._phases if phase.optimizer)}
        self._optimizers = {name: self._build_optimizer(name) for name in sorted(names)}
        self._optimizer = self._optimizers[options.optimizer]
        dtype = autocast_dtype(world.device, depthwise=self._network.backbone.depthwise)
        self._amp = dtype if options.amp else None
        self._scaler = torch.amp.GradScaler(enabled=self._amp is torch.float16)

    @property
    def average(self) -> Network:
        """The network with the averaged weights, in eval mode."""
        return cast(Network, self._average.module)

    @property
    def network(self) -> Network:
        """The network that is trained."""
        return self._network

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self._world.device

    def parameters(self) -> list[nn.Parameter]:
        """All that may be trained."""
        return [*self._network.parameters(), *self._criterion.parameters()]

    def update(self, step: int, batch: Sample, *, rate: float | None = None) -> Tensor:
        """Update number `step` (from 0) with this rank's share of a batch.

        rate: the learning rate; None: that of the schedule.
        Returns the loss, still on the device; it is NaN if the gradient is not finite. Raises NoseprintError if memory
        runs out, naming a chunk size that fits.
        """
        self._begin(step, self.rate(step) if rate is None else rate)
        self._task.begin_step(step)
        self._network.train()
        device = self._world.device
        image, target = batch.image.to(device, non_blocking=True), batch.target.to(device, non_blocking=True)
        batch = batch._replace(image=image, target=target)
        if self._chunk_size is None and self._options.small and device.type == "cpu" and not self._chunks_known:
            self._chunk_size = even_chunks(self._forward, image, most_bytes=SMALL_MOST_BYTES)
        self._chunks_known = True
        # So that dropout and mixing are the same after a resume. Only now, because the search for chunks draws, too.
        seeds = np.random.SeedSequence((self._options.seed, step, self._world.rank))
        torch.manual_seed(int(seeds.generate_state(1)[0]))
        loss = self._add_gradient(batch, self._chunk_size)
        if loss is None:
            raise self._out_of_memory(batch)
        for parameter in self._criterion.parameters():
            if parameter.grad is not None:  # each rank has the whole batch's gradient, and they are summed below
                parameter.grad /= self._world.size
        trained = self.parameters()
        sum_gradients(trained)
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(trained, self._options.clip_norm)
        if not self._scaler.is_enabled():  # a scaler skips a step whose gradient overflowed
            loss = loss + 0 * norm
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._average.apply_update_(self._network, average_decay(step, half_life=self._half_life))
        return loss

    def rate(self, step: int) -> float:
        """The learning rate of update number `step`, before the parts' own scales."""
        options = self._options
        if self._plan.open_ended:
            return options.lr * min(1.0, (step + 1) / (OPEN_ENDED_WARMUP + 1))
        lengths = self._phase_steps()
        number, step = phase_at(step, lengths)
        steps = lengths[number]
        factor = learning_rate_factor(
            options.schedule,
            step,
            steps=steps,
            warmup=int(steps * options.warmup),
            cycles=options.cycles,
            milestones=options.milestones,
        )
        return (self._phases[number].lr or options.lr) * factor

    def _phase_steps(self) -> list[int]:
        """The number of steps of each phase."""
        if self._plan.steps is None:
            return [1]
        ends = [round(self._plan.steps * share) for share in accumulate(phase.share for phase in self._phases)]
        return [end - start for start, end in pairwise([0, *ends])]

    def state(self) -> dict[str, Any]:
        """All that steps change."""
        return {name: part.state_dict() for name, part in self._stateful().items()}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        for name, part in self._stateful().items():
            part.load_state_dict(state[name])

    def _stateful(self) -> dict[str, Any]:
        return {
            "network": self._network,
            "average": self._average.module,
            "criterion": self._criterion,
            "optimizer": self._optimizers[self._options.optimizer],
            **{name: one for name, one in self._optimizers.items() if name != self._options.optimizer},
            "scaler": self._scaler,
        }

    def _build_optimizer(self, name: OptimizerName) -> torch.optim.Optimizer:
        """One group for each part and kind of weight: biases, norms and other vectors do not decay."""
        options = self._options
        groups = [
            {**group, "part": part.name}
            for part in self._parts.values()
            for group in param_groups_weight_decay(part.module, options.weight_decay)
            if group["params"]
        ]
        if name == "sgd":
            return torch.optim.SGD(groups, lr=options.lr, momentum=0.9, nesterov=True)
        if name == "radam":
            return torch.optim.RAdam(groups, lr=options.lr, decoupled_weight_decay=True)
        return torch.optim.AdamW(groups, lr=options.lr, fused=self._world.device.type in ("cpu", "cuda"))

    def _begin(self, step: int, rate: float) -> None:
        """Set the optimizer and the learning rate of each part, and freeze the parts that this phase does not train."""
        phase = self._phases[phase_at(step, self._phase_steps())[0]]
        self._optimizer, trains = self._optimizers[phase.optimizer or self._options.optimizer], phase.trains
        for group in self._optimizer.param_groups:
            group["lr"] = rate * self._parts[group["part"]].lr_scale
            for parameter in group["params"]:
                parameter.requires_grad_(trains is None or group["part"] in trains)
        self._optimizer.zero_grad(set_to_none=True)

    def _add_gradient(self, batch: Sample, chunk_size: int | None) -> Tensor | None:
        """The loss, detached, with its gradient left in the parameters; None if memory ran out."""
        self._optimizer.zero_grad(set_to_none=True)
        autocast = torch.autocast(self._world.device.type, self._amp, enabled=self._amp is not None)
        chunked = ChunkedForward(self._forward, chunk_size, autocast) if chunk_size else None
        try:
            with autocast:
                loss = self._task.loss(chunked or self._forward, batch)
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            if chunked:
                chunked.backward()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None
        return loss.detach()

    def _out_of_memory(self, batch: Sample) -> NoseprintError:
        size = self._chunk_size or len(batch.image)

        def attempt(chunk_size: int) -> None:
            if self._add_gradient(batch, chunk_size) is None:
                raise torch.OutOfMemoryError

        # Only with one process: other ranks would have to take part in these attempts.
        fits = largest_that_fits(size, attempt) if self._world.size == 1 else None
        if fits:
            fix = f"--chunk-size {fits} fits (tried just now)"
        elif self._world.size > 1:
            fix = f"pass --chunk-size {max(1, size // 2)} or less"
        else:
            fix = "not one image at a time fits, so lower --batch-size, or use a smaller --backbone or --image-size"
        return NoseprintError(
            f"out of memory on {self._world.device} with {size} images at a time: {fix}. With --chunk-size the loss "
            f"sees the whole batch all the same, and the same command continues from {self._results / 'last'}"
        )
