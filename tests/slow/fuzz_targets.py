"""Everything that reads other people's bytes, as targets: valid seeds and the reader.

A reader must raise NoseprintError (options: exit with status 0, 1 or 2) or return what it promises. Anything else is a
finding.
"""

import contextlib
import io
import json
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from unittest import mock

import cv2
import numpy as np
import pandas as pd
import PIL.Image
import torch

from noseprint.calibration.curves import Beta, Calibration, Isotonic, Platt, calibration_from_json
from noseprint.command_line import run
from noseprint.data import tables
from noseprint.data.decoding import Image, decode
from noseprint.errors import NoseprintError
from noseprint.inference.infer import InferOptions, stored_calibration
from noseprint.inference.similarity_table import read_similarities
from noseprint.models.network import SupConNet
from noseprint.models.published import load_published
from noseprint.models.weights import load_network, save_weights
from noseprint.tasks.embedding_options import EmbeddingOptions, Stage2Options, require_same_holdout
from noseprint.training.checkpoints import load_state, save_state

T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """Valid seeds and their reader: it returns true if it accepts its input, false if it raises a documented error."""

    seeds: tuple[bytes, ...]
    read: Callable[[bytes], bool]
    """Raises undocumented errors, and AssertionError for a broken promise."""


def targets(folder: Path) -> dict[str, Target]:
    """All targets by name. They write files into `folder`, which must be empty."""
    torch.manual_seed(0)
    return _tables(folder / "tables") | _images(folder) | _weights(folder) | _others(folder)


def _accepts(call: Callable[[], T], promise: Callable[[T], None] = lambda _: None) -> bool:
    try:
        result = call()
    except NoseprintError as error:
        str(error).encode()  # it can be printed
        return False
    promise(result)
    return True


def _tables(data: Path) -> dict[str, Target]:
    names = [f"{name}.jpg" for name in ("a", "b", "c d", "é")]
    for split in ("train", "validation", "test"):
        (data / split / "images").mkdir(parents=True)
        for name in names:
            (data / split / "images" / name).touch()

    def table(path: str, *seeds: str, read: Callable[[], T], promise: Callable[[T], None]) -> Target:
        def see(content: bytes) -> bool:
            (data / path).write_bytes(content)
            accepted = _accepts(read, promise)
            (data / path).unlink()
            return accepted

        seeds = (*seeds, seeds[0].replace("\n", "\r\n"), f"\ufeff{seeds[0]}")
        return Target(tuple(seed.encode() for seed in seeds), see)

    def images(found: tables.ImageTable | tables.RetrievalTable) -> None:
        assert all(path.is_file() and path.parent.name == "images" for path in found.paths)

    def pairs(found: tables.PairTable) -> None:
        assert all((found.folder / name).is_file() and "/" not in name for name in found.names())

    def labels(found: tuple[tables.PairTable, tuple[bool, ...]]) -> None:
        pairs(found[0])
        assert len(found[0]) == len(found[1])

    def scores(found: pd.DataFrame) -> None:
        assert np.isfinite(found["prediction"]).all()

    pair_header = "imageA,imageB"
    train = "dog ID,nose print image\n1,a.jpg\n1,b.jpg\n2,c d.jpg\n"
    quoted = 'dog ID,nose print image\n"1","é.jpg"\n'
    pair_table = f"{pair_header}\na.jpg,b.jpg\nc d.jpg,é.jpg\n"
    labelled = f"{pair_header},label\na.jpg,b.jpg,1\nb.jpg,c d.jpg,0\n"
    search = "folder,role,identity,image\ntrain,query,1,a.jpg\nvalidation,gallery,1,b.jpg\n"
    scored = f"{pair_header},prediction,probability\na.jpg,b.jpg,0.5,0.25\nb.jpg,c d.jpg,-1e-3,1\n"
    pseudo, similarity = data / "pseudo.csv", data / "similarity.csv"
    return {
        "train": table("train/train_data.csv", train, quoted, read=lambda: tables.read_train(data), promise=images),
        "pseudo": table("pseudo.csv", train, read=lambda: tables.read_pseudo(pseudo, data), promise=images),
        "pairs": table("test/test_data.csv", pair_table, read=lambda: tables.read_pairs(data, "test"), promise=pairs),
        "labels": table("test/labels.csv", labelled, read=lambda: tables.read_labels(data, "test"), promise=labels),
        "retrieval": table("retrieval.csv", search, read=lambda: tables.read_retrieval(data), promise=images),
        "similarities": table("similarity.csv", scored, read=lambda: read_similarities(similarity), promise=scores),
    }


