"""The functions of the public Python API; docs/python_api.md shows each with an example.

They call other packages and compute nothing themselves. Modules that load torch are imported inside the functions that
need them, because torch is slow to load. Paths may be strings; `device` is auto, cpu, cuda, cuda:1 or mps.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from noseprint.calibration.verifier import Verifier
    from noseprint.calibration.verify import Verdict
    from noseprint.data.transforms import Transform
    from noseprint.importing.data_folder import ImportSummary
    from noseprint.inference.evaluation import Evaluation
    from noseprint.inference.gallery import GalleryEmbeddings
    from noseprint.inference.search import Match
    from noseprint.inspection.check import DataReport
    from noseprint.models.network import EmbeddingNet

StrPath: TypeAlias = str | os.PathLike[str]
Weights: TypeAlias = Mapping[str, StrPath] | Iterable[StrPath] | StrPath
"""One or several weights files. In a mapping, the keys name the networks; otherwise their paths do."""


def write_demo(folder: StrPath, *, seed: int = 0) -> None:
    """Draw a data folder of synthetic nose prints; do nothing if it exists."""
    from noseprint.data import demo

    demo.write_demo(Path(folder), seed=seed)


def import_photographs(
    source: StrPath,
    target: StrPath,
    *,
    test: float = 0.2,
    validation: float = 0.1,
    encounter_folders: bool = False,
    folders: str | None = None,
    boxes: StrPath | None = None,
    seed: int = 0,
    skip_bad: bool = False,
    **options: Any,
) -> "ImportSummary":
    """Make the data folder `target` from your own photographs; they are copied, never changed.

    source: a folder with one folder of photographs for each individual, or a table (CSV) of image paths and identities.
    If it has boxes, the photographs are cropped to them. folders: what each level of folders is, such as
    "split/individual"; None guesses it. boxes: MegaDetector's results or COCO (JSON), for a source without boxes.
    test, validation: shares of the individuals in these splits. encounter_folders: the folders inside an individual's
    folder are days or visits. skip_bad: leave out unusable files instead of raising an error. options: other arguments
    of `noseprint.importing.data_folder.import_photographs`, such as merge_alike=True or encounter_gap="30min".
    """
    from noseprint.importing import data_folder
    from noseprint.importing.boxes import BoxOptions
    from noseprint.importing.sources import read_source

    return data_folder.import_photographs(
        read_source(
            Path(source),
            encounter_folders=encounter_folders,
            folders=folders,
            boxes=BoxOptions(file=Path(boxes) if boxes else None),
        ),
        Path(target),
        validation=validation,
        test=test,
        seed=seed,
        skip_bad=skip_bad,
        **options,
    )


def check(data: StrPath) -> "DataReport":
    """Check all tables and photographs of a data folder; the report lists faults and remarks."""
    from noseprint.inspection import check

    return check.check(Path(data))


def load(weights: StrPath) -> "EmbeddingNet":
    """Load the network of a weights file (.safetensors), in eval mode."""
    from noseprint.models.weights import load_network

    return load_network(Path(weights))


def embed(
    network: "EmbeddingNet", photographs: Iterable[StrPath], *, device: str = "auto"
) -> "npt.NDArray[np.float32]":
    """Embed photographs: (N, D) float32, in the order given.

    Each row has length 1, so the dot product of two rows is their cosine similarity, -1..1.
    """
    from noseprint.devices import choose_device, default_workers
    from noseprint.models.embed import embed_images

    chosen = choose_device(device)
    return embed_images(
        network.to(chosen),
        [Path(photograph) for photograph in photographs],
        transform=_resize(network.image_size),
        device=chosen,
        workers=default_workers(chosen),
        engine="auto",
    )


def calibrate(weights: Weights, data: StrPath, file: StrPath, *, device: str = "auto") -> "Verifier":
    """Make a verifier for networks from the photographs in `data` that were held out from their training.

    It is written to `file` (.json) and returned.
    """
    from noseprint.calibration.make_verifier import make_verifier
    from noseprint.calibration.verifier import write_verifier
    from noseprint.devices import choose_device

    verifier = make_verifier(_by_name(weights), Path(data), device=choose_device(device))
    write_verifier(Path(file), verifier)
    return verifier


def load_verifier(file: StrPath) -> "Verifier":
    """Load a verifier that `calibrate` or the command `noseprint calibrate` wrote."""
    from noseprint.calibration.verifier import read_verifier

    return read_verifier(Path(file))


def verify(
    a: StrPath, b: StrPath, verifier: "Verifier", *, fmr: float | None = None, prior: float = 0.5, device: str = "auto"
) -> "Verdict":
    """Decide whether two photographs show the same individual.

    fmr: the false match rate to decide at; None: the lowest that the verifier supports. prior: the share of same pairs
    among your pairs; it changes the probability, not the decision.
    """
    from noseprint.calibration import verify
    from noseprint.devices import choose_device

    return verify.verify((Path(a), Path(b)), verifier, fmr=fmr, prior=prior, device=choose_device(device))


def train(
    data: StrPath,
    results: StrPath,
    *,
    backbone: str = "tf_efficientnet_lite0.in1k",
    image_size: int | None = None,
    train_size: int | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    batch_size: int = 64,
    lr: float = 3e-4,
    holdout: float = 0.05,
    device: str = "auto",
    seed: int = 0,
    **options: Any,
) -> Path:
    """Train one network on the training split of a data folder; return the path of its weights.

    The defaults suit a machine without a GPU. An interrupted call resumes if you repeat it. backbone: a timm name.tag.
    image_size: side in pixels of the network's input; None: the one at which the untrained network finds the training
    photographs best. train_size: side of the training images; None: about three quarters of `image_size`. epochs:
    passes over the photographs; None: train until nothing more is learned. minutes: limit of the time; None: no limit
    with `epochs` or `steps`, otherwise 10. holdout: share of the individuals that are held out from training, to judge
    it and to calibrate; a small share is raised as docs/method.md says.
    options: other fields of `noseprint.tasks.embedding_options.EmbeddingOptions`, such as loss="arcface".
    """
    import torch

    from noseprint.data.tables import read_train
    from noseprint.models.network import SupConNet
    from noseprint.tasks.embedding import EmbeddingTask
    from noseprint.tasks.embedding_options import EmbeddingOptions
    from noseprint.training.fit import fit

    options |= {"data": Path(data), "backbone": backbone, "image_size": image_size, "train_size": train_size}
    options |= {"epochs": epochs, "minutes": minutes, "batch_size": batch_size, "lr": lr, "holdout": holdout}
    options.setdefault("small", True)
    chosen = EmbeddingOptions(**options, device=device, seed=seed)
    torch.manual_seed(seed)
    task = EmbeddingTask(
        SupConNet(backbone, descriptors="SM", dim=512, image_size=image_size, pretrained=chosen.pretrained),
        options=chosen,
        labelled=read_train(Path(data), missing_ok=True),
        training_transform=_random_crop,
        evaluation_transform=_resize,
    )
    fit(task, results=Path(results), options=chosen)
    return Path(results) / "best.safetensors"


def evaluate(weights: Weights, data: StrPath, *, device: str = "auto", skip_bad: bool = False) -> "Evaluation":
    """Score networks, and their ensemble if there are several, on the labels of a data folder.

    skip_bad: score without photographs that are missing or broken instead of raising an error.
    `scores` of the result maps the name of each network, and "ensemble", to its scores.
    """
    from noseprint.devices import choose_device
    from noseprint.inference.evaluation import evaluate_members
    from noseprint.inference.leaks import learned_photographs, trained_on

    members, folder = _by_name(weights), Path(data)
    trained_here = trained_on(folder, members.values())
    learned = learned_photographs(folder, folder / "pseudo.csv") if trained_here else ()
    evaluation = evaluate_members(members, folder, device=choose_device(device), learned=learned, skip_bad=skip_bad)
    evaluation.other_data = not trained_here
    return evaluation


@dataclass(frozen=True)
class Gallery:
    """Embedded photographs of known individuals, to search in."""

    embeddings: "GalleryEmbeddings"
    identities: Mapping[str, str]
    """Photograph -> individual."""
    weights: tuple[Path, ...]
    """Weights files of the networks that embed photographs."""

    @classmethod
    def enrol(
        cls,
        photographs: StrPath,
        weights: Weights,
        *,
        identities: Mapping[str, str] | None = None,
        device: str = "auto",
        skip_bad: bool = False,
    ) -> "Gallery":
        """Embed all photographs in a folder and in the folders inside it; several weights make an ensemble.

        identities: the individual of each photograph, by its name in the folder. None: the photographs of an individual
        lie in a folder of its own, and that folder's name is the individual. Names such as "unknown" and "" stand for
        individuals that are not known. skip_bad: leave out photographs that cannot be read instead of raising an error.
        """
        from noseprint.data.listing import list_photographs
        from noseprint.devices import choose_device
        from noseprint.inference.gallery import embed_gallery

        folder, names = list_photographs(Path(photographs))
        paths = tuple(_by_name(weights).values())
        embeddings = embed_gallery(paths, folder, names, device=choose_device(device), skip_bad=skip_bad)
        return cls(embeddings, _known_identities(embeddings.names, identities), paths)

    def save(self, file: StrPath) -> None:
        """Write the embeddings (.safetensors), as the command `noseprint embed` does, without the identities."""
        from noseprint.inference.gallery import write_gallery

        write_gallery(Path(file), self.embeddings)

    @classmethod
    def load(cls, file: StrPath, weights: Weights = (), *, identities: Mapping[str, str] | None = None) -> "Gallery":
        """Read what `save` or the command `noseprint embed` wrote.

        weights: the weights it was made with, if they have moved since. identities: as for `enrol`. Photographs that
        have changed since are named on standard error.
        """
        from noseprint.inference.gallery import find_weights, read_gallery
        from noseprint.inference.photograph_records import say_changes

        embeddings = read_gallery(Path(file))
        say_changes(embeddings.folder, embeddings.names, embeddings.records)
        paths = find_weights(embeddings, tuple(_by_name(weights).values()))
        return cls(embeddings, _known_identities(embeddings.names, identities), paths)

    def search(
        self,
        query: StrPath,
        *,
        top: int = 5,
        verifier: "Verifier | None" = None,
        device: str = "auto",
        skip_bad: bool = False,
    ) -> "list[Match]":
        """Return the `top` most similar photographs of the gallery for each query, the best first.

        query: a photograph, or a folder of them. verifier: gives probabilities to the matches of several networks; a
        single network has its own calibration in its weights, if it was calibrated. skip_bad: leave out queries that
        cannot be read instead of raising an error.
        """
        from noseprint.devices import choose_device
        from noseprint.inference.search import search_gallery

        return search_gallery(
            Path(query),
            self.embeddings,
            device=choose_device(device),
            top=top,
            identities=self.identities,
            verifier=verifier,
            weights=self.weights,
            skip_bad=skip_bad,
        ).matches


def _known_identities(photographs: Iterable[str], given: Mapping[str, str] | None) -> dict[str, str]:
    """The identities that are not missing: those given, or the name of each photograph's folder."""
    from noseprint.data.names import is_missing

    named = {name: name.partition("/")[0] for name in photographs if "/" in name} if given is None else given
    return {name: identity for name, identity in named.items() if not is_missing(str(identity))}


def _random_crop(size: int) -> "Transform":
    """A random crop of 8/9 of the side."""
    from noseprint.data.transforms import A

    larger = round(size * 9 / 8)
    return A.Compose([A.Resize(larger, larger), A.RandomCrop(size, size)])


def _resize(size: int) -> "Transform":
    from noseprint.data.transforms import A

    return A.Resize(size, size)


def _by_name(weights: Weights) -> dict[str, Path]:
    if isinstance(weights, Mapping):
        return {name: Path(path) for name, path in weights.items()}
    paths = [weights] if isinstance(weights, str | os.PathLike) else weights
    return {str(path): Path(path) for path in paths}
