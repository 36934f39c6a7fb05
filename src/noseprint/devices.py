"""Where to compute."""

import os

import torch

from noseprint.errors import NoseprintError


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" takes CUDA, then MPS, then the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise NoseprintError(f"--device {name}: no such device; take auto, cpu, cuda, cuda:1 or mps") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise NoseprintError(f"--device {name}: no CUDA device is visible here; take --device auto")
    return device


def default_workers(device: torch.device) -> int:
    """Loader processes by the machine: one beside a network on the CPU, up to 12 to feed a GPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 if device.type == "cpu" else max(1, min(12, cores - 1))
