"""Runs an exported classifier on photographs."""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError

from noseprint.calibration.selective import CANNOT_TELL
from noseprint.data.class_tables import ClassTable
from noseprint.data.csv_rows import write_csv
from noseprint.data.decoding import Image, decode, in_threads
from noseprint.data.readable import leave_out
from noseprint.deploy.classifier_graph import classifier_in_torch
from noseprint.errors import DataError, Fault, NoseprintError
from noseprint.files import skipped_table
from noseprint.metrics.bootstrap import Score, bootstrap_mean
from noseprint.models import openvino_runtime
from noseprint.models.onnx_model import onnx_session
from noseprint.models.weights import fingerprint, load_classifier

Precision = Literal["int8", "bf16", "float32"]
Name = TypeVar("Name", bound=str)
Floats = npt.NDArray[np.float32]
Compute = Callable[[Image], Floats]
"""From an image (H, W, 3) to the probabilities (K,) of the classes. Several threads may call it."""


@dataclass(frozen=True, kw_only=True)
class ClassifierBundle:
    """What bundle.json says about an exported classifier.

    classes: (K,), in the order of the probabilities. image_size: side of the square that the network sees, in pixels.
    precision: to compute in. threshold: an answer with a lower probability is "cannot tell". 0: all answers are given,
    and keep the promise `right`. None: all are given, since no threshold keeps it. images: how many were held out.
    accuracy: on these, with its 95 % interval. fingerprint: of the weights.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=False)
    format: Literal["noseprint classifier bundle 1"] = "noseprint classifier bundle 1"
    version: str
    fingerprint: str
    backbone: str
    image_size: int
    input: str
    classes: tuple[str, ...]
    precision: Precision
    temperature: float
    right: float
    threshold: float | None
    answered: float
    """Share of the held-out images whose probability is at least the threshold."""
    images: int
    accuracy: Score
    holdout_of: str
    """Fingerprint of the weights that were scored: the same training without the held-out images."""

    def decision(self, label: str, probability: float) -> str:
        """The label, or "cannot tell"."""
        return CANNOT_TELL if self.threshold is not None and probability < self.threshold else label


BUNDLE = TypeAdapter(ClassifierBundle)
EXPORT_AGAIN = "export it again: recipes/style_mobile/train.sh with your options, --only deploy and --force"


def read_bundle(folder: Path) -> ClassifierBundle:
    """Read bundle.json of an exported classifier. Raises NoseprintError if it is missing or damaged."""
    path = folder / "bundle.json"
    try:
        data = path.read_bytes()
        return BUNDLE.validate_json(data)
    except FileNotFoundError:
        raise NoseprintError(f"{path} is missing: {EXPORT_AGAIN}") from None
    except OSError as error:
        raise NoseprintError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        if b'"noseprint bundle ' in data:
            raise NoseprintError(f"{path}: this bundle holds an embedding network, not a classifier") from error
        first = error.errors()[0]
        reason = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
        raise NoseprintError(f"{path} is damaged ({reason}): {EXPORT_AGAIN}") from error


def run_graph(model: Any, precision: Precision) -> Compute:
    """Compile a graph of `classifier_for_openvino`, or its file, for this CPU. bf16 is float32 on a CPU without it."""
    bf16 = precision == "bf16" and openvino_runtime.has_bf16()
    compiled = openvino_runtime.compile_model(model, "bf16" if bf16 else "f32").compiled
    requests = threading.local()

    def compute(image: Image) -> Floats:
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        rows: Floats = requests.own.infer([image[None]])[0]
        probabilities: Floats = rows[0].copy()
        return probabilities

    return compute


def run_onnx(model: bytes) -> tuple[Compute, tuple[str, ...]]:
    """The graph of `classifier_for_onnx` by ONNX Runtime, with as many threads as torch; and its classes."""
    session = onnx_session(model)
    classes = tuple(json.loads(session.get_modelmeta().custom_metadata_map["labels"]))
    return lambda image: cast(Floats, session.run(["probability"], {"image": image[None]})[0][0]), classes


def run_module(module: torch.nn.Module) -> Compute:
    """The graph in torch, see `classifier_in_torch`."""

    def compute(image: Image) -> Floats:
        with torch.inference_mode():
            probabilities: Floats = module(torch.from_numpy(np.ascontiguousarray(image))[None])[0].numpy()
            return probabilities

    return compute


def photograph_probabilities(
    engines: Mapping[Name, Compute], paths: Sequence[Path], *, label: str = "classifying"
) -> tuple[dict[Name, Floats], tuple[Fault, ...]]:
    """The probabilities of each engine for photographs, (N, K) by its name, and the faults of unreadable ones.

    Those have no row. Each photograph is decoded once, at its full size, in as many threads as there are cores. Raises
    NoseprintError if none can be read.
    """

    def compute(path: Path) -> list[Floats] | Fault:
        try:
            image = decode(path)
        except DataError as error:
            return error.faults[0]
        return [run(image) for run in engines.values()]

    found = list(in_threads(compute, paths, label=label))
    rows = [row for row in found if not isinstance(row, Fault)]
    faults = tuple(fault for fault in found if isinstance(fault, Fault))
    if not rows:
        raise NoseprintError(f"none of the {len(paths)} photographs can be read: {faults[0] if faults else 'no path'}")
    return dict(zip(engines, map(np.stack, zip(*rows, strict=True)), strict=True)), faults


def answer_photographs(folder: Path, images: ClassTable, *, out: Path, weights: Path) -> list[str]:
    """Answer with the bundle in `folder`: write image,label,probability,decision, a row for each image, to `out`.

    images: "" is the label of those whose class is not known. weights: those that were exported; torch runs them if
    OpenVINO is not installed. Photographs that cannot be read are listed beside `out`, in NAME.skipped.csv.
    Returns lines of text: how many got an answer, and how many are right where that is known. Raises NoseprintError if
    the bundle is damaged, no photograph can be read, or, without OpenVINO, if the weights are others.
    """
    bundle = read_bundle(folder)
    if openvino_runtime.is_installed():
        try:
            compute = run_graph(folder / "model.xml", bundle.precision)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise NoseprintError(
                f"{folder}: model.xml or model.bin is missing or damaged ({reason}): {EXPORT_AGAIN}"
            ) from error
        how = f"OpenVINO, {bundle.precision}"
    elif fingerprint(weights) != bundle.fingerprint:
        raise NoseprintError(
            f"{weights}: these are not the weights of {folder}: run train.sh again, or install openvino"
        )
    else:
        compute = run_module(classifier_in_torch(load_classifier(weights), temperature=bundle.temperature))
        how = "torch, float32, as OpenVINO is not installed"
    found, faults = photograph_probabilities({"": compute}, images.paths)
    unread = f"{len(faults)} of {len(images)} photographs cannot be read"
    leave_out(faults, unread, fix="replace them", skip_bad=True, skipped_csv=skipped_table(out))
    bad = {fault.file for fault in faults}
    images = images.where(path not in bad for path in images.paths)
    best = found[""].argmax(axis=1)
    labels = [bundle.classes[row] for row in best.tolist()]
    probability = found[""].max(axis=1).tolist()
    decisions = [bundle.decision(label, p) for label, p in zip(labels, probability, strict=True)]
    rows = zip(images.names, labels, (f"{p:.6f}" for p in probability), decisions, strict=True)
    write_csv(out, ("image", "label", "probability", "decision"), rows)
    return [
        f"{len(images)} photographs, answered by {bundle.backbone} ({how}).",
        *_scores(bundle, images, labels, decisions),
    ]


def _scores(bundle: ClassifierBundle, images: ClassTable, labels: Sequence[str], decisions: Sequence[str]) -> list[str]:
    answered = np.array([decision != CANNOT_TELL for decision in decisions])
    lines = (
        [f'"{CANNOT_TELL}": {(~answered).sum()} of them, whose probability is below {bundle.threshold:.3f}.']
        if bundle.threshold
        else [
            f'None is "{CANNOT_TELL}": '
            + (
                f"no threshold was found above which {bundle.right:.0%} of the answers are right."
                if bundle.threshold is None
                else f"{bundle.right:.0%} of all answers are right."
            )
        ]
    )
    known = np.array([bool(label) for label in images.labels])
    right = np.array([label == given for label, given in zip(images.labels, labels, strict=True)], float)
    groups = np.array(images.groups or images.names)
    parts = [("the images", known), *([] if answered.all() else [("the answers given", known & answered)])]
    for what, rows in parts:
        if rows.any():
            score = Score(float(right[rows].mean()), *bootstrap_mean(right[rows], groups[rows], seed=0))
            lines.append(f"Right: {score} of {what} whose class is known ({rows.sum()}).")
    return lines
