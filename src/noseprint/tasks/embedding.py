"""Training an embedding: photographs of one identity close together, those of different identities apart."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from noseprint.calibration.fitting import fit_calibration
from noseprint.data.datasets import Sample, TrainingImages
from noseprint.data.decode_cache import cached_decoder
from noseprint.data.encounters import encounter_problem
from noseprint.data.holdout import HOLDOUT_SEED, holdout_hash, photograph_hashes, require_scorable, split_holdout
from noseprint.data.names import alike_groups, alike_text, count_text, rounded_numbers, rounded_text
from noseprint.data.readable import readable_photographs
from noseprint.data.samplers import IdentityBatches, identity_epoch_steps
from noseprint.data.tables import ImageTable
from noseprint.data.transforms import Transform
from noseprint.devices import default_workers
from noseprint.distributed import World
from noseprint.losses.embedding_loss import build_loss
from noseprint.metrics.holdout_scores import HoldoutScores, evaluate_holdout
from noseprint.models.embed import embed_images
from noseprint.models.network import Network, SupConNet
from noseprint.tasks.digest import digest_rows, network_settings
from noseprint.tasks.embedding_options import EmbeddingOptions
from noseprint.tasks.input_size import SIZES, choose_image_size, training_side
from noseprint.training.faults import require_spread
from noseprint.training.task import Scores, Task

COLLAPSE_SAMPLE = 32
"""Number of training photographs that show whether the network has collapsed, if nothing is held out."""

BatchLoss = Callable[[Callable[..., Tensor], Tensor, Tensor], Tensor]
"""(network, images uint8 (B, 3, H, W), labels (B,) long) -> the loss of the batch, a scalar."""


class EmbeddingTask(Task):
    """Train `network` on the identities of `labelled` and `pseudo`; judge the weights by the hold-out's mAP.

    network: its embedding is trained.
    labelled: a share of its identities is held out and scores the weights.
    pseudo: further identities, never held out.
    training_transform, evaluation_transform: make the transform of each image, for a side in pixels.
    scoring_transform: likewise, of the hold-out when weights are compared: as the photographs are that will be asked
    about, if they are worse than the labelled ones. None: evaluation_transform, which the calibration always uses.
    loss: takes the place of the one that `options.loss` names. A module's weights are trained and resumed, too.
    larger: if nobody has chosen the image size, take the next one above the size that suits the photographs best, so
    that the members of an ensemble differ.

    Labels number the identities of the training part in order of first appearance. Weights are judged by the average
    precision of each held-out photograph, searched among all others. It says more than the AUC of a few pairs.
    """

    data_settings = frozenset({"training images", "training table"})

    def __init__(
        self,
        network: SupConNet,
        *,
        options: EmbeddingOptions,
        labelled: ImageTable,
        pseudo: ImageTable | None = None,
        training_transform: Callable[[int], Transform],
        evaluation_transform: Callable[[int], Transform],
        scoring_transform: Callable[[int], Transform] | None = None,
        loss: BatchLoss | None = None,
        larger: bool = False,
    ) -> None:
        self.network, self._options, self._larger = network, options, larger
        self._labelled, self._pseudo = labelled, pseudo
        self._transforms, self._scoring_transform = (training_transform, evaluation_transform), scoring_transform
        self._train_size = network.training_size(options.train_size)  # refuses one that the backbone does not take
        self._held_out = split_holdout(labelled.identities, share=options.holdout)
        # An identity whose photographs are all broken leaves a class that is never the answer.
        classes = len({*labelled.identities} - self._held_out) + (len({*pseudo.identities}) if pseudo else 0)
        self._loss = loss or build_loss(options.loss, network=network, classes=classes, temperature=options.temperature)
        self.criterion = self._loss if isinstance(self._loss, nn.Module) else nn.Module()

    def prepare(self, world: World, results: Path) -> None:
        """Leave out broken photographs, if the options say so, and split off the hold-out."""
        options, labelled, pseudo = self._options, self._labelled, self._pseudo
        self._world, self._results = world, results
        self._workers = default_workers(world.device) if options.workers is None else options.workers
        readable = readable_photographs(
            labelled.paths + (pseudo.paths if pseudo else ()),
            skip_bad=options.skip_bad,
            read=cached_decoder(options.cache),
            skipped_csv=results / "skipped.csv",
        )
        labelled = labelled.where(path in readable for path in labelled.paths)
        learned = labelled.where(identity not in self._held_out for identity in labelled.identities)
        self.train = learned
        if pseudo:
            self.train = learned + pseudo.where(path in readable for path in pseudo.paths)
        self.holdout = labelled.where(identity in self._held_out for identity in labelled.identities)
        require_scorable(
            self.holdout.identities,
            share=options.holdout,
            encounters=self.holdout.encounters,
            encounter_column=self.holdout.encounter_column,
        )
        self._size_remark = self._choose_sizes(learned)

    def _choose_sizes(self, labelled: ImageTable) -> str:
        """Set the sizes of the network's input and of the training images; return a line about them."""
        network, options = self.network, self._options
        remark = ""
        if network.size_is_open and network.backbone.fixed_size is None:
            size, found = choose_image_size(
                cast(SupConNet, network.to(self._world.device)),
                labelled if labelled.encounters else self.train,  # pseudo-identities have no encounters
                transform=self._transforms[1],
                world=self._world,
                workers=self._workers,
                cache=options.cache,
            )
            tried = ", ".join(f"{score:.3f} at {side}" for side, score in found.items())
            remark = f"image size {size}" + (f": before training, mAP is {tried} px" if found else "")
            if self._larger:
                size = min((side for side in SIZES if side > size), default=round(1.25 * size))
                remark += f"; this network takes the next size, {size}"
            network.image_size, network.size_is_open = size, False
        self._train_size = training_side(network, requested=options.train_size, small=options.small)
        return remark

    def dataset(self) -> TrainingImages:
        """The training photographs, labelled by the number of their identity."""
        number = {identity: i for i, identity in enumerate(dict.fromkeys(self.train.identities))}
        return TrainingImages(
            self.train.paths,
            [number[identity] for identity in self.train.identities],
            transform=self._transforms[0](self._train_size),
            seed=self._options.seed,
            cache=self._options.cache,
        )

    @property
    def epoch_steps(self) -> int:
        """The number of batches that show as many photographs as there are."""
        return identity_epoch_steps(
            self.train.identities,
            batch_size=self._options.batch_size,
            images_per_identity=self._options.images_per_identity,
        )

    def batches(self, *, steps: int, first_step: int) -> IdentityBatches:
        """Batches balanced by identity."""
        return IdentityBatches(
            self.train.identities,
            batch_size=self._options.batch_size,
            images_per_identity=self._options.images_per_identity,
            steps=steps,
            seed=self._options.seed,
            first_step=first_step,
            rank=self._world.rank,
            world_size=self._world.size,
        )

    def loss(self, forward: Callable[..., Tensor], batch: Sample) -> Tensor:
        """The loss of the batch's embeddings."""
        return self._loss(forward, batch.image, batch.target)

    def score(self, network: Network, *, untrained: bool = False) -> Scores | None:
        """ROC AUC, Rank-1 and mAP on the hold-out. Raises NoseprintError if training made the network collapse."""
        embeddings = self._embed_holdout(network, self._transforms[1])
        degraded = self._embed_holdout(network, self._scoring_transform) if self._scoring_transform else None
        self._scores: HoldoutScores | None = None
        if not self._world.is_main:
            return None
        if not untrained:
            require_spread(embeddings, results=self._results)
        if not len(self.holdout):
            return None
        holdout = self.holdout
        self._scores = self._evaluate(embeddings)
        found = self._scores if degraded is None else self._evaluate(degraded)
        return Scores(
            values={"auc": found.auc, "rank_1": found.rank_1, "map": found.map},
            by="mAP",
            size=f"{len(holdout)} photographs of {len(set(holdout.identities))} identities",
            per_item=found.average_precision,
            groups=found.queried,
        )

    def _evaluate(self, embeddings: npt.NDArray[np.float32]) -> HoldoutScores:
        holdout = self.holdout
        return evaluate_holdout(embeddings, holdout.identities, seed=HOLDOUT_SEED, encounters=holdout.encounters)

    def _embed_holdout(self, network: Network, transform: Callable[[int], Transform]) -> npt.NDArray[np.float32]:
        """The embeddings of the hold-out, or of some training photographs if nothing is held out."""
        return embed_images(
            cast(SupConNet, network),
            self.holdout.paths or self.train.paths[:COLLAPSE_SAMPLE],
            transform=transform(self.network.image_size),
            device=self._world.device,
            workers=self._workers,
            cache=self._options.cache,
            label="hold-out",
        )

    def header(self) -> dict[str, str]:
        """How the network was trained, what was held out, its scores there and the calibration fitted to them."""
        options, scores = self._options, self._scores
        header = {"training": json.dumps({"holdout": options.holdout, "loss": options.loss})}
        if scores:
            header["holdout"] = json.dumps({"auc": scores.auc, "rank_1": scores.rank_1, "map": scores.map})
            header["held_out"] = holdout_hash(self.holdout.identities)
            header["held_out_photographs"] = photograph_hashes(self.holdout)
            pairs = (scores.similarity, scores.same, scores.identity_a, scores.identity_b)
            header["calibration"] = fit_calibration(*pairs).to_json()
        return header

    def settings(self) -> dict[str, str]:
        """The training table, the network and its start weights."""
        return {
            "training images": str(len(self.train)),
            "training table": digest_rows(zip(self.train.identities, self.train.paths, strict=True)),
            **network_settings(self.network),
        }

    def describe(self) -> str:
        """How many photographs and identities are trained on and held out, after what is odd about their names."""
        train, holdout = self.train, self.holdout
        counts = Counter(train.identities)
        single = sum(count == 1 for count in counts.values())
        remark = f" ({single} have one photograph, which gives no same pair but fills up batches)" if single else ""
        return "".join(f"{line}\n" for line in self._remarks()) + (
            f"{len(train)} photographs of {len(counts)} identities{remark} to learn from, {len(holdout)} of "
            f"{len(set(holdout.identities))} held out"
        )

    def _remarks(self) -> Iterator[str]:
        if self._size_remark:
            yield self._size_remark
        unknown = [*self._labelled.unknown.values(), *(self._pseudo.unknown.values() if self._pseudo else ())]
        if unknown:
            yield f"left out: {len(unknown)} photographs of unknown individuals: {count_text(unknown)}"
        identities = {*self._labelled.identities, *(self._pseudo.identities if self._pseudo else ())}
        if rounded := rounded_numbers(identities):
            yield f"caution: {rounded_text(rounded)}"
        if alike := alike_groups(identities):
            yield (
                f"caution: alike names count as different individuals: {alike_text(alike)}. If they are one, stop and "
                "give each individual one name"
            )
        if problem := encounter_problem(self._labelled):
            yield f"caution: {problem}"

    def identify(self, rows: Sequence[int]) -> list[tuple[str, Path]]:
        """The identity and the photograph of each row."""
        return [(self.train.identities[row], self.train.paths[row]) for row in rows]
