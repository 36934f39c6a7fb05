"""A training in phases: each begins with the network and the classifier that the phase before left."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from noseprint.data.csv_rows import write_csv
from noseprint.data.decode_cache import cached_decoder
from noseprint.data.instances import InstanceTable
from noseprint.data.readable import readable_photographs
from noseprint.data.transforms import Transform
from noseprint.distributed import join_world, report_lost_ranks, wait_for_all
from noseprint.errors import NoseprintError
from noseprint.files import atomic_write
from noseprint.models.projection_net import ProjectionNet, with_size
from noseprint.models.weights import load_projection, read_tensors, save_weights
from noseprint.models.weights_header import read_header
from noseprint.tasks.instances import SCORE, Classifier, InstanceTask, read_classifier, write_classifier
from noseprint.tasks.phase_options import InstanceOptions, TrainingPhase
from noseprint.training.fit import fit

START = "start"


def run_phases(
    network: ProjectionNet,
    phases: Sequence[TrainingPhase],
    *,
    options: InstanceOptions,
    results: Path,
    train: InstanceTable,
    holdout: InstanceTable,
    classifier: Classifier | None = None,
    training_transform: Callable[[int], Transform],
    evaluation_transform: Callable[[int], Transform],
) -> str:
    """Train `network` in the phases, one after the other, each by `fit` in `results`/NUMBER-NAME.

    The network with the highest `SCORE` on the hold-out becomes `results`/best.safetensors: that after a phase, or the
    one before all of them. Its classifier lies beside it, and phases.csv has all scores. Without a hold-out it is the
    last. A finished phase is skipped, and an interrupted one continues, to the same bits. Augmentation and batches
    differ from phase to phase. Under torchrun every rank calls it.

    network, classifier: to start from. Returns a line that says which network is the best.
    Raises NoseprintError for two phases of one name, and as `InstanceTask` and `fit` do, before the first step where
    that can be known.
    """
    _check(phases, train)
    with join_world(options.device) as world, report_lost_ranks(world.size):
        if options.restart and world.is_main:  # a later phase must not continue a training that has other start weights
            for state in results.glob("*/last/state.pt"):
                state.unlink()
        wait_for_all()
        readable = readable_photographs(
            train.paths + holdout.paths,
            skip_bad=options.skip_bad,
            read=cached_decoder(options.cache),
            skipped_csv=results / "skipped.csv",
        )
        train, holdout = (table.where(path in readable for path in table.paths) for table in (train, holdout))
        network.to(world.device)
        if world.is_main:
            save_weights(results / START / "best.safetensors", network, extra={"recipe": "start"})
            if classifier:
                write_classifier(results / START / "classifier.safetensors", classifier)
        folders = {phase.name: results / f"{number}-{phase.name}" for number, phase in enumerate(phases, 1)}
        for number, phase in enumerate(phases, 1):
            folder = folders[phase.name]
            size, stride = phase.size or network.image_size, phase.stride
            if size != network.image_size or stride not in (None, network.stride):
                network = with_size(network, size, stride)
            seed = _seed(options.seed, number)
            torch.manual_seed(seed)
            task = InstanceTask(
                network,
                phase=phase,
                options=replace(options.of(phase), seed=seed, restart=False),
                train=train,
                holdout=holdout,
                classifier=classifier,
                training_transform=training_transform,
                evaluation_transform=evaluation_transform,
            )
            fit(task, results=folder, options=task.options, advise=False)
            network.load_state_dict(read_tensors(folder / "best.safetensors", network))
            classifier = {**(classifier or {}), **task.classifier()}
            if world.is_main:
                write_classifier(folder / "classifier.safetensors", classifier)
        return _keep_best(folders, results) if world.is_main else ""  # fit has waited for all ranks


def _check(phases: Sequence[TrainingPhase], train: InstanceTable) -> None:
    names = [phase.name for phase in phases]
    if not phases or len(set(names)) < len(names):
        raise NoseprintError(f"phases {', '.join(names) or '(none)'}: give one or more, each with a name of its own")
    for phase in phases:
        phase.require_domains(train.domains)


def _seed(seed: int, number: int) -> int:
    """The seed of phase `number`, from 1."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def _keep_best(folders: dict[str, Path], results: Path) -> str:
    """Copy the network with the highest score, and its classifier, to `results`; write phases.csv."""
    headers = {name: read_header(folder / "best.safetensors") for name, folder in folders.items()}
    gain = json.loads(headers[next(iter(folders))].extra.get("gain", "{}"))  # of the first phase
    scores: dict[str, float | None] = {START: gain.get("before")}
    scores |= {name: (header.holdout_scores or {}).get(SCORE) for name, header in headers.items()}
    write_csv(
        results / "phases.csv", ("phase", SCORE), ((n, "" if s is None else f"{s:.6f}") for n, s in scores.items())
    )
    known = {name: score for name, score in scores.items() if score is not None}
    best = max(reversed(known), key=lambda name: known[name]) if known else list(folders)[-1]  # the last of equal ones
    source = {START: results / START, **folders}[best]
    for name in ("best.safetensors", "classifier.safetensors"):
        if (source / name).is_file():
            with atomic_write(results / name) as part:
                shutil.copyfile(source / name, part)
    shown = ", ".join(f"{name} {score:.4f}" for name, score in known.items())
    when = "before all phases" if best == START else f"after the phase {best}"
    return f"kept: the network {when}" + (f" ({SCORE} on the hold-out: {shown})" if known else "")


def load_start(folder: Path, *, options: InstanceOptions) -> tuple[ProjectionNet, Classifier | None]:
    """The best network of the stage before, in `folder`, ready to be trained; and its classifier, if there is one.

    Raises NoseprintError as `load_projection` does, and if its embedding is not of `options.dim` dimensions.
    """
    path = folder / "best.safetensors"
    network = load_projection(path)
    if network.dim != options.dim:
        raise NoseprintError(f"{path}: has {network.dim} dimensions, not {options.dim}: pass --dim {network.dim}")
    network.freeze_batch_norm, network.dropout.p = True, options.dropout
    kept = folder / "classifier.safetensors"
    return network.train(), read_classifier(kept) if kept.is_file() else None
