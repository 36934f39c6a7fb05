"""Exports a network as a folder that another program can use without noseprint."""

import importlib.util
import json
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
from noseprint.deploy.quantisation import CALIBRATION_IMAGES, operations_after_backbone, quantise_on
from noseprint.errors import NoseprintError
from noseprint.files import friendly_write_errors, require_writable, scratch_folder
from noseprint.inference.evaluation import score_embeddings
from noseprint.inference.labelled_data import NothingToScoreError, read_labelled_data
from noseprint.models.embed import embed_with, embedder
from noseprint.models.network import EmbeddingNet
from noseprint.models.onnx_model import convert_to_onnx, run_onnx
from noseprint.models.openvino_runtime import MIN_COSINE, compile_model, convert, cosine_to_torch, import_openvino
from noseprint.models.traced import convert_to_torchscript, run_torchscript
from noseprint.models.weights import fingerprint, load_network, read_header
from noseprint.version import __version__

FORMAT = "noseprint bundle 2"
COMPARISON_IMAGES = 500
"""Training photographs on which int8 is compared with float32 if the data folder has no labelled ones."""


def export(
    weights: Path, out: Path, *, onnx: bool = False, torchscript: bool = False, int8: Path | None = None, seed: int = 0
) -> list[str]:
    """Write `weights` as a bundle into the new folder `out`, completely or not at all.

    weights: of an embedding network. out: it must be missing or empty. onnx, torchscript: write the network as ONNX
    or as TorchScript, not for OpenVINO; int8 must be None then. int8: quantise the network to 8 bits (post-training
    quantisation, arXiv 2002.08679) with up to CALIBRATION_IMAGES training photographs of this data folder, drawn by
    `seed`, and compare it with float32.
    Returns how the exported network compares with torch, or what int8 costs, as lines of text. Raises NoseprintError if
    a package is missing, `out` is not empty, the weights are bad, or the embeddings differ from those of torch by more
    than MIN_COSINE allows.
    """
    form = "TorchScript" if torchscript else "ONNX" if onnx else "OpenVINO"
    extra, *packages = {
        "OpenVINO": ("deploy", "openvino", *(["nncf"] if int8 else [])),
        "ONNX": ("onnx", "onnx", "onnxscript"),
        "TorchScript": ("",),
    }[form]
    if missing := [package for package in packages if importlib.util.find_spec(package) is None]:
        verb = "is" if len(missing) == 1 else "are"
        raise NoseprintError(f"{' and '.join(missing)} {verb} not installed: pip install noseprint[{extra}]")
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise NoseprintError(f"{out} already exists: name a new folder, or remove it")
    require_writable(out)
    header = read_header(weights)
    if header.kind == "classifier":
        raise NoseprintError(
            f"{weights}: holds a classifier, and this command exports embedding networks. The classifiers of "
            "recipes/style_mobile are exported by its train.sh: your options, --only deploy and --force"
        )
    network = load_network(weights)
    try:
        model = _convert(network, form)
    except Exception as error:  # converters may raise any exception
        raise NoseprintError(f"{weights}: {header.backbone} cannot be converted to {form} ({error})") from error
    if int8:
        model = quantise(model, read_train(int8), network, seed=seed)
        lines = _compare_with_float32(model, network, int8, seed=seed)
    else:
        lines = [_compare_with_torch(model, network, weights, form=form)]
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
        for module in ("image_headers.py", "opencv_image.py"):
            (bundle / module).write_bytes((files("noseprint.data") / module).read_bytes())
        if form == "OpenVINO":
            import_openvino().save_model(model, bundle / "model.xml", compress_to_fp16=False)
        else:
            (bundle / ("model.onnx" if onnx else "model.pt")).write_bytes(model)
        (bundle / "bundle.json").write_text(json.dumps(about, indent=1) + "\n")
        bundle.replace(out)
    return lines


def quantise(model: Any, table: ImageTable, network: EmbeddingNet, *, seed: int) -> Any:
    """`model` in 8 bits, calibrated on up to CALIBRATION_IMAGES photographs of `table`, drawn by `seed`."""
    rows = np.random.default_rng(seed).permutation(len(table.paths))[:CALIBRATION_IMAGES]
    images = PlainImages([table.paths[row] for row in rows], transform=A.Resize(network.image_size, network.image_size))
    return quantise_on(
        range(len(images)),
        model,
        network,
        read=lambda row: images[row][None].numpy(),
        ignored=operations_after_backbone(model),
    )


def _knots(calibration: str) -> dict[str, list[float]]:
    """Any calibration as points with straight lines between them, which a few lines of code can evaluate."""
    curve = calibration_from_json(calibration)
    similarity = np.union1d(np.linspace(-1, 1, 401), curve.at if isinstance(curve, Isotonic) else ())
    return {"similarity": similarity.tolist(), "log_odds": curve.log_odds(similarity).tolist()}


def _convert(network: EmbeddingNet, form: str) -> Any:
    if form == "TorchScript":
        return convert_to_torchscript(network)
    return convert_to_onnx(network) if form == "ONNX" else convert(network)


def _runner(model: Any, form: str) -> Callable[[torch.Tensor], torch.Tensor]:
    if form == "TorchScript":
        return run_torchscript(model)
    return run_onnx(model) if form == "ONNX" else compile_model(model, "f32")


def _compare_with_torch(model: Any, network: EmbeddingNet, weights: Path, *, form: str) -> str:
    """Compare the embeddings of two test images; return a line of text. Raises NoseprintError if they differ."""
    if form == "ONNX" and importlib.util.find_spec("onnxruntime") is None:
        return "not compared with torch: onnxruntime is not installed (pip install noseprint[onnx])"
    try:
        run = _runner(model, form)
        # Image by image: the model must take any batch, not only one as large as that of the conversion.
        cosine = cosine_to_torch(lambda images: torch.cat([run(image[None]) for image in images]), network)
    except Exception as error:  # runtimes raise anything
        runtime = "ONNX Runtime" if form == "ONNX" else form
        raise NoseprintError(
            f"{weights}: {runtime} cannot run the exported {network.backbone_name} ({error})"
        ) from error
    least = MIN_COSINE["f32"]
    found = f"lowest cosine to torch on two test images: {cosine:.7f} ({least} is required)"
    if not cosine >= least:
        raise NoseprintError(
            f"{weights}: the exported {network.backbone_name} gives other embeddings than torch ({found}): the "
            "weights amplify rounding errors, as untrained ones may, or the converter is at fault; try the other format"
        )
    return found


def _compare_with_float32(model: Any, network: EmbeddingNet, data: Path, *, seed: int) -> list[str]:
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
