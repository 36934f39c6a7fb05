"""Where to compute."""

import ctypes
import os
import sys

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
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.type, False):
        raise NoseprintError(f"--device {name}: no such device is visible here; take --device auto")
    return device


def default_workers(device: torch.device) -> int:
    """Loader processes by the machine: up to 12 to feed a GPU; beside a network on the CPU one for every 4 cores.

    Under torchrun a rank takes its part of the cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores //= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return cores // 4 if device.type == "cpu" else max(1, min(12, cores - 1))


def autocast_dtype(device: torch.device, *, depthwise: bool) -> torch.dtype | None:
    """The type in which a network trains fastest on `device` beside float32; None where float32 alone is fastest.

    CUDA: bfloat16, on cards without it float16, whose loss must be scaled. CPU: bfloat16 where the processor multiplies
    it (AVX512-BF16, AMX), but for a network with depthwise convolutions, which lose by it.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu" and not depthwise:
        multiplies = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if multiplies else None
    return None


def reuse_freed_memory() -> None:
    """Let glibc keep the memory that a training step frees, for the next step.

    By default it hands large blocks back to the kernel and faults them in again a moment later, which takes a third
    of a CPU training's time. Elsewhere than on Linux with glibc, nothing.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no block is mapped on its own
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: the heap does not shrink
