"""How fast classifiers answer on this CPU, and how often they are right: all in one run, taking turns."""

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from noseprint.data.class_tables import ClassTable
from noseprint.data.decoding import Image, decode
from noseprint.deploy.classifier_answers import Compute, Precision, read_bundle, run_graph, run_module, run_onnx
from noseprint.deploy.classifier_graph import classifier_in_torch
from noseprint.deploy.fused_torch import fused
from noseprint.errors import NoseprintError
from noseprint.metrics.bootstrap import Score, bootstrap_mean
from noseprint.models.openvino_runtime import compile_model, has_bf16, import_openvino
from noseprint.models.weights import load_classifier
from noseprint.progress import progress

MOST_SIZES = 8
"""Sizes of images for which OpenVINO compiles a model of their own."""
BLOCK = 10
"""Images that a contestant answers before the next one takes its turn. So other work on the machine slows all alike."""


@dataclass(frozen=True)
class Contestant:
    """A network at one size, in one precision, computed by one engine.

    run: gives the probabilities (K,) of an image. classes: (K,). many: computes several images as fast as possible;
    None: by `run`, one after the other.
    """

    network: str
    size: int
    precision: str
    engine: str
    run: Compute
    classes: tuple[str, ...]
    many: Callable[[Sequence[Image]], None] | None = None


@dataclass
class Measurement:
    """What was measured of one contestant.

    seconds: of each image alone, without decoding. right: (N,) whether the answer to each image is right. rates: images
    per second, of each round. on_front: whether no other is both faster (median) and at least as accurate.
    """

    contestant: Contestant
    seconds: list[float] = field(default_factory=list)
    right: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    accuracy: Score = field(default_factory=lambda: Score(0.0, 0.0, 0.0))
    rates: list[float] = field(default_factory=list)
    on_front: bool = False

    @property
    def median_ms(self) -> float:
        """The median latency in milliseconds."""
        return 1000 * float(np.median(self.seconds))

    @property
    def p95_ms(self) -> float:
        """The 95th percentile of the latency in milliseconds."""
        return 1000 * float(np.percentile(self.seconds, 95))

    @property
    def images_per_s(self) -> float:
        """The median rate of all rounds."""
        return float(np.median(self.rates))

    def score(self, *, weight: float, enough: float) -> float:
        """Accuracy and speed together, in 0..1: (1 - weight) * accuracy + weight * speed.

        The speed is the rate, up to `enough` images per second, divided by that.
        """
        return (1 - weight) * self.accuracy.value + weight * min(1.0, self.images_per_s / enough)


def contestants(path: Path) -> Iterator[Contestant]:
    """What can be measured in a bundle, a folder of models, an .xml, an .onnx or a weights file.

    Each uses as many threads as torch does now.
    Raises NoseprintError for anything else, and if a file is missing or damaged.
    """
    if (path / "bundle.json").is_file():
        read_bundle(path)  # refuses that of an embedding network
        yield from contestants(path / "model.xml")
    elif path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix in (".xml", ".onnx", ".safetensors"))
        if not found:
            raise NoseprintError(f"{path}: holds no bundle.json, .xml, .onnx or .safetensors to measure")
        for file in found:
            yield from contestants(file)
    elif not path.is_file():
        raise NoseprintError(f"{path}: no such file or folder; give a bundle, a folder of models or one of their files")
    elif path.suffix in (".xml", ".onnx"):
        try:
            yield from _exported(path)
        except NoseprintError:
            raise
        except Exception as error:  # runtimes raise anything
            reason = str(error).strip().splitlines()[-1][:300]
            raise NoseprintError(f"{path}: is no classifier that noseprint exported ({reason})") from error
    else:
        yield from _in_torch(path)


