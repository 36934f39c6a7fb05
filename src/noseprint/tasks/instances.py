"""Training an embedding for the retrieval of instances: backbone, head and classifier, together or in turn."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from noseprint.data.datasets import Sample, TrainingImages
from noseprint.data.holdout import holdout_hash
from noseprint.data.instances import InstanceTable, distractors
from noseprint.data.samplers import CappedBatches, capped_counts, epoch_steps
from noseprint.data.transforms import Transform
from noseprint.devices import default_workers
from noseprint.distributed import World, gather
from noseprint.errors import NoseprintError
from noseprint.files import atomic_write
from noseprint.losses.margin import MarginSoftmax
from noseprint.metrics.instances import domain_mean, score_instances
from noseprint.metrics.similarity import Embeddings
from noseprint.models.embed import embed_images
from noseprint.models.network import Network
from noseprint.models.projection_net import ProjectionNet
from noseprint.tasks.digest import digest_rows, network_settings
from noseprint.tasks.phase_options import InstanceOptions, TrainingPhase
from noseprint.training.faults import require_spread
from noseprint.training.task import Part, Phase, Scores, Task

SCORE = "mAP"
"""The mean over domains of the average precision of each held-out query, searched for in the hold-out of all domains
and among `distractors`."""
Classifier = Mapping[str, Tensor]
"""The centres of each identity: (centres, dim)."""


def score_holdout(embeddings: Embeddings, holdout: InstanceTable, among: InstanceTable) -> Scores:
    """`SCORE` of the embeddings (N, D) of a hold-out and, after it, of the images `among`; and the same in each domain.

    An item is a query, with the weight that makes the mean over items the mean over domains.
    Raises NoseprintError as `score_instances` does.
    """
    found = score_instances(
        embeddings,
        identities=(*holdout.identities, *among.identities),
        domains=(*holdout.domains, *among.domains),
        queries=np.array([*holdout.is_query, *(False for _ in among.names)]),
        index=np.array([*holdout.is_index, *(True for _ in among.names)]),
    )
    domains, number = np.unique(found.domains, return_inverse=True)
    sizes = np.bincount(number)
    means = np.bincount(number, weights=found.average_precision) / sizes
    of_each = {f"{SCORE} {name}": float(mean) for name, mean in zip(domains, means, strict=True)}
    return Scores(
        values={SCORE: domain_mean(found.average_precision, found.domains), **of_each},
        by=SCORE,
        size=f"{len(number)} photographs of {len(set(found.identities))} identities in {len(domains)} domains",
        per_item=found.average_precision * len(number) / (len(domains) * sizes[number]),
        groups=found.identities,
    )


class InstanceTask(Task):
    """Train `network` on the identities of `train` in one phase; judge the weights by `SCORE`.

    network: its BatchNorm must be frozen, so that a backbone that is not trained stays as it is.
    options: those of the phase, see `InstanceOptions.of`.
    train: a phase that names domains learns from these alone.
    holdout: scores the weights; its identities are none of those of `train`. It may be empty.
    classifier: start from these centres, where an identity has some of the right shape; others start at random.
    training_transform, evaluation_transform: make the transform of each image, for a side in pixels.

    Raises NoseprintError for domains that `train` lacks, and for fewer than two identities; ValueError for BatchNorm
    that is not frozen.
    """

    network: ProjectionNet
    criterion: MarginSoftmax
    data_settings = frozenset({"training images", "training table", "hold-out"})

    def __init__(
        self,
        network: ProjectionNet,
        *,
        phase: TrainingPhase,
        options: InstanceOptions,
        train: InstanceTable,
        holdout: InstanceTable,
        classifier: Classifier | None = None,
        training_transform: Callable[[int], Transform],
        evaluation_transform: Callable[[int], Transform],
    ) -> None:
        if not network.freeze_batch_norm and any(isinstance(module, _BatchNorm) for module in network.modules()):
            raise ValueError("build the network with freeze_batch_norm=True")
        self.network, self.options, self._phase = network, options, phase
        network.size_is_open = False
        self._train_size = network.training_size(phase.train_size)  # refuses one that the backbone does not take
        network.requires_grad_(True)  # the phase before has frozen what it did not train
        phase.require_domains(train.domains)
        self.train = train.where(phase.domains is None or domain in phase.domains for domain in train.domains)
        self.holdout, self._among = holdout, distractors(train if len(holdout) else holdout)
        self._transforms = training_transform, evaluation_transform
        self._scores: dict[str, float] = {}
        self.classes = tuple(sorted(set(self.train.identities)))
        if len(self.classes) < 2:
            raise NoseprintError(f"phase {phase.name!r}: training needs at least 2 identities, not {len(self.classes)}")
        margin = phase.margin
        self.criterion = MarginSoftmax(
            len(self.classes), network.dim, kind=margin.kind, scale=margin.scale, centres=margin.centres
        )
        weight = self.criterion.weight.detach().view(len(self.classes), margin.centres, -1)
        for number, name in enumerate(self.classes):
            centres = (classifier or {}).get(name)
            if centres is not None and centres.shape == weight[number].shape:
                weight[number] = centres
        self._margin_epoch = -1

    def prepare(self, world: World, results: Path) -> None:
        """Count the photographs of each identity. All of them can be read: `run_phases` has made sure."""
        options = self.options
        self._world, self._results = world, results
        self._workers = default_workers(world.device) if options.workers is None else options.workers
        number = {name: index for index, name in enumerate(self.classes)}
        self._labels = [number[identity] for identity in self.train.identities]
        counted = Counter(self._labels)
        self._counts = [counted[index] for index in range(len(self.classes))]
        self._start = network_settings(self.network)

    def dataset(self) -> TrainingImages:
        """The training photographs, labelled by the number of their identity."""
        return TrainingImages(
            self.train.paths,
            self._labels,
            transform=self._transforms[0](self._train_size),
            seed=self.options.seed,
            cache=self.options.cache,
        )

    @property
    def epoch_steps(self) -> int:
        """The number of full batches in an epoch of `CappedBatches`."""
        options = self.options
        shown = int(capped_counts(self.train.identities, cap=options.cap, floor=options.floor).sum())
        return epoch_steps(shown, options.batch_size)

    def batches(self, *, steps: int, first_step: int) -> CappedBatches:
        """All images in random order, with at most `cap` and at least `floor` of each identity in an epoch."""
        return CappedBatches(
            self.train.identities,
            cap=self.options.cap,
            floor=self.options.floor,
            batch_size=self.options.batch_size,
            steps=steps,
            seed=self.options.seed,
            first_step=first_step,
            rank=self._world.rank,
            world_size=self._world.size,
        )

    def parts(self) -> Sequence[Part]:
        """The backbone, in as many parts as its layers have learning rates; the head; the classifier."""
        found: dict[float, list[nn.Parameter]] = {}
        for backbone in self.network.backbones:
            for group in param_groups_layer_decay(
                backbone.model, layer_decay=self._phase.layer_decay, weight_decay=0.0
            ):
                found.setdefault(group["lr_scale"], []).extend(group["params"])
        backbones = (
            Part(f"backbone {number}", nn.ParameterList(parameters), lr_scale=self._phase.backbone_lr_scale * scale)
            for number, (scale, parameters) in enumerate(sorted(found.items()))
        )
        return *backbones, Part("head", self.network.projection), Part("classifier", self.criterion)

    def phases(self) -> Sequence[Phase]:
        """One, in which the parts learn that the phase names."""
        names = [part.name for part in self.parts()]
        return (Phase(1.0, trains=tuple(name for name in names if name.partition(" ")[0] in self._phase.trains)),)

    def begin_step(self, step: int) -> None:
        """Set the margin of the epoch."""
        epoch = step // self.epoch_steps
        if epoch != self._margin_epoch:
            self.criterion.set_margin(torch.from_numpy(self._phase.margin.at(epoch, counts=self._counts)))
            self._margin_epoch = epoch

    def loss(self, forward: Callable[..., Tensor], batch: Sample) -> Tensor:
        """The loss of the whole batch's embeddings."""
        loss: Tensor = self.criterion(*gather(forward(batch.image), batch.target))
        return loss

    def score(self, network: Network, *, untrained: bool = False) -> Scores | None:
        """`SCORE`, and the same in each domain. Raises NoseprintError if training made the network collapse."""
        holdout = self.holdout
        embeddings = embed_images(
            network,
            holdout.paths + self._among.paths,
            transform=self._transforms[1](self.network.image_size),
            device=self._world.device,
            workers=self._workers,
            cache=self.options.cache,
            label="hold-out",
        )
        self._scores = {}
        if not self._world.is_main or not len(holdout):
            return None
        if not untrained:
            require_spread(embeddings, results=self._results)
        scores = score_holdout(embeddings, holdout, self._among)
        self._scores = scores.values
        return scores

    def header(self) -> dict[str, str]:
        """The phase, what was held out, and the scores there."""
        header = {"training": json.dumps({"phase": self._phase.name, "loss": self._phase.margin.kind})}
        if self._scores:
            header["holdout"] = json.dumps(self._scores)
            header["held_out"] = holdout_hash(self.holdout.identities)
        return header

    def settings(self) -> dict[str, str]:
        """The training table, the hold-out, the network with its start weights, and what the phase adds to options."""
        return {
            "training images": str(len(self.train)),
            "training table": digest_rows(zip(self.train.identities, self.train.paths, strict=True)),
            "hold-out": digest_rows(zip(self.holdout.identities, self.holdout.paths, strict=True)),
            **self._start,
            **{f"phase's {name}": str(value) for name, value in vars(self._phase).items() if name != "name"},
        }

    def describe(self) -> str:
        """How many photographs and identities are trained on and held out, and what learns."""
        held_out = f"{len(self.holdout)} photographs of {len(set(self.holdout.identities))} others are held out"
        return (
            f"phase {self._phase.name}: {', '.join(self._phase.trains)} from {len(self.train)} photographs of "
            f"{len(self.classes)} identities at {self._train_size} px; {held_out}"
        )

    def identify(self, rows: Sequence[int]) -> list[tuple[str, Path]]:
        """The identity and the photograph of each row."""
        return [(self.train.identities[row], self.train.paths[row]) for row in rows]

    def classifier(self) -> Classifier:
        """The centres of each identity that the phase trained on."""
        weight = self.criterion.weight.detach().cpu()
        return dict(zip(self.classes, weight.view(len(self.classes), self.criterion.centres, -1), strict=True))


def write_classifier(path: Path, classifier: Classifier) -> None:
    """Write the centres of each identity, completely or not at all."""
    names = list(classifier)
    data = save({"centres": torch.stack([classifier[name] for name in names])}, {"identities": json.dumps(names)})
    with atomic_write(path) as part:
        part.write_bytes(data)


def read_classifier(path: Path) -> Classifier:
    """Read what `write_classifier` wrote. Raises NoseprintError if the file is missing or damaged."""
    if not path.is_file():
        raise NoseprintError(f"{path}: there is no such classifier; run the previous stage again")
    try:
        with safe_open(path, framework="pt") as file:
            return dict(zip(json.loads(file.metadata()["identities"]), file.get_tensor("centres"), strict=True))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise NoseprintError(f"{path}: not a classifier ({error}); run the previous stage again") from error
