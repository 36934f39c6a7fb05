"""The stages of recipes/universal_embedding that train, run as a user runs them, on a tiny network."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from noseprint.data.instances import read_instances, write_instances
from noseprint.inference.gallery import embed_gallery, write_gallery
from noseprint.models.projection_net import ProjectionNet
from noseprint.models.weights import load_projection, save_weights
from noseprint.models.weights_header import read_header

from ..tasks.tiny_instances import draw_images, read

FAMILY = Path(__file__).parents[2] / "recipes" / "universal_embedding"
BACKBONE = "test_efficientnet.r160_in1k"
GIVEN = ["--small", "--part", "tiny", "--dim", "8"]
RUN_ALL = """
import os, runpy, sys
for line in sys.stdin:
    script, *options = line.split()
    for name in ("dataset", "model", "phases"):
        sys.modules.pop(name, None)
    sys.argv, sys.path[0] = [script, *options], os.path.dirname(script)
    runpy.run_path(script, run_name="__main__")
"""


@pytest.fixture(scope="module")
def family(tmp_path_factory) -> Path:
    """The family with the results of prepare/ and frozen/, and a data folder."""
    root = tmp_path_factory.mktemp("universal") / "family"
    shutil.copytree(FAMILY, root, ignore=shutil.ignore_patterns("results", "__pycache__"))
    data = root / "data"
    draw_images(data)
    write_instances(root / "prepare" / "results" / "small" / "instances.csv", read(data))
    frozen = root / "frozen" / "results" / "small" / "tiny"
    torch.manual_seed(0)
    save_weights(
        frozen / "best.safetensors", ProjectionNet(BACKBONE, dim=None, image_size=32, pretrained=False), extra={}
    )
    names = read_instances(data, table=root / "prepare" / "results" / "small" / "instances.csv").names
    gallery = embed_gallery([frozen / "best.safetensors"], data, names, device=torch.device("cpu"))
    write_gallery(frozen / "features.safetensors", gallery)
    return root


def run(root: Path, *lines: str) -> str:
    """Run scripts with their options one after the other, in one process: loading torch takes most of the time."""
    given = "\n".join(f"{root}/{line} {' '.join(GIVEN)} --data {root / 'data'}" for line in lines)
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        input=given,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_head_phases_and_large_follow_each_other(family):
    common = "--device cpu --workers 0 --floor 4"
    printed = run(
        family,
        "head/train.py --epochs 2 --floor 4",
        f"phases/train.py {common}",
        "large/train.py --device cpu --workers 0 --cap 2 --floor 2",
    )
    head, phases, large = (family / name / "results" / "small" / "tiny" for name in ("head", "phases", "large"))
    assert "mP@5" in printed
    assert printed.count("kept: the network after") == 2
    found = [load_projection(folder / "best.safetensors") for folder in (head, phases)]
    assert [net.dim for net in found] == [8, 8]
    assert load_projection(next(large.glob("1-*")) / "best.safetensors").image_size == 280
    scores = [read_header(folder / "best.safetensors").holdout_scores["mP@5"] for folder in (head, phases, large)]
    assert scores[0] <= scores[1]
    with (phases / "phases.csv").open() as file:
        rows = dict(list(csv.reader(file))[1:])
    assert float(rows["start"]) == pytest.approx(scores[0], abs=1e-4)  # phases/ begins with the network of head/
    assert json.loads(read_header(large / "best.safetensors").extra.get("training", "{}"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "none"], "--method none: there is none of this name; choose from published, second, layerwise"),
        (["--part", "none"], "--part none: there is none of this name; choose from vit_h"),
        (["--lr", "1"], "Unrecognized options: --lr"),
        (["--cap", "10"], "--floor 30, --cap 10"),
    ],
)
def test_wrong_options_are_refused_by_name(family, options, message):
    script = str(family / "phases" / "train.py")
    done = subprocess.run([sys.executable, script, *options], capture_output=True, text=True, timeout=60)
    assert done.returncode in (1, 2)
    assert message in " ".join(done.stderr.split())
