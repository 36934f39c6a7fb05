"""Exports a classifier: a folder that another program can run, with the preprocessing inside the network."""

import importlib.util
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch

from noseprint.calibration.selective import answering_threshold
from noseprint.data.central_square import CentralSquare
from noseprint.data.class_tables import ClassTable
from noseprint.data.csv_rows import write_csv
from noseprint.data.decoding import Image, decode
from noseprint.data.readable import leave_out
from noseprint.deploy.classifier_answers import (
    BUNDLE,
    ClassifierBundle,
    Compute,
    Floats,
    Precision,
    photograph_probabilities,
    run_graph,
    run_onnx,
)
from noseprint.deploy.classifier_graph import classifier_for_onnx, classifier_for_openvino
from noseprint.deploy.precisions import PrecisionScore, choose_precision, compare_precisions, relative_times
from noseprint.deploy.quantisation import (
    CALIBRATION_IMAGES,
    operations_after_backbone,
    operations_before_network,
    quantise_on,
)
from noseprint.errors import NoseprintError
from noseprint.files import friendly_write_errors, replace_folder, require_writable, scratch_folder
from noseprint.inference.ensemble import fit_temperature, with_temperature
from noseprint.models.classifier import ClassifierNet
from noseprint.models.openvino_runtime import has_bf16, import_openvino
from noseprint.models.weights import fingerprint, load_classifier
from noseprint.version import __version__

COMPARED, TIMED = 200, 20
"""At most this many held-out photographs are compared with torch, and timed in each precision."""
MOST_DIFFERENCE = 0.002
"""Largest allowed difference of a probability between torch and an export in float32."""
FIXTURES, FIXTURE_SIDE = 8, 512
"""Photographs in a bundle, and the longer side in pixels to which larger ones are shrunk."""
CLEAR = 0.1
"""How much more probable the best class of a photograph in the fixture should be than the second best."""


@dataclass(frozen=True, kw_only=True)
class ExportedClassifier:
    """What `export_classifier` found: the score of each precision, the precision taken, and lines of text."""

    scores: list[PrecisionScore]
    taken: Precision
    lines: list[str]


