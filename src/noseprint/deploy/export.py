"""Exports a network as a folder that another program can use without noseprint."""

import importlib.util
import json
import logging
import shutil
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noseprint.calibration.curves import Isotonic, calibration_from_json
from noseprint.data.datasets import PlainImages
from noseprint.data.tables import ImageTable, read_train
from noseprint.data.transforms import A
from noseprint.errors import NoseprintError
from noseprint.files import friendly_write_errors, require_writable, scratch_folder
from noseprint.inference.evaluation import score_embeddings
from noseprint.inference.labelled_data import NothingToScoreError, read_labelled_data
from noseprint.models.embed import embed_with, embedder
from noseprint.models.network import SupConNet
from noseprint.models.openvino_runtime import compile_model, convert, import_openvino
from noseprint.models.weights import fingerprint, load_network, read_header
from noseprint.version import __version__

FORMAT = "noseprint bundle 2"
CALIBRATION_IMAGES = 300
"""Training photographs that determine the ranges of the 8-bit numbers."""
COMPARISON_IMAGES = 500
"""Training photographs on which int8 is compared with float32 if the data folder has no labelled ones."""


def export(weights: Path, out: Path, *, int8: Path | None = None, seed: int = 0) -> list[str]:
    """Write `weights` as a bundle into the new folder `out`, completely or not at all.

    weights: of an embedding network. out: it must be missing or empty. int8: quantise the network to 8 bits
    (post-training quantisation, arXiv 2002.08679) with up to CALIBRATION_IMAGES training photographs of this data
    folder, drawn by `seed`, and compare it with float32.
    Returns what int8 costs, as lines of text; nothing for float32. Raises NoseprintError if OpenVINO (for int8 also
    NNCF) is missing, `out` is not empty, or the weights are bad.
    """
    for package in ("openvino", "nncf") if int8 else ("openvino",):
        if importlib.util.find_spec(package) is None:
            raise NoseprintError(f"{package} is not installed: pip install noseprint[deploy]")
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise NoseprintError(f"{out} already exists: name a new folder, or remove it")
    require_writable(out)
    header = read_header(weights)
    network = load_network(weights)
    try:
        model = convert(network)
    except Exception as error:  # its converters may raise any exception
        raise NoseprintError(f"{weights}: OpenVINO cannot convert {header.backbone} ({error})") from error
    cost = []
    if int8:
        model = quantise(model, read_train(int8), network, seed=seed)
        cost = _compare_with_float32(model, network, int8, seed=seed)
    about = {
        "format": FORMAT,
        "noseprint": __version__,
        "recipe": header.extra.get("recipe"),
        "fingerprint": fingerprint(weights),
        "backbone": header.backbone,
        "image_size": network.image_size,
        "input": "uint8 RGB (batch, 3, side, side), decoded upright, resized bilinearly without keeping proportions",
        "embedding_size": network.embedding_size,
        "weights": "int8" if int8 else "float32",
        "precision": "f32",
        "holdout": header.holdout_scores,
        "calibration": _knots(header.extra["calibration"]) if "calibration" in header.extra else None,
    }
    with friendly_write_errors(out), scratch_folder(out) as scratch:
        bundle = scratch / "bundle"
        with as_file(files("noseprint.deploy") / "bundle") as templates:
            shutil.copytree(templates, bundle, ignore=shutil.ignore_patterns("__pycache__"))
        import_openvino().save_model(model, bundle / "model.xml", compress_to_fp16=False)
        (bundle / "bundle.json").write_text(json.dumps(about, indent=1) + "\n")
        bundle.replace(out)
    return cost


def quantise(model: Any, table: ImageTable, network: SupConNet, *, seed: int) -> Any:
    """`model` in 8 bits, calibrated on up to CALIBRATION_IMAGES photographs of `table`, drawn by `seed`."""
    import_openvino()
    import nncf  # noqa: PLC0415 - an extra, and only after openvino's telemetry is off

    nncf.set_log_level(logging.WARNING)

    rows = np.random.default_rng(seed).permutation(len(table.paths))[:CALIBRATION_IMAGES]
    images = PlainImages([table.paths[row] for row in rows], transform=A.Resize(network.image_size, network.image_size))
    has_attention = any("attn" in name for name, _ in network.backbone.named_modules())
    return nncf.quantize(
        model,
        nncf.Dataset([images[i][None].numpy() for i in range(len(images))]),
        subset_size=len(images),
        preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER if has_attention else None,
        ignored_scope=nncf.IgnoredScope(names=_operations_after_backbone(model), validate=False),
    )


def _knots(calibration: str) -> dict[str, list[float]]:
    """Any calibration as points with straight lines between them, which a few lines of code can evaluate."""
    curve = calibration_from_json(calibration)
    similarity = np.union1d(np.linspace(-1, 1, 401), curve.at if isinstance(curve, Isotonic) else ())
    return {"similarity": similarity.tolist(), "log_odds": curve.log_odds(similarity).tolist()}


def _operations_after_backbone(model: Any) -> list[str]:
    """The operations between the backbone and the output; in 8 bits, embeddings would not have length 1."""
    names, todo = set(), [model.outputs[0].node.input_value(0).get_node()]
    while todo:
        operation = todo.pop()
        name = operation.get_friendly_name()
        if operation.get_type_name() != "Constant" and "network.backbone" not in name and name not in names:
            names.add(name)
            todo += [value.get_node() for value in operation.input_values()]
    return sorted(names)


def _compare_with_float32(model: Any, network: SupConNet, data: Path, *, seed: int) -> list[str]:
    """What int8 changes in the embeddings of the labelled photographs, or else of some of the training photographs."""
    try:
        labelled = read_labelled_data(data)
    except NothingToScoreError:
        labelled = None
    paths = labelled.paths if labelled else read_train(data).paths
    if not labelled:
        paths = tuple(paths[row] for row in np.random.default_rng(seed).permutation(len(paths))[-COMPARISON_IMAGES:])
    transform = A.Resize(network.image_size, network.image_size)
    engines: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "float32": embedder(network, device=torch.device("cpu"), engine="torch"),
        "int8": compile_model(model, "f32"),
    }
    embeddings = {
        name: embed_with(embed, paths, transform=transform, workers=0, label=name) for name, embed in engines.items()
    }
    cosine = (embeddings["float32"] * embeddings["int8"]).sum(1)
    lines = [
        f"int8 against float32 on {len(paths)} photographs: cosine {cosine.mean():.4f} on average, "
        f"{cosine.min():.4f} at least"
    ]
    if labelled:
        for name, rows in embeddings.items():
            scores = score_embeddings(rows, labelled)
            cells = (("ROC AUC", scores.auc), ("mAP", scores.map), ("Rank-1", scores.rank_1))
            lines.append(f"{name:8}" + "  ".join(f"{label} {cell}" for label, cell in cells if cell))
    return lines
