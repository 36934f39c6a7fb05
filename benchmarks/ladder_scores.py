"""The pairs and searches on which ladder.py scores every step, and the tables of the scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score

from noseprint.data.holdout import HOLDOUT_SEED
from noseprint.data.motion_blur import MotionBlur
from noseprint.data.tables import ImageTable
from noseprint.data.transforms import A, Transform
from noseprint.inference.labelled_data import read_labelled_data
from noseprint.metrics.balanced_pairs import balanced_pairs
from noseprint.metrics.bootstrap import bootstrap_mean, bootstrap_pairs
from noseprint.metrics.verification import roc_auc, roc_aucs

Floats = npt.NDArray[np.floating]
Line = dict  # a line of the JSONL file: data, step, seed, scores and, for a training, seconds and images


def clean(size: int) -> Transform:
    """Unchanged photographs."""
    return A.Resize(size, size)


def low_resolution(size: int) -> Transform:
    """Like the validation photographs: all are degraded as stage 1 degrades nearly half of its training images."""
    return A.Compose([A.OneOf([A.Resize(s, s) for s in (50, 60, 70, 80)], p=1), A.Resize(size, size)])


def blurred(size: int) -> Transform:
    """Like the test photographs: motion blur, at most as long as in stage 2, and strong compression."""
    longest = max(3, round(size * 39 / 224) // 2 * 2 + 1)
    return A.Compose(
        [
            A.Resize(size, size),
            MotionBlur(blur_limit=(3, longest), p=1),
            A.ImageCompression(quality_range=(50, 90), p=1),
        ]
    )


CONDITIONS = {"clean": clean, "low resolution": low_resolution, "blurred": blurred}


@dataclass(frozen=True)
class Questions:
    """Photographs, pairs of them, and searches: each query row is compared with all gallery rows except itself."""

    paths: tuple[Path, ...]
    pair_a: npt.NDArray[np.intp]
    pair_b: npt.NDArray[np.intp]
    same: npt.NDArray[np.bool_]
    identity_a: npt.ArrayLike
    identity_b: npt.ArrayLike
    identities: npt.NDArray[np.str_]
    query: npt.NDArray[np.intp]
    gallery: npt.NDArray[np.intp]

    def score(self, similarity: Floats) -> dict[str, tuple[float, float, float]]:
        """Figures with their 95 % intervals over identities, by the similarities (N, N) of all photographs."""
        scores = {}
        if len(self.same):
            of_pairs = similarity[self.pair_a, self.pair_b]
            [interval] = bootstrap_pairs([roc_aucs], of_pairs, self.same, self.identity_a, self.identity_b, seed=0)
            scores["ROC AUC"] = (roc_auc(of_pairs, self.same), *interval)
        precision, hit, identities = [], [], []
        for row in self.query:
            gallery = self.gallery[self.gallery != row]
            right, score = self.identities[gallery] == self.identities[row], similarity[row, gallery]
            if right.any():
                precision.append(average_precision_score(right, score))
                hit.append(float(right[score.argmax()]))
                identities.append(self.identities[row])
        if identities:
            scores["mAP"] = (float(np.mean(precision)), *bootstrap_mean(np.array(precision), identities, seed=0))
            scores["Rank-1"] = (float(np.mean(hit)), *bootstrap_mean(np.array(hit), identities, seed=0))
        return scores


def of_holdout(table: ImageTable) -> Questions:
    """Search each held-out photograph among all others."""
    identities = np.array(table.identities)
    a, b, same = balanced_pairs(table.identities, seed=HOLDOUT_SEED)
    rows = np.arange(len(table))
    return Questions(table.paths, a, b, same, identities[a], identities[b], identities, rows, rows)


def of_test(data: Path) -> Questions:
    """The labelled test pairs and the search of the data folder."""
    known = read_labelled_data(data)
    pairs, search = known.pairs, known.retrieval
    a, b = (
        np.array([known.index[pairs.folder / name] for name in side] if pairs else [], np.intp)
        for side in ((pairs.image_a, pairs.image_b) if pairs else ((), ()))
    )
    named = dict(zip(search.paths, search.identities, strict=True)) if search else {}
    roles = (search.is_query, search.is_gallery) if search else ((), ())
    query, gallery = ([known.index[path] for path in (search.where(role).paths if search else ())] for role in roles)
    identities = np.array([named.get(path, "") for path in known.paths])
    return Questions(
        known.paths, a, b, known.same, *known.clusters, identities, np.array(query, int), np.array(gallery, int)
    )


def tables(lines: list[Line], *, data: str, after: Mapping[str, str | None]) -> str:
    """Markdown, one table for each set and metric.

    A cell shows the mean over the seeds, the mean of their intervals, and the mean and spread of the difference.
    after: each step, in order -> the step that it is compared with, seed by seed.
    """
    known = {(line["step"], line["seed"]): line for line in lines if line["data"] == data}
    text = []
    for which, conditions in next(iter(known.values()))["scores"].items():
        for metric in conditions["clean"]:
            text += ["", f"**{data}, {which}: {metric}**", ""]
            text += ["| step | seeds | " + " | ".join(CONDITIONS) + " |", "|---" * (len(CONDITIONS) + 2) + "|"]
            for name, before in after.items():
                runs = {seed: line["scores"][which] for (step, seed), line in known.items() if step == name}
                former = {seed: line["scores"][which] for (step, seed), line in known.items() if step == before}
                if runs:
                    cells = [_cell(runs, former, condition=condition, metric=metric) for condition in CONDITIONS]
                    text.append(f"| {name} | {len(runs)} | " + " | ".join(cells) + " |")
    cost = [line["seconds"] for line in known.values() if "seconds" in line]
    return "\n".join([*text, "", f"{len(cost)} trainings, {sum(cost) / 60:.1f} minutes of training"])


def _cell(runs: dict[int, Line], former: dict[int, Line], *, condition: str, metric: str) -> str:
    value, low, high = np.mean([run[condition][metric] for run in runs.values()], axis=0)
    gains = [runs[s][condition][metric][0] - former[s][condition][metric][0] for s in runs if s in former]
    spread = f" ± {np.std(gains, ddof=1):.4f}" if len(gains) > 1 else ""
    return f"{value:.4f} [{low:.3f}, {high:.3f}]" + (f" {np.mean(gains):+.4f}{spread}" if gains else "")
