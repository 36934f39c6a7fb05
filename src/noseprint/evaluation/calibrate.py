"""A verifier from the photographs that no network was trained on."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from noseprint.data.augment import A, apply_view
from noseprint.data.images import Image, decode, find_faults
from noseprint.data.quality import Quality, measure
from noseprint.data.tables import ImageTable, read_train
from noseprint.devices import default_workers
from noseprint.errors import NoseprintError
from noseprint.evaluation.holdout import HOLDOUT_SEED, holdout_mark, require_scorable, split_holdout
from noseprint.evaluation.intervals import Interval, interval
from noseprint.evaluation.metrics import least_far, roc_curve
from noseprint.evaluation.reliability import ReliabilityScores, reliability_scores
from noseprint.evaluation.scoring import Score, joined
from noseprint.evaluation.verifier import HoldOut, Member, Point, Verifier
from noseprint.matching.calibration import Calibration
from noseprint.matching.calibration_fit import cross_fitted, fit_calibration
from noseprint.matching.embed import embed_by, embedder
from noseprint.matching.options import Engine
from noseprint.matching.pairs import row_similarities
from noseprint.matching.quality import DEGRADATIONS, Level, Limit, Limits, learn_limit, reduced
from noseprint.models.header import fingerprint, read_header
from noseprint.models.weights import load_network

RATES = (0.1, 0.01, 0.001)
MOST_PHOTOGRAPHS = 2000
"""Of a larger hold-out as many whole identities are taken as have no more: two million pairs."""
COHORT = 200
"""Photographs of trained identities that the hold-out is compared with: a small hold-out has few pairs of identities
(8 give 28), and how alike individuals may be is seen on many only."""
MOST_SAME = 10_000
"""Same pairs, and as many different ones, that a calibration is fitted to."""
DEGRADED = 40
"""Photographs that are degraded to learn what a photograph must have."""

Embeddings = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]
Pairs = tuple[Rows, Rows, Flags]


class NothingHeldOutError(NoseprintError):
    """Weights that no verifier can be made for: trained on everything, on other data than these, or not telling."""


def calibrate(
    weights: Mapping[str, Path], data: Path, *, folder: Path, device: torch.device, engine: Engine = "auto"
) -> Verifier:
    """Make the verifier of `weights` (member -> file), to be written into `folder`, from the hold-out in `data`.

    Pairs are of two held-out photographs, or of a held-out one and one of a cohort of trained identities. Calibrations
    are fitted to balanced ones, thresholds counted on all, limits learnt from degraded copies of DEGRADED photographs.
    Raises NothingHeldOutError where the weights carry no hold-out or the data are not those of the training,
    NoseprintError where members were trained on different identities, or too few of the hold-out can be read.
    """
    share = _share(weights)
    held_out, cohort = _photographs(weights, data, share=share)
    table = held_out + cohort
    rows = np.sort(_some(len(held_out), DEGRADED))
    pairs = _pairs(table, len(held_out))
    embeddings: dict[str, Embeddings] = {}
    degraded: dict[str, Embeddings] = {}
    for name, path in weights.items():
        network = load_network(path)
        embed = embedder(network.to(device), device=device, engine=engine)
        view = A.Resize(network.image_size, network.image_size)
        embeddings[name] = embed_by(embed, table.paths, view=view, workers=default_workers(device), label=name)
        degraded[name] = np.stack(
            [
                embed(_batch([apply_view(view, image, (0,)) for image in _degraded(decode(table.paths[row]))])).numpy()
                for row in rows
            ],
            axis=1,
        )  # (levels, photographs, D)
    members = []
    for name, path in weights.items():
        calibration, reliability = _calibrated(embeddings[name], table, pairs)
        place = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
        members.append(Member(name, place, fingerprint(path), calibration, reliability))
    whole = joined(embeddings)
    calibration, reliability = _calibrated(whole, table, pairs)
    a, b, same = pairs
    similarity = row_similarities(whole, a, b)
    identity = np.unique(np.asarray(table.identities), return_inverse=True)[1]
    different = int((~same).sum())
    rates = [rate for rate in RATES if rate >= least_far(different)]
    if not rates and (lowest := math.ceil(100 * least_far(different)) / 100) < 1:
        rates = [lowest]
    if not rates:
        raise NoseprintError(f"the hold-out has {different} different pairs, too few for any threshold: hold out more")
    points = tuple(_point(rate, similarity, same, identity[a], identity[b]) for rate in rates)
    copies = np.stack([joined({name: degraded[name][level] for name in degraded}) for level in range(_LEVELS)])
    return Verifier(
        members=tuple(members),
        calibration=calibration,
        reliability=reliability,
        holdout=HoldOut(
            share=share,
            mark=holdout_mark(held_out.identities),
            identities=len(set(held_out.identities)),
            photographs=len(held_out),
            cohort=len(cohort),
            same_pairs=len(same) - different,
            different_pairs=different,
        ),
        least_fmr=least_far(different),
        points=points,
        quality=_limits(whole[: len(held_out)], copies, rows, held_out, points[-1]),
    )


_LEVELS = sum(len(levels) for _, levels in DEGRADATIONS.values())


def _share(weights: Mapping[str, Path]) -> float:
    """The share of the identities that was held out from every one of the members."""
    shares: dict[str, float] = {}
    for name, path in weights.items():
        if path.suffix == ".pth":
            raise NothingHeldOutError(f"{path}: a .pth file does not say what was held out from its training")
        share = json.loads(read_header(path).extra.get("training", "{}")).get("holdout")
        if not share or "held_out" not in read_header(path).extra:
            why = "was trained on all identities" if share == 0 else "does not say what was held out from its training"
            raise NothingHeldOutError(f"{path}: {why}; a verifier is made from photographs that were not trained on")
        shares[name] = share
    if len(set(shares.values())) > 1:
        told = ", ".join(f"{name} {share}" for name, share in shares.items())
        raise NoseprintError(f"the members held out different shares of the identities ({told}): train them alike")
    return float(next(iter(shares.values())))


def _photographs(weights: Mapping[str, Path], data: Path, *, share: float) -> tuple[ImageTable, ImageTable]:
    """Those of the identities that were held out, and the cohort; broken ones are named and left out."""
    if not (data / "train").exists():
        raise NothingHeldOutError(f"{data} has no train folder, from which the photographs held out would be taken")
    everyone = read_train(data, missing_ok=True)
    held_out = split_holdout(everyone.identities, share=share, seed=HOLDOUT_SEED)
    trained = everyone.where(identity not in held_out for identity in everyone.identities)
    chosen = {trained.paths[row] for row in _some(len(trained), COHORT)}
    cohort = _readable(trained.where(path in chosen for path in trained.paths))
    table = _readable(everyone.where(identity in held_out for identity in everyone.identities))
    require_scorable(table.identities, share=share, encounters=table.encounters)
    mark = holdout_mark(table.identities)
    for path in weights.values():
        if read_header(path).extra["held_out"] != mark:
            raise NothingHeldOutError(
                f"{path} was trained with other identities held out than {data} gives now: its train_data.csv, or "
                "what of it can be read, has changed; name the data of the training with --data, or train again"
            )
    kept, photographs = set[str](), 0
    for identity in sorted(held_out):
        photographs += table.identities.count(identity)
        if photographs <= MOST_PHOTOGRAPHS or len(kept) < 2:
            kept.add(identity)
    return table.where(identity in kept for identity in table.identities), cohort


def _readable(table: ImageTable) -> ImageTable:
    faults = find_faults(table.paths)
    for fault in faults:
        print(f"left out: {fault}", flush=True)
    broken = {fault.file for fault in faults}
    return table.where(path not in broken for path in table.paths)


def _some(number: int, most: int) -> Rows:
    """Up to `most` of `number` rows, drawn with a fixed seed."""
    return np.random.default_rng(HOLDOUT_SEED).permutation(number)[:most]


def _calibrated(embeddings: Embeddings, table: ImageTable, pairs: Pairs) -> tuple[Calibration, ReliabilityScores]:
    """The calibration by as many same as different ones of the pairs, and how right it is for unseen identities."""
    same_rows, other_rows = np.flatnonzero(pairs[2]), np.flatnonzero(~pairs[2])
    number = min(len(same_rows), len(other_rows), MOST_SAME)
    drawn = np.concatenate([rows[_some(len(rows), number)] for rows in (same_rows, other_rows)])
    a, b, same = pairs[0][drawn], pairs[1][drawn], pairs[2][drawn]
    names = np.asarray(table.identities)
    labelled = (row_similarities(embeddings, a, b), same, names[a], names[b])
    return fit_calibration(*labelled), reliability_scores(cross_fitted(*labelled), same, names[a], names[b])


def _pairs(table: ImageTable, held_out: int) -> Pairs:
    """Every pair with one of the first `held_out` photographs, but those of one identity in one encounter."""
    a, b = np.triu_indices(len(table), 1)
    a, b = a[a < held_out], b[a < held_out]
    names = np.asarray(table.identities)
    same = names[a] == names[b]
    if table.encounters is not None:
        met = np.asarray(table.encounters)
        apart = ~same | (met[a] != met[b])
        a, b, same = a[apart], b[apart], same[apart]
    return a, b, same


def _point(
    rate: float, similarity: npt.NDArray[np.float32], same: Flags, a: npt.NDArray[np.intp], b: npt.NDArray[np.intp]
) -> Point:
    size = int(max(a.max(), b.max())) + 1
    times = np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), size=1000).astype(np.float64)

    def resampled(pairs: Flags) -> npt.NDArray[np.float64]:
        """How many of the pairs are in each draw of identities, (1000,): see `bootstrap_pairs`."""
        count = np.bincount(a[pairs] * size + b[pairs], minlength=size * size).reshape(size, size).astype(np.float64)
        within = np.diag(count).copy()
        np.fill_diagonal(count, 0)
        return np.asarray(((times @ count) * times).sum(axis=1) + times @ within)

    different, alike = resampled(~same), resampled(same)

    def share(accepted: Flags, total: npt.NDArray[np.float64]) -> Interval:
        with np.errstate(invalid="ignore"):
            return interval(resampled(accepted) / total)

    curve = roc_curve(similarity, same)
    thresholds = np.minimum(curve.threshold, 2.0)  # where nothing is accepted
    kept, broken = 0, int(np.searchsorted(curve.far, rate, side="right"))
    while broken - kept > 1:  # the interval's upper end never falls as the threshold does
        middle = (kept + broken) // 2
        holds = share((similarity >= thresholds[middle]) & ~same, different)[1] <= rate
        kept, broken = (middle, broken) if holds else (kept, middle)
    accepted = similarity >= thresholds[kept]
    true = np.sort(similarity[same])
    return Point(
        fmr=rate,
        threshold=float(thresholds[kept]),
        measured_fmr=Score(float(curve.far[kept]), *share(accepted & ~same, different)),
        tmr=Score(float(curve.tar[kept]), *share(accepted & same, alike)),
        fnmr_threshold=float(true[math.floor(rate * len(true))]),
    )


def _degraded(image: Image) -> list[Image]:
    image = reduced(image)
    return [degrade(image, level) for degrade, levels in DEGRADATIONS.values() for level in levels]


def _batch(images: list[Image]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))


def _limits(
    whole: Embeddings, copies: Embeddings, rows: npt.NDArray[np.intp], table: ImageTable, point: Point
) -> Limits:
    """What a photograph must have; whole (N, D), copies (levels, photographs, D) of the photographs `rows`."""
    names = np.asarray(table.identities)
    other = rows[:, None] != np.arange(len(table))[None]
    if table.encounters is not None:
        met = np.asarray(table.encounters)
        other &= met[rows][:, None] != met[None]
    match = (names[rows][:, None] == names[None]) & other
    mismatch = np.triu(names[rows][:, None] != names[rows][None], 1)
    # The few held-out identities may be easier or harder to tell apart than others: what degradation does to false
    # matches is seen from the threshold that keeps the promise among just them.
    among = np.triu(names[:, None] != names[None], 1)
    own = float(np.quantile((whole @ whole.T)[among], 1 - point.fmr))
    plain, worse = list[Quality](), list[list[Quality]]()
    for row in rows:
        picture = decode(table.paths[row])
        plain.append(measure(picture))
        worse.append([measure(copy) for copy in _degraded(picture)])

    def level(embeddings: Embeddings, found: list[float]) -> Level:
        return Level(
            measured=float(np.median(found)),
            tmr=_share_of((embeddings @ whole.T)[match], point.threshold),
            fmr=_share_of((embeddings @ embeddings.T)[mismatch], own),
        )

    limits: dict[str, Limit] = {}
    start = 0
    for kind, (_, steps) in DEGRADATIONS.items():
        undegraded = [float(getattr(quality, kind)) for quality in plain]
        levels = [level(whole[rows], undegraded)]
        for at in range(start, start + len(steps)):
            found = [float(getattr(qualities[at], kind)) for qualities in worse]
            if np.median(found) < levels[-1].measured:  # small photographs are not made smaller by a larger size
                levels.append(level(copies[at], found))
        start += len(steps)
        limits[kind] = learn_limit(levels, fmr=point.fmr, undegraded=undegraded)
    return Limits(fmr=point.fmr, photographs=len(rows), **limits)


def _share_of(similarity: npt.NDArray[np.float32], threshold: float) -> float:
    return float(np.mean(similarity >= threshold)) if len(similarity) else 0.0
