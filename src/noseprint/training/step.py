"""One step of the optimisation: loss, gradient, weights, averaged weights."""

import copy
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from noseprint.devices import autocast_dtype
from noseprint.distributed import World, sum_gradients
from noseprint.errors import NoseprintError
from noseprint.models.network import SupConNet
from noseprint.training.faults import is_out_of_memory, largest_that_fits
from noseprint.training.fit_options import FitOptions
from noseprint.training.gradient_cache import ChunkedForward, Step
from noseprint.training.schedules import average_decay, cosine_with_warmup, parameter_groups, update_average


class Updates:
    """The steps of a training of `steps` steps, `epoch_steps` of them an epoch, and all that they change.

    `average` are the averaged weights, in eval mode.
    """

    def __init__(
        self,
        network: SupConNet,
        *,
        step: Step,
        criterion: nn.Module | None,
        options: FitOptions,
        place: World,
        steps: int,
        epoch_steps: int,
        results: Path,
    ) -> None:
        self._step, self._options, self._place, self._results = step, options, place, results
        self._steps, self._epoch_steps = steps, epoch_steps
        self._network = network.to(place.device)
        self._forward: nn.Module = self._network
        if options.compile:
            self._forward = cast(nn.Module, torch.compile(self._network))
        self._criterion = (criterion or nn.Module()).to(place.device)
        self.average = copy.deepcopy(self._network).eval()
        self._optimizer = torch.optim.AdamW(
            parameter_groups([self._network, self._criterion], weight_decay=options.weight_decay),
            lr=options.lr,
            fused=place.device.type in ("cpu", "cuda"),
        )
        half = autocast_dtype(place.device, depthwise=network.backbone.depthwise)
        self._amp = half if options.amp else None
        self._scaler = torch.amp.GradScaler(enabled=self._amp is torch.float16)

    def update(self, step: int, images: Tensor, labels: Tensor) -> Tensor:
        """Update number `step` (from 0) by images (B, 3, H, W) and labels (B,).

        Gives the loss, still on the device: not a number where its gradient is none. Raises NoseprintError when memory
        runs out, naming a chunk of the batch that fits.
        """
        seeds = np.random.SeedSequence((self._options.seed, step, self._place.rank))
        torch.manual_seed(int(seeds.generate_state(1)[0]))  # so dropout after a resume is as it would have been
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate(step)
        self._network.train()
        loss = self._add_gradient(images, labels, self._options.chunk_size)
        if loss is None:
            raise self._out_of_memory(images, labels)
        for parameter in self._criterion.parameters():
            if parameter.grad is not None:  # every rank has the whole batch's: their mean keeps the ranks alike
                parameter.grad /= self._place.size
        trained = [*self._network.parameters(), *self._criterion.parameters()]
        sum_gradients(trained)
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(trained, self._options.clip_norm)
        if not self._scaler.is_enabled():  # which takes no step on a gradient that overflowed
            loss = loss + 0 * norm
        self._scaler.step(self._optimizer)
        self._scaler.update()
        decay = average_decay(step, half_life=self._epoch_steps * self._options.ema_epochs)
        update_average(self.average, self._network, decay=decay)
        return loss

    def rate(self, step: int) -> float:
        """The learning rate of update number `step`."""
        warmup = int(self._steps * self._options.warmup)
        return self._options.lr * cosine_with_warmup(step, steps=self._steps, warmup=warmup)

    def state(self) -> dict[str, Any]:
        """All that updates change."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        return {
            "network": self._network,
            "average": self.average,
            "criterion": self._criterion,
            "optimizer": self._optimizer,
            "scaler": self._scaler,
        }

    def _add_gradient(self, images: Tensor, labels: Tensor, chunk_size: int | None) -> Tensor | None:
        """The loss, detached, with its gradient left in the parameters; None where memory ran out."""
        device = self._place.device
        self._optimizer.zero_grad(set_to_none=True)
        autocast = torch.autocast(device.type, self._amp, enabled=self._amp is not None)
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        chunked = ChunkedForward(self._forward, chunk_size, autocast) if chunk_size else None
        try:
            with autocast:
                loss = self._step(chunked or self._forward, images, labels)
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            if chunked:
                chunked.backward()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None
        return loss.detach()

    def _out_of_memory(self, images: Tensor, labels: Tensor) -> NoseprintError:
        size = self._options.chunk_size or len(labels)

        def attempt(chunk_size: int) -> None:
            if self._add_gradient(images, labels, chunk_size) is None:
                raise torch.OutOfMemoryError

        # Alone only: under torchrun the others would wait for the sums of a step that they do not try.
        fits = largest_that_fits(size, attempt) if self._place.size == 1 else None
        if fits:
            mend = f"--chunk-size {fits} fits, tried just now"
        elif self._place.size > 1:
            mend = f"pass --chunk-size {max(1, size // 2)} or less"
        else:
            mend = "not one image at a time fits, so lower --batch-size, or take a smaller --backbone or --image-size"
        return NoseprintError(
            f"out of memory on {self._place.device} with {size} images at a time: {mend}. With --chunk-size the loss "
            "still sees the whole batch, and the same command goes on from what was saved in "
            f"{self._results / 'last'}"
        )