def measure(found: Sequence[Contestant], images: ClassTable, *, rounds: int = 3) -> tuple[list[Measurement], float]:
    """Measure contestants on photographs with labels, in `rounds`, and mark those on the Pareto front.

    In each round, each contestant answers all images, BLOCK of them at each turn. Before the first round, each answers
    all images once: that gives the accuracy, and lets engines prepare for every size of image.
    Returns the measurements and the median milliseconds of decoding. Raises NoseprintError if the classes of
    contestants differ, no image has one of them, or a photograph cannot be read.
    """
    if different := [one for one in found if set(one.classes) != set(found[0].classes)]:
        raise NoseprintError(f"{different[0].network} has other classes than {found[0].network}: measure them apart")
    known = set(found[0].classes)
    images = images.where(label in known for label in images.labels)
    if not len(images):
        raise NoseprintError("no image has a class of the networks: give labelled images with --data DIR and --split")
    pixels, decoding = list[Image](), list[float]()
    for path in images.paths:
        start = time.perf_counter()
        pixels.append(decode(path))
        decoding.append(time.perf_counter() - start)
    measured = [Measurement(one) for one in found]
    units = np.asarray(images.groups or images.names)
    for one in progress(measured, desc="accuracy", unit="network", leave=False):
        given = [one.contestant.classes[int(one.contestant.run(image).argmax())] for image in pixels]
        one.right = np.array([label == answer for label, answer in zip(images.labels, given, strict=True)], np.float64)
        one.accuracy = Score(float(one.right.mean()), *bootstrap_mean(one.right, units, seed=0))
    blocks = [pixels[start : start + BLOCK] for start in range(0, len(pixels), BLOCK)]
    for turn in progress(range(rounds), desc="speed", unit="round", leave=False):
        spent = np.zeros(len(measured))
        for number, block in enumerate(blocks):
            for at in np.roll(np.arange(len(measured)), turn + number):  # so that none always comes after the same one
                spent[at] += _turn(measured[at], block)
        for one, seconds in zip(measured, spent.tolist(), strict=True):
            one.rates.append(len(pixels) / seconds)
    for one in measured:
        better = (o for o in measured if o.median_ms < one.median_ms and o.accuracy.value >= one.accuracy.value)
        one.on_front = next(better, None) is None
    return measured, 1000 * float(np.median(decoding))


def _turn(one: Measurement, block: Sequence[Image]) -> float:
    """Time each image of a block; return the seconds of the whole block at full speed."""
    total = 0.0
    for image in block:
        start = time.perf_counter()
        one.contestant.run(image)
        one.seconds.append(time.perf_counter() - start)
        total += one.seconds[-1]
    if one.contestant.many is None:
        return total
    start = time.perf_counter()
    one.contestant.many(block)
    return time.perf_counter() - start


def _exported(path: Path) -> Iterator[Contestant]:
    network, size = _named(path)
    about = None
    if (path.parent / "bundle.json").is_file():
        about, folder = read_bundle(path.parent), path.resolve().parent
        network, size = f"{about.backbone.partition('.')[0]} in {folder.parent.name}/{folder.name}", about.image_size
    if about and path.suffix == ".xml":
        yield from _openvino(path, about.precision, network=network, size=size)
    elif path.suffix == ".onnx":
        compute, classes = run_onnx(path.read_bytes())
        yield Contestant(network, size, "float32", "onnxruntime", compute, classes)
    elif path.stem == "int8":
        yield from _openvino(path, "int8", network=network, size=size)
    else:
        yield from _openvino(path, "float32", network=network, size=size)
        if has_bf16():
            yield from _openvino(path, "bf16", network=network, size=size)


def _openvino(path: Path, precision: Precision, *, network: str, size: int) -> Iterator[Contestant]:
    model = import_openvino().Core().read_model(path)
    labels = tuple(json.loads(model.get_rt_info(["labels"]).astype(str)))
    any_size = run_graph(model, precision)
    yield Contestant(network, size, precision, "openvino", any_size, labels, _streams(model, precision))
    yield Contestant(network, size, precision, "openvino-fixed", _fixed(model, precision, any_size), labels)


def _fixed(model: Any, precision: Precision, any_size: Compute) -> Compute:
    """Compute as a program whose images have one size, as a camera's: the model is compiled for that size.

    That is done for the first MOST_SIZES sizes, when they come first; `any_size` computes images of the others.
    """
    compiled: dict[tuple[int, ...], Compute] = {}

    def compute(image: Image) -> npt.NDArray[np.float32]:
        if image.shape not in compiled:
            if len(compiled) < MOST_SIZES:
                (own := model.clone()).reshape([1, *image.shape])
                compiled[image.shape] = run_graph(own, precision)
            else:
                compiled[image.shape] = any_size
        return compiled[image.shape](image)

    return compute


def _streams(model: Any, precision: Precision) -> Callable[[Sequence[Image]], None]:
    """A function that computes images in as many streams as OpenVINO finds best."""
    compiled = compile_model(model, "bf16" if precision == "bf16" else "f32", streams=True).compiled
    queue = import_openvino().AsyncInferQueue(compiled)

    def many(images: Sequence[Image]) -> None:
        for image in images:
            queue.start_async([image[None]])
        queue.wait_all()

    return many


def _in_torch(path: Path) -> Iterator[Contestant]:
    network = load_classifier(path)
    name = network.backbone_name.partition(".")[0]
    (classes,) = network.classes.values()
    for engine, one in (("torch", network), ("torch-fused", fused(network))):
        yield Contestant(name, network.image_size, "float32", engine, run_module(classifier_in_torch(one)), classes)


def _named(path: Path) -> tuple[str, int]:
    """The network and the size in the name of the file's folder, such as mobilenetv3_small_100-160."""
    match = re.fullmatch(r"(.+)-(\d+)", path.resolve().parent.name)
    return (match[1], int(match[2])) if match else (path.resolve().parent.name, 0)