def export_classifier(
    weights: Path,
    out: Path,
    *,
    proof: Path,
    train: ClassTable,
    holdout: ClassTable,
    image_size: int | None = None,
    precision: Precision | None = None,
    most_loss: float = 0.005,
    right: float = 0.95,
    seed: int = 0,
    skip_bad: bool = False,
) -> ExportedClassifier:
    """Write a classifier as the bundle `out`. It replaces an older one, and is written completely or not at all.

    weights: of the classifier. proof: weights of the same training without the held-out images, on which they are
    scored; `weights` itself if it has not seen them. train: images that int8 is calibrated on, drawn by `seed`; int8 is
    left out if nncf is not installed. holdout: photographs with labels, whose groups widen the intervals. image_size:
    side of the network's input in pixels; None: as trained. precision: None for the fastest that loses little.
    most_loss, right: see `ClassifierExportOptions`.
    Raises NoseprintError if openvino is missing, the two networks differ in kind, there is no held-out image, a
    photograph cannot be read without `skip_bad`, this CPU or installation lacks the precision, or an export answers
    differently from torch.
    """
    if not is_installed("openvino"):
        raise NoseprintError("openvino is not installed: pip install noseprint[deploy]")
    if not len(holdout):
        raise NoseprintError(
            "no image is held out, so nothing shows what an export loses: put some into DIR/val/CLASS, or give them "
            "the split val in the table, and run train.sh again"
        )
    require_writable(out)
    if precision == "bf16" and not has_bf16():
        raise NoseprintError("--precision bf16: this CPU does not compute in bf16; give float32 or int8")
    if precision == "int8" and not is_installed("nncf"):
        raise NoseprintError("--precision int8: nncf is not installed (pip install noseprint[deploy])")
    final, tested = (load_classifier(path, image_size=image_size) for path in (weights, proof))
    if final.config() != tested.config() or len(final.classes) != 1:
        raise NoseprintError(f"{weights} and {proof} are different networks, or have several heads: train again")
    (classes,) = final.classes.values()
    with_onnx, lines = is_installed("onnx") and is_installed("onnxscript"), list[str]()

    tested_models: dict[Precision, Any] = {"float32": classifier_for_openvino(tested)}
    engines: dict[Precision, Compute] = {"float32": run_graph(tested_models["float32"], "float32")}
    if has_bf16():
        engines["bf16"] = run_graph(tested_models["float32"], "bf16")
    else:
        lines.append("bf16 is left out: this CPU does not have it.")
    if is_installed("nncf"):
        tested_models["int8"] = _in_8_bits(tested, train, seed=seed)
        engines["int8"] = run_graph(tested_models["int8"], "int8")
    else:
        lines.append("int8 is left out: nncf is not installed (pip install noseprint[deploy]).")
    probability, faults = photograph_probabilities(engines, holdout.paths, label="scoring")
    found = f"{len(faults)} of {len(holdout)} photographs cannot be read"
    leave_out(faults, found, fix="replace them, or prepare the data again", skip_bad=skip_bad, skipped_csv=None)
    bad = {fault.file for fault in faults}
    holdout = holdout.where(path not in bad for path in holdout.paths)
    times = relative_times(engines, [decode(holdout.paths[row]) for row in _spread(len(holdout), TIMED)])
    scores = compare_precisions(probability, holdout.labels, times=times, classes=classes, groups=holdout.groups)
    taken = precision or choose_precision(scores, most_loss=most_loss)
    answering = _fit_answering(probability[taken], holdout, classes, right=right)
    grouped = holdout.groups is not None and len(set(holdout.groups)) < len(holdout)
    lines += [f"{len(holdout)} held-out images, 95 % intervals over {'groups' if grouped else 'images'}:"]
    lines += [*map(str, scores), f"{taken} is taken.", answering.line]

    temperature = answering.temperature
    model = classifier_for_openvino(final, temperature=temperature)
    contestants = {"torch": _in_torch(final, temperature=temperature), "float32": run_graph(model, "float32")}
    if taken == "int8":
        model = _in_8_bits(final, train, seed=seed, temperature=temperature)
    if taken != "float32":
        contestants[taken] = run_graph(model, taken)
    onnx = classifier_for_onnx(final, temperature=temperature) if with_onnx else None
    if onnx is None:
        lines.append("model.onnx is left out: onnx and onnxscript are not installed (pip install noseprint[onnx]).")
    elif is_installed("onnxruntime"):
        contestants["ONNX"], _ = run_onnx(onnx)
    else:
        lines.append("model.onnx is not compared: onnxruntime is not installed (pip install noseprint[onnx]).")
    compared = [holdout.paths[row] for row in _spread(len(holdout), COMPARED)]
    lines += _compare_with_torch(photograph_probabilities(contestants, compared, label="comparing")[0], weights)
    images, expected = _fixture(contestants, compared, classes, exact=taken == "float32")

    about = ClassifierBundle(
        version=__version__,
        fingerprint=fingerprint(weights),
        backbone=final.backbone_name,
        image_size=final.image_size,
        input="uint8 RGB (1, height, width, 3), any size, upright, not resized",
        classes=classes,
        precision=taken,
        temperature=temperature,
        right=right,
        threshold=answering.threshold,
        answered=answering.answered,
        images=len(holdout),
        accuracy=next(score.accuracy for score in scores if score.precision == taken),
        holdout_of=fingerprint(proof),
    )
    model.set_rt_info(taken, ["precision"])
    model.set_rt_info(repr(about.threshold or 0.0), ["threshold"])
    with friendly_write_errors(out), scratch_folder(out) as scratch:
        folder = scratch / "bundle"
        for templates in ("bundle", "classifier_bundle"):
            with as_file(files("noseprint.deploy") / templates) as source:
                shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        for module in ("image_headers.py", "opencv_image.py"):
            (folder / module).write_bytes((files("noseprint.data") / module).read_bytes())
        with (folder / "README.md").open("a", encoding="utf-8") as file:
            file.writelines(f"- {line}\n" for line in lines)
        _save(model, folder / "model.xml")
        if onnx is not None:
            (folder / "model.onnx").write_bytes(onnx)
        (folder / "bundle.json").write_bytes(BUNDLE.dump_json(about, indent=1) + b"\n")
        (folder / "fixture").mkdir()
        for name, image in images.items():
            cv2.imwrite(str(folder / "fixture" / name), image[..., ::-1])
        text = json.dumps(expected, ensure_ascii=False, indent=1) + "\n"
        (folder / "fixture" / "expected.json").write_text(text, encoding="utf-8")
        replace_folder(folder, out)
    return ExportedClassifier(scores=scores, taken=taken, lines=lines)