def _images(folder: Path) -> dict[str, Target]:
    path = folder / "image"

    def promise(image: Image) -> None:
        assert isinstance(image, np.ndarray)
        assert image.dtype == np.uint8
        assert image.shape[2:] == (3,)
        assert 0 < image.size <= 3 * 2**26

    def see(content: bytes) -> bool:
        path.write_bytes(content)
        return _accepts(lambda: decode(path), promise)

    def encoded(suffix: str, picture: np.ndarray, *options: int) -> bytes:
        return cv2.imencode(suffix, picture, options)[1].tobytes()

    colour = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    alpha = np.dstack([colour, colour[:, :, 0]])
    pngs = (encoded(".png", colour), encoded(".png", alpha), encoded(".png", colour.astype(np.uint16) * 257))
    dim = encoded(".png", colour.astype(np.uint16) * 16)  # 12 bits
    avif = io.BytesIO()
    PIL.Image.fromarray(colour).save(avif, "AVIF")
    heic = (Path(__file__).parents[1] / "data" / "sideways.heic").read_bytes()
    progressive = encoded(".jpg", colour, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    seeds = (
        *(encoded(".jpg", colour), encoded(".jpg", colour[:, :, 0]), progressive),
        *(encoded(".webp", colour), encoded(".webp", alpha, cv2.IMWRITE_WEBP_QUALITY, 101)),
        *(encoded(".tiff", colour), encoded(".tiff", colour, cv2.IMWRITE_TIFF_COMPRESSION, 1), encoded(".bmp", colour)),
        *(avif.getvalue(), heic, dim, *pngs),
    )
    return {"image": Target(seeds, see), "png": Target(pngs, lambda content: see(_with_checksums(content)))}


def _with_checksums(png: bytes) -> bytes:
    """The same chunks with correct checksums, so that the damage reaches the decoder."""
    at, out = 8, png[:8]
    while at + 12 <= len(png):
        length = min(int.from_bytes(png[at : at + 4], "big"), len(png) - at - 12)
        chunk = png[at + 4 : at + 8 + length]
        out += struct.pack(">I", length) + chunk + struct.pack(">I", zlib.crc32(chunk))
        at += 12 + length
    return out + png[at:]


def _weights(folder: Path) -> dict[str, Target]:
    path = folder / "weights.safetensors"
    network = SupConNet("test_efficientnet.r160_in1k", dim=8, image_size=64, pretrained=False)
    extra = {"training": '{"holdout": 0.2}', "calibration": Platt(5.0, -2.0).to_json(), "recipe": "é"}
    save_weights(path, network, extra=extra)
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header, body = whole[8 : 8 + length], whole[8 + length :]
    first = json.loads(header)
    described = json.dumps(first.pop("__metadata__")).encode()  # short, so that edits hit it often
    listed = json.dumps(first).encode()

    def promise(found: SupConNet) -> None:
        assert all(torch.isfinite(tensor).all() for tensor in found.state_dict().values())

    def see(content: bytes) -> bool:
        path.write_bytes(content)
        _accepts(lambda: stored_calibration(path))
        _accepts(lambda: require_same_holdout(path, EmbeddingOptions(data=folder, epochs=1, batch_size=2, lr=1.0)))
        return _accepts(lambda: load_network(path), promise)

    def packed(text: bytes) -> bytes:
        return len(text).to_bytes(8, "little") + text + body

    def see_described(content: bytes) -> bool:
        return see(packed(b'{"__metadata__":' + content + b"," + listed[1:]))

    def see_listed(content: bytes) -> bool:
        return see(packed(b'{"__metadata__":' + described + b"," + content[1:]))

    return {
        "weights": Target((whole,), see),
        "weights header": Target((described,), see_described),
        "weights tensors": Target((listed,), see_listed),
    } | _pickles(folder, network)


def _pickles(folder: Path, network: SupConNet) -> dict[str, Target]:
    path = folder / "member.pth"
    indices = {"conv_stem": 0, "bn1": 1, "blocks": 3, "conv_head": 4, "bn2": 5}
    state = {}
    for key, tensor in network.state_dict().items():
        module, _, rest = key.removeprefix("backbone.model.").partition(".")
        old_key = f"main_modules.{rest[0]}.0.weight" if module == "heads" else f"features.{indices[module]}.{rest}"
        state[old_key] = tensor
    torch.save(state, path)
    first = dict(list(state.items())[:3])
    torch.save(first, folder / "short.pth")
    torch.save(first, folder / "old.pth", _use_new_zipfile_serialization=False)
    wrapped = {"epoch": 1, "model": {f"module.{key}": tensor.half() for key, tensor in first.items()}, "ema": first}
    torch.save(wrapped, folder / "wrapped.pth")
    save_state(folder, {"step": 3, "lr": 0.5, "rng": torch.arange(8), "saved": {"a": "b"}, "best": None})

    def published(content: bytes) -> bool:
        path.write_bytes(content)
        return _accepts(lambda: load_published(path, network))

    def resumed(content: bytes) -> bool:
        (folder / "state.pt").write_bytes(content)
        return _accepts(lambda: load_state(folder))

    files = (path, *(folder / f"{name}.pth" for name in ("short", "old", "wrapped")))
    whole, short, old, wrapper = (file.read_bytes() for file in files)
    state_file = (folder / "state.pt").read_bytes()
    pickles = _pickle(whole), _pickle(short), _pickle(wrapper)
    return {
        "published": Target((whole, short, old, wrapper), published),
        "published pickle": Target(pickles, lambda content: published(_repacked(whole, content))),
        "state": Target((state_file,), resumed),
        "state pickle": Target((_pickle(state_file),), lambda content: resumed(_repacked(state_file, content))),
    }


def _pickle(archive: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as held:
        return held.read(next(name for name in held.namelist() if name.endswith("data.pkl")))


def _repacked(archive: bytes, pickle: bytes) -> bytes:
    """The archive with another pickle and correct checksums."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as held, zipfile.ZipFile(out, "w") as new:
        for name in held.namelist():
            new.writestr(name, pickle if name.endswith("data.pkl") else held.read(name))
    return out.getvalue()


def _others(folder: Path) -> dict[str, Target]:
    def promise(found: Calibration) -> None:
        assert np.isfinite(found.probability(np.array([-1.0, 0.0, 1.0]), prior=0.01)).all()
        assert calibration_from_json(found.to_json()) == found

    def calibration(content: bytes) -> bool:
        return _accepts(lambda: calibration_from_json(content.decode("utf-8", "surrogateescape")), promise)

    def options(content: bytes) -> bool:
        words = content.decode("utf-8", "surrogateescape").split("\n")
        train = _parses(words, Stage2Options(data=folder, epochs=1, batch_size=2, lr=1.0))
        return _parses(words, InferOptions(data=folder)) or train

    fitted = (Platt(5.0, -2.0), Beta(7.0, 0.5, 1.0), Isotonic((0.25, 0.5, 0.75), (-2.0, 0.0, 3.0)))
    lines = (
        "--data x --epochs 3 --batch-size 88 --lr 5e-5 --run small --no-pretrained",
        "--small --seed 7 --device cpu --workers 2 --backbone resnet18.a1_in1k --restart",
        "--weights best.safetensors --split validation --degraded-transform --batch-size=4 --run=é",
        "--help",
    )
    older = b'{"slope": 5.0, "intercept": -2.0}', b'{"slope": 1, "intercept": 1e300}'
    return {
        "calibration": Target((*(fitted.to_json().encode() for fitted in fitted), *older), calibration),
        "options": Target(tuple(line.replace(" ", "\n").encode() for line in lines), options),
    }


def _parses(words: Sequence[str], default: InferOptions | Stage2Options) -> bool:
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")  # as Python's own
    reached: list[InferOptions | Stage2Options] = []
    status: object = 0
    with (
        mock.patch.object(sys, "argv", ["train.py", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            run(reached.append, full=default, small=default)
        except SystemExit as left:
            status = left.code
    assert status in (0, 1, 2)
    assert all(given.batch_size >= 1 for given in reached)
    return bool(reached)
