import os

import pytest
import torch

from noseprint.devices import autocast_dtype, choose_device, default_workers
from noseprint.errors import NoseprintError


@pytest.mark.parametrize(
    ("depthwise", "avx512", "amx", "expected"),
    [
        (False, True, False, torch.bfloat16),
        (False, False, True, torch.bfloat16),
        (False, False, False, None),
        (True, True, True, None),
    ],
)
def test_a_cpu_with_bfloat16_uses_it_except_for_depthwise_networks(monkeypatch, depthwise, avx512, amx, expected):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert autocast_dtype(torch.device("cpu"), depthwise=depthwise) is expected


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_cuda_uses_bfloat16_or_float16(monkeypatch, native, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native and not including_emulation)
    for depthwise in (True, False):
        assert autocast_dtype(torch.device("cuda"), depthwise=depthwise) is expected


def test_mps_uses_float32():
    assert autocast_dtype(torch.device("mps"), depthwise=False) is None


def test_the_ranks_of_a_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    cuda = torch.device("cuda")
    assert default_workers(cuda) == 12
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert default_workers(cuda) == 3
    assert default_workers(torch.device("cpu")) == 1


@pytest.mark.parametrize("name", ["toaster", "cuda"])
def test_a_missing_device_is_named_in_the_error(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(NoseprintError, match=f"--device {name}"):
        choose_device(name)
    assert choose_device("cpu") == torch.device("cpu")