def export_models(weights: Path, out: Path, *, image_size: int, train: ClassTable, seed: int = 0) -> None:
    """Write a classifier, with an input of `image_size` pixels, as models for measurements into the folder `out`.

    They are float32.xml, int8.xml if nncf is installed, and model.onnx if onnx and onnxscript are. The folder replaces
    an older one, and is written completely or not at all. train, seed: see `export_classifier`.
    Raises NoseprintError if the network does not take this size.
    """
    network = load_classifier(weights, image_size=image_size)
    with friendly_write_errors(out), scratch_folder(out) as scratch:
        (folder := scratch / "models").mkdir()
        _save(classifier_for_openvino(network), folder / "float32.xml")
        if is_installed("nncf"):
            _save(_in_8_bits(network, train, seed=seed), folder / "int8.xml")
        if is_installed("onnx") and is_installed("onnxscript"):
            (folder / "model.onnx").write_bytes(classifier_for_onnx(network))
        replace_folder(folder, out)


def write_precisions(path: Path, exported: ExportedClassifier) -> None:
    """Write the scores as a table: precision,accuracy,low,high,loss,loss_low,loss_high,same,time,taken."""
    rows = []
    for score in exported.scores:
        values = [f"{v:.6f}" for of in (score.accuracy, score.loss) for v in (of.value, of.low, of.high)]
        rows.append(
            (
                score.precision,
                *values,
                f"{score.same:.4f}",
                f"{score.time:.4f}",
                "yes" if score.precision == exported.taken else "",
            )
        )
    header = ("precision", "accuracy", "low", "high", "loss", "loss_low", "loss_high", "same", "time", "taken")
    write_csv(path, header, rows)


