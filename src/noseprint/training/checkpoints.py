"""The state an interrupted training resumes from, and its log of metrics."""

import importlib.util
import io
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from noseprint.errors import NoseprintError
from noseprint.files import atomic_write, friendly_write_errors

State = dict[str, Any]


def save_state(folder: Path, state: State) -> None:
    """Write `state` (tensors, numbers, strings and containers of them) to `folder/state.pt`, all or nothing."""
    data = io.BytesIO()  # torch's own writing hides the reason when the disk is full
    torch.save(state, data)
    with atomic_write(folder / "state.pt") as part:
        part.write_bytes(data.getbuffer())


def load_state(folder: Path) -> State | None:
    """The state saved in `folder`, on the CPU, or None if there is none."""
    path = folder / "state.pt"
    if not path.is_file():
        return None
    try:
        state: State = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise NoseprintError(f"{path} cannot be read ({error}): pass --restart to start again") from error
    return state


def differing(saved: dict[str, str], now: dict[str, str]) -> set[str]:
    """The settings that are not the same in both."""
    return {key for key in {**saved, **now} if saved.get(key) != now.get(key)}


def require_same(saved: dict[str, str], now: dict[str, str], *, where: Path) -> None:
    """Refuse to resume a training whose settings or data have changed."""
    if changed := differing(saved, now):
        what = "; ".join(f"{key} was {saved.get(key)}, is {now.get(key)}" for key in sorted(changed))
        raise NoseprintError(
            f"{where} holds a training that cannot continue: {what}. Pass the earlier options, --run NAME "
            "for another training beside it, or --restart to start again and lose it"
        )


class MetricsLog:
    """Metrics as lines of JSON, each with its step; also as TensorBoard events, if it is installed.

    Opened again after an interruption, it drops the records after the step that is resumed from.
    """

    def __init__(self, path: Path, *, resume_step: int) -> None:
        self._path = path
        kept = []
        if resume_step and path.is_file():
            for line in path.read_text().splitlines():
                try:
                    record = json.loads(line)
                except json.JSONDecodeError:
                    break  # the line that a crash cut off
                if record["step"] > resume_step:
                    break
                kept.append(line + "\n")
        with atomic_write(path) as part:
            part.write_text("".join(kept))
        self._events = None
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional

            with friendly_write_errors(path.parent / "tensorboard"):
                if not resume_step:
                    shutil.rmtree(path.parent / "tensorboard", ignore_errors=True)
                self._events = SummaryWriter(str(path.parent / "tensorboard"), purge_step=resume_step + 1)

    def write(self, record: dict[str, Any]) -> None:
        """Append one record."""
        with friendly_write_errors(self._path), self._path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        if self._events:
            with friendly_write_errors(self._path.parent / "tensorboard"):
                for name, value in record.items():
                    self._events.add_scalar(name, value, record["step"])
                self._events.flush()


def score_line(record: dict[str, Any], *, steps: int | None) -> str:
    """A record of the metrics as one line of text; `steps`: how many are planned, None if that is not known yet."""
    names = {"auc": "AUC", "rank_1": "Rank-1", "map": "mAP", "mean_per_class": "mean per class", "log_loss": "log loss"}
    own = {"step", "epoch", "loss", "lr", "images_per_s", "seconds"}
    scores = "".join(f", hold-out {names.get(key, key)} {value:.4f}" for key, value in record.items() if key not in own)
    of = "" if steps is None else f"/{steps}"
    return f"step {record['step']}{of}: loss {record['loss']:.4f}, {record['images_per_s']:.0f} images/s{scores}"
