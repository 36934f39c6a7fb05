"""The scripts of recipes/universal_embedding, one after the other as train.sh and predict.sh run them."""

import csv
import json
import shutil
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from noseprint.inference.gallery import read_gallery
from noseprint.models.weights import load_network, load_projection
from noseprint.models.weights_header import read_header

from .universal_family import prepared, refused, run, small


def test_prepare_holds_out_identities_of_each_domain(chain):
    table = prepared(chain[0])
    whose = set(zip(table.parts, table.domains, table.identities, strict=True))
    sizes = Counter((part, domain) for part, domain, _ in whose)
    for domain in ("pets", "things"):
        assert [sizes[part, domain] for part in ("train", "val", "test")] == [3, 1, 2]


def test_kept_features_are_the_output_of_the_backbone(chain):
    root, _ = chain
    folder = small(root, "frozen") / "tiny"
    gallery, table = read_gallery(folder / "features.safetensors"), prepared(root)
    assert gallery.names == table.names
    network = load_projection(folder / "backbone.safetensors")
    cosines = (gallery.matrix[:9] * seen(network, table.paths[:9])).sum(axis=1)
    assert min(cosines) > 0.9995  # OpenVINO may compute in bfloat16


def seen(network, paths) -> np.ndarray:
    """The embeddings of images of the size of the network, without any of the library's ways of reading them."""
    images = np.stack([cv2.imread(str(path))[..., ::-1].transpose(2, 0, 1) for path in paths])
    with torch.inference_mode():
        return network.eval().embed(torch.from_numpy(np.ascontiguousarray(images))).numpy()


def test_head_phases_and_large_follow_each_other(chain):
    root, printed = chain
    head, phases, large = (small(root, name) / "tiny" for name in ("head", "phases", "large"))
    assert printed.count("kept: the network after") == 2
    found = [load_projection(folder / "best.safetensors") for folder in (head, phases)]
    assert [net.dim for net in found] == [8, 8]
    assert load_projection(next(large.glob("1-*")) / "best.safetensors").image_size == 48
    scores = [read_header(folder / "best.safetensors").holdout_scores["mAP"] for folder in (head, phases)]
    assert scores[0] <= scores[1]
    with (phases / "phases.csv").open() as file:
        rows = dict(list(csv.reader(file))[1:])
    # phases/ begins with the network of head/. OpenVINO kept the features that head/ scores, and a rank may differ.
    assert float(rows["start"]) == pytest.approx(scores[0], abs=0.02)
    assert json.loads(read_header(large / "best.safetensors").extra.get("training", "{}"))


def test_the_chosen_network_gives_the_embeddings_beside_it(chain):
    root, printed = chain
    results, table = small(root), prepared(root)
    network, gallery = load_network(results / "best.safetensors"), read_gallery(results / "embeddings.safetensors")
    assert network.embedding_size == gallery.matrix.shape[1] == 8
    assert gallery.names == table.names
    test = read_gallery(results / "test.safetensors")  # reduce/ never ran the network, and this is what it gives
    assert min((test.matrix * gallery.rows_of(test.names)).sum(axis=1)) > 0.999
    assert "Taken: " in printed
    found = (("frozen", "backbone"), ("phases", "best"), ("large", "best"))
    sizes = {load_projection(small(root, stage) / "tiny" / f"{name}.safetensors").image_size for stage, name in found}
    assert ("Only backbones of one input size are joined: 32 px: frozen tiny" in printed) == (len(sizes) > 1)


def test_scores_have_each_candidate_domain_and_metric(chain):
    root, _ = chain
    with (small(root) / "scores.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == ["step", "domain", "metric", "value", "low", "high"]
    steps = {row[0] for row in rows}
    assert {f"{kind} tiny: PCA" for kind in ("frozen", "trained", "larger")} <= steps
    assert len(rows) == len(steps) * 3 * 3
    assert all(0 <= float(low) <= float(value) <= float(high) <= 1 for *_, value, low, high in rows)


def test_the_report_and_the_answers_are_there(chain):
    root, printed = chain
    choice = json.loads((small(root) / "choice.json").read_text())
    page = (small(root) / "report.html").read_text()
    assert choice["taken"] in page
    assert choice["on_test"]
    with (small(root) / "prediction.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["query"] for row in rows) == {f"{number:02}_0.png": 5 for number in (2, 5, 8, 11)}
    assert "4 queries among 12 photographs" in printed


def test_another_folder_is_embedded(family, tmp_path):
    photographs = tmp_path / "mine"
    shutil.copytree(family / "data", photographs)
    (photographs / "broken.jpg").write_bytes(b"no image")
    command = f"predict/embed.py --device cpu --workers 0 --images {photographs} --out {tmp_path}/out.safetensors"
    assert "--skip-bad" in refused(family, command)
    assert not list(tmp_path.glob("out*"))
    assert "48 photographs, 8 dimensions" in run(family, f"{command} --skip-bad --views plain,mirrored,centre,padded")
    assert "broken.jpg" in (tmp_path / "out.skipped.csv").read_text()
    assert load_file(tmp_path / "out.safetensors")["embeddings"].shape == (48, 8)
    assert "--views up: there is no view 'up'; choose from plain" in refused(family, f"{command} --views up")


def test_wrong_options_are_refused_by_name(family):
    for options, message in (
        ("--method none", "--method none: there is none of this name; choose from published, second, layerwise"),
        ("--part none", "head/results/small/none/best.safetensors: no such weights file"),
        ("--lr 1", "Unrecognized options: --lr"),
        ("--cap 10", "--floor 30, --cap 10"),
        ("--dim 9", "has 8 dimensions, not 9: pass --dim 8"),
    ):
        assert message in refused(family, f"phases/train.py --part tiny {options}")