def is_installed(package: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


@dataclass(frozen=True)
class _Answering:
    temperature: float
    threshold: float | None
    answered: float
    line: str


def _fit_answering(probability: Floats, holdout: ClassTable, classes: Sequence[str], *, right: float) -> _Answering:
    """The temperature and the threshold of "cannot tell" on the held-out images, and a line about them."""
    number = {name: index for index, name in enumerate(classes)}
    truth = np.array([number[label] for label in holdout.labels])
    temperature = round(fit_temperature(probability, truth), 4)
    adjusted = with_temperature(probability, temperature)
    confidence, hits = adjusted.max(axis=1), adjusted.argmax(axis=1) == truth
    groups = None if holdout.groups is None else np.asarray(holdout.groups)
    threshold = answering_threshold(confidence, hits, least=right, groups=groups)
    given = confidence >= (threshold or 0)
    if threshold is None:
        line = (
            f'"cannot tell" is never answered: no threshold was found above which {right:.0%} of the answers are '
            "right, with 95 % confidence. Hold out more images, of more groups, or give a lower --right."
        )
    elif threshold == 0:
        line = f'"cannot tell" is never answered: {right:.0%} of all answers are right, with 95 % confidence.'
    else:
        line = (
            f'"cannot tell" below a probability of {threshold:.3f}: of the other answers, {right:.0%} are right, with '
            f"95 % confidence. On the held-out images {given.mean():.1%} are answered, and {hits[given].mean():.1%} "
            "of these are right."
        )
    return _Answering(temperature, threshold, float(given.mean()), f"Temperature {temperature:.2f}. {line}")


def _in_8_bits(network: ClassifierNet, train: ClassTable, *, seed: int, temperature: float = 1.0) -> Any:
    """The graph in 8 bits. Preprocessing, head and softmax stay in float."""
    model = classifier_for_openvino(network, temperature=temperature)
    rows = np.random.default_rng(seed).permutation(len(train))[:CALIBRATION_IMAGES]
    return quantise_on(
        [train.paths[row] for row in rows],
        model,
        network,
        read=lambda path: decode(path)[None],
        ignored=[*operations_before_network(model), *operations_after_backbone(model)],
    )


def _in_torch(network: ClassifierNet, *, temperature: float) -> Compute:
    """As in training: the transform of the photograph, then the network."""
    square = CentralSquare(network.image_size)

    def compute(image: Image) -> Floats:
        pixels = torch.from_numpy(square.apply(image)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            probabilities: Floats = torch.softmax(network(pixels) / temperature, dim=1)[0].numpy()
            return probabilities

    return compute


def _spread(rows: int, most: int) -> list[int]:
    """Up to `most` rows, evenly spread."""
    return sorted({round(row) for row in np.linspace(0, rows - 1, min(rows, most))})


def _compare_with_torch(probability: Mapping[str, Floats], weights: Path) -> Iterator[str]:
    """Lines that compare each engine with torch. Raises NoseprintError if float32 or ONNX differs."""
    expected = probability["torch"]
    for name, found in probability.items():
        if name == "torch":
            continue
        same, difference = int((found.argmax(1) == expected.argmax(1)).sum()), float(np.abs(found - expected).max())
        line = (
            f"{name} against torch on {len(found)} held-out photographs: the same class for {same}, largest difference "
            f"of a probability {difference:.5f}"
        )
        if name in ("float32", "ONNX") and not (same == len(found) and difference <= MOST_DIFFERENCE):
            raise NoseprintError(
                f"{weights}: the exported network answers differently from torch ({line}; {MOST_DIFFERENCE} is allowed)"
            )
        yield line + "."


def _fixture(
    engines: Mapping[str, Compute], paths: Sequence[Path], classes: Sequence[str], *, exact: bool
) -> tuple[dict[str, Image], dict[str, Any]]:
    """Photographs of different shapes by their file names, and torch's answers; clear cases are preferred.

    exact: whether all engines compute in float32, so that they may differ little from torch.
    """
    found = []
    for row in _spread(len(paths), 5 * FIXTURES):
        image = decode(paths[row])
        if (scale := FIXTURE_SIDE / max(image.shape)) < 1:
            size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
            image = cast(Image, cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        answers = {name: run(image) for name, run in engines.items()}
        if len({int(answer.argmax()) for answer in answers.values()}) == 1:
            second, first = np.sort(answers["torch"])[-2:]
            found.append((first - second < CLEAR, image, answers))
    clear = sorted(found, key=lambda item: item[0])[: max(FIXTURES, sum(not unclear for unclear, *_ in found))]
    clear.sort(key=lambda item: item[1].shape[1] / item[1].shape[0])
    chosen = [clear[row][1:] for row in _spread(len(clear), FIXTURES)]
    images = {f"{number}.ppm": image for number, (image, _) in enumerate(chosen, 1)}
    expected = [answers["torch"] for _, answers in chosen]
    differences = [float(np.abs(p - answers["torch"]).max()) for _, answers in chosen for p in answers.values()]
    tolerance = max([0.001 if exact else 0.02, *(2 * difference for difference in differences)])
    cases = [
        [name, classes[int(p.argmax())], round(float(p.max()), 6)] for name, p in zip(images, expected, strict=True)
    ]
    return images, {"tolerance": round(tolerance, 6), "answers": cases}


def _save(model: Any, path: Path) -> None:
    import_openvino().save_model(model, path, compress_to_fp16=False)
