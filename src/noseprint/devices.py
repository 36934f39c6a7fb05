"""The choice of a device, and settings that depend on it."""

import ctypes
import os
import sys

import torch

from noseprint.errors import NoseprintError


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" means CUDA, else MPS, else the CPU.

    Raises NoseprintError if there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise NoseprintError(f"--device {name}: unknown device; give auto, cpu, cuda, cuda:1 or mps") from None
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(device.type, False):
        raise NoseprintError(f"--device {name}: this machine has no such device; use --device auto")
    return device


def default_workers(device: torch.device) -> int:
    """Return the number of loader processes for this machine.

    A GPU gets one for every core but one, at most 12. A network on the CPU needs the cores itself, so it gets one for
    every 4 cores. Under torchrun, the ranks of a machine share its cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores //= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return cores // 4 if device.type == "cpu" else max(1, min(12, cores - 1))


def autocast_dtype(device: torch.device, *, depthwise: bool) -> torch.dtype | None:
    """Return the autocast type that trains fastest on `device`, or None if plain float32 is fastest.

    CUDA: bfloat16, or float16 on cards without bfloat16 (then the loss must be scaled). CPU: bfloat16 if the processor
    can multiply it (AVX512-BF16, AMX). Depthwise convolutions are slower in bfloat16 on a CPU, so networks that have
    them train in float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu" and not depthwise:
        has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if has_bf16 else None
    return None


def reuse_freed_memory() -> None:
    """Let glibc keep the memory that a training step frees, so that the next step can use it.

    By default glibc returns large blocks to the kernel and asks for them again a moment later, which takes a third of
    the time of a training on the CPU. Does nothing without glibc.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no block gets its own mapping
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: the heap does not shrink
