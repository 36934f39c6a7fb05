"""The best weights of a training, by their hold-out."""

import json
from pathlib import Path
from typing import Any

from noseprint.calibration.fitting import fit_calibration
from noseprint.data.holdout import HOLDOUT_SEED, holdout_hash, photograph_hashes
from noseprint.data.tables import ImageTable
from noseprint.data.transforms import Transform
from noseprint.distributed import World
from noseprint.metrics.holdout_scores import HoldoutScores, evaluate_holdout
from noseprint.models.embed import embed_images
from noseprint.models.network import SupConNet
from noseprint.models.weights import save_weights
from noseprint.training.faults import require_spread

SAME_AUC = 0.001  # hold-out AUCs closer than this are one and the same: the later epoch is kept
COLLAPSE_LOOK = 32  # training photographs that show a collapse where nothing is held out


class Best:
    """Scores weights on `holdout` and keeps the best of them in `results`/best.safetensors.

    The best by ROC AUC, the later of two that differ by less than a hold-out can tell; with no hold-out the last, once
    the photographs of `train` show that the network has not collapsed. `extra` goes into the header of the weights.
    """

    def __init__(
        self,
        *,
        holdout: ImageTable,
        train: ImageTable,
        transform: Transform,
        results: Path,
        extra: dict[str, str],
        place: World,
        workers: int,
        cache: Path | None,
    ) -> None:
        self._holdout, self._transform, self._results, self._extra = holdout, transform, results, extra
        self._paths = holdout.paths or train.paths[:COLLAPSE_LOOK]
        self._place, self._workers, self._cache = place, workers, cache
        self._kept: dict[str, float] = {}
        self._highest_auc = 0.0

    def score_and_keep(self, network: SupConNet) -> dict[str, float]:
        """Score the network; write its weights if none were better, or nothing is held out. Gives the scores.

        To be called on every rank: they share the embedding, rank 0 scores and writes, the others give nothing.
        """
        embeddings = embed_images(
            network,
            self._paths,
            transform=self._transform,
            device=self._place.device,
            workers=self._workers,
            cache=self._cache,
            label="hold-out",
        )
        if not self._place.is_main:
            return {}
        require_spread(embeddings, results=self._results)
        if not len(self._holdout):
            self._write(network, None)
            return {}
        table = self._holdout
        scores = evaluate_holdout(embeddings, table.identities, seed=HOLDOUT_SEED, encounters=table.encounters)
        found = {"auc": scores.auc, "rank_1": scores.rank_1, "map": scores.map}
        self._highest_auc = max(self._highest_auc, scores.auc)
        if scores.auc >= self._highest_auc - SAME_AUC:
            self._kept = found
            self._write(network, scores)
        return found

    def state(self) -> dict[str, Any]:
        """What is known of the weights that are kept."""
        return {"kept": self._kept, "highest_auc": self._highest_auc}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._kept, self._highest_auc = state["kept"], state["highest_auc"]

    def _write(self, network: SupConNet, scores: HoldoutScores | None) -> None:
        extra = dict(self._extra)
        if scores:
            extra["holdout"] = json.dumps(self._kept)
            extra["held_out"] = holdout_hash(self._holdout.identities)
            extra["held_out_photographs"] = photograph_hashes(self._holdout)
            pairs = (scores.similarity, scores.same, scores.identity_a, scores.identity_b)
            extra["calibration"] = fit_calibration(*pairs).to_json()
        save_weights(self._results / "best.safetensors", network, extra=extra)
