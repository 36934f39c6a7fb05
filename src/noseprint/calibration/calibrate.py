"""A verifier from the photographs that no network was trained on."""

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from noseprint.calibration.curves import Calibration
from noseprint.calibration.fitting import cross_fitted, fit_calibration
from noseprint.calibration.quality_limits import DEGRADATIONS, Level, Limit, Limits, learn_limit, reduced
from noseprint.calibration.reliability import ReliabilityScores, reliability_scores
from noseprint.calibration.verifier import HoldOut, Member, OperatingPoint, Verifier
from noseprint.command_line import Engine
from noseprint.data.decoding import Image, decode, find_faults
from noseprint.data.holdout import HOLDOUT_SEED, changed_photographs, holdout_hash, split_holdout
from noseprint.data.photo_quality import Quality, measure_quality
from noseprint.data.tables import ImageTable, read_train
from noseprint.data.transforms import A, apply_transform
from noseprint.devices import default_workers
from noseprint.errors import NoseprintError
from noseprint.metrics.bootstrap import MIN_IDENTITIES, Interval, Score, percentile_interval
from noseprint.metrics.similarity import ensemble_embeddings, row_similarities
from noseprint.metrics.verification import least_fmr, roc_curve
from noseprint.models.embed import embed_by, embedder
from noseprint.models.weights import load_network
from noseprint.models.weights_header import fingerprint, read_header

RATES = (0.1, 0.01, 0.001)
MOST_PHOTOGRAPHS = 2000
"""A larger hold-out is thinned where an identity has the most: two million pairs."""
COHORT = 200
"""Photographs of trained identities that the hold-out is compared with: a small hold-out has few pairs of identities
(8 give 28), and how alike individuals may be is seen on many only."""
MOST_SAME = 10_000
"""Same pairs, and as many different ones, that a calibration is fitted to; of K identities, a Kth of them each at most:
else one with many photographs would be all that the curve knows."""
DEGRADED = 40
"""Photographs that are degraded to learn what a photograph must have."""

Embeddings = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Names = npt.NDArray[np.str_]
Rows = npt.NDArray[np.intp]
Pairs = tuple[Rows, Rows, Flags]


class NothingHeldOutError(NoseprintError):
    """Weights that no verifier can be made for: trained on (nearly) everything, on other data, or not telling."""


def calibrate(
    weights: Mapping[str, Path], data: Path, *, folder: Path, device: torch.device, engine: Engine = "auto"
) -> Verifier:
    """Make the verifier of `weights` (member -> file), to be written into `folder`, from the hold-out in `data`.

    Pairs are of two held-out photographs, or of a held-out one and one of a cohort of trained identities. Calibrations
    are fitted to balanced ones, thresholds counted on all, limits learnt from degraded copies of DEGRADED photographs.
    Raises NothingHeldOutError where the weights carry no hold-out, the data are not those of the training, or fewer
    than MIN_IDENTITIES identities give same pairs; NoseprintError where members were trained on different identities.
    """
    share = _share(weights)
    held_out, cohort = _photographs(weights, data, share=share)
    table = held_out + cohort
    rows = np.sort(_some(len(held_out), DEGRADED))
    pairs = _pairs(table, len(held_out))
    _require_enough(np.asarray(table.identities), pairs)
    embeddings: dict[str, Embeddings] = {}
    degraded: dict[str, Embeddings] = {}
    for name, path in weights.items():
        network = load_network(path)
        embed = embedder(network.to(device), device=device, engine=engine)
        transform = A.Resize(network.image_size, network.image_size)
        embeddings[name] = embed_by(
            embed, table.paths, transform=transform, workers=default_workers(device), label=name
        )
        degraded[name] = np.stack(
            [
                embed(
                    _batch([apply_transform(transform, image, (0,)) for image in _degraded(decode(table.paths[row]))])
                ).numpy()
                for row in rows
            ],
            axis=1,
        )  # (levels, photographs, D)
    members = []
    for name, path in weights.items():
        calibration, reliability = _calibrated(embeddings[name], table, pairs)
        place = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
        members.append(Member(name, place, fingerprint(path), calibration, reliability))
    whole = ensemble_embeddings(embeddings)
    calibration, reliability = _calibrated(whole, table, pairs)
    a, b, same = pairs
    similarity = row_similarities(whole, a, b)
    identity = np.unique(np.asarray(table.identities), return_inverse=True)[1]
    different = int((~same).sum())
    rates = [rate for rate in RATES if rate >= least_fmr(different)]
    if not rates and (lowest := math.ceil(100 * least_fmr(different)) / 100) < 1:
        rates = [lowest]
    if not rates:
        raise NothingHeldOutError(f"the hold-out has {different} different pairs, too few for any threshold: {_MORE}")
    points = tuple(_point(rate, similarity, same, identity[a], identity[b]) for rate in rates)
    copies = np.stack(
        [ensemble_embeddings({name: degraded[name][level] for name in degraded}) for level in range(_LEVELS)]
    )
    return Verifier(
        members=tuple(members),
        calibration=calibration,
        reliability=reliability,
        holdout=HoldOut(
            share=share,
            mark=holdout_hash(held_out.identities),
            identities=len(set(held_out.identities)),
            photographs=len(held_out),
            cohort=len(cohort),
            same_pairs=len(same) - different,
            different_pairs=different,
        ),
        least_fmr=least_fmr(different),
        points=points,
        quality=_limits(whole[: len(held_out)], copies, rows, held_out, points[-1]),
    )


_MORE = "train with a larger --holdout, or on more individuals"
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
    if not ((data / "train" / "train_data.csv").is_file() and (data / "train" / "images").is_dir()):
        raise NothingHeldOutError(
            f"{data} has no training photographs (train/train_data.csv, train/images), of which the held-out ones make "
            "a verifier; name the data of the training with --data"
        )
    everyone = read_train(data, missing_ok=True)
    held_out = split_holdout(everyone.identities, share=share, seed=HOLDOUT_SEED)
    trained = everyone.where(identity not in held_out for identity in everyone.identities)
    chosen = {trained.paths[row] for row in _some(len(trained), COHORT)}
    cohort = _readable(trained.where(path in chosen for path in trained.paths))
    table = _readable(everyone.where(identity in held_out for identity in everyone.identities))
    mark = holdout_hash(table.identities)
    for path in weights.values():
        if read_header(path).extra["held_out"] != mark:
            raise NothingHeldOutError(
                f"{path} was trained with other identities held out than {data} gives now: its train_data.csv, or "
                "what of it can be read, has changed; name the data of the training with --data, or train again"
            )
    _compare_photographs(weights, data, table)
    return _thinned(table), cohort


def _compare_photographs(weights: Mapping[str, Path], data: Path, table: ImageTable) -> None:
    """Refuse held-out photographs of which most are not those of the training, and tell of some that are not."""
    told = set()
    for path in weights.values():
        marks = read_header(path).extra.get("held_out_photographs")
        if not marks:  # older weights
            continue
        changed = changed_photographs(marks, table)
        if changed.other_data:
            raise NothingHeldOutError(
                f"{path} was trained with other photographs than {data} has, though its individuals have the same "
                f"names: {changed.known} of those held out are the same, by file name and size; name the data of the "
                "training with --data, or train again (after renaming or rewriting all of them, too)"
            )
        if changed.added or changed.removed:
            told.add(
                f"held-out photographs that came since the training: {changed.added}, that went: {changed.removed} "
                "(a changed one did both); those that came are taken for never trained on"
            )
    for line in sorted(told):
        print(line, flush=True)


def _thinned(table: ImageTable) -> ImageTable:
    """At most MOST_PHOTOGRAPHS, as many of every identity or all that it has: of each encounter in turn, drawn.

    Two of each identity stay; where that would be more, as many identities, drawn.
    """
    names = sorted(set(table.identities))
    kept = {names[row] for row in _some(len(names), MOST_PHOTOGRAPHS // 2)}
    table = table.where(identity in kept for identity in table.identities)
    if len(table) <= MOST_PHOTOGRAPHS:
        return table
    drawn = _some(len(table), len(table))
    met = list(zip(table.identities, table.encounters or table.identities, strict=True))
    turn = _places([met[row] for row in drawn])
    drawn = drawn[np.argsort(turn, kind="stable")]
    place = np.empty(len(table), np.intp)
    place[drawn] = _places([table.identities[row] for row in drawn])
    return table.where(place < max(2, np.sort(place)[MOST_PHOTOGRAPHS]))


def _places(labels: Iterable[object]) -> Rows:
    """The how manieth of its label each of the labels (N,) is, from 0."""
    seen = Counter[object]()
    places = []
    for label in labels:
        places.append(seen[label])
        seen[label] += 1
    return np.array(places, np.intp)


def _readable(table: ImageTable) -> ImageTable:
    faults = find_faults(table.paths)
    for fault in faults:
        print(f"left out: {fault}", flush=True)
    broken = {fault.file for fault in faults}
    return table.where(path not in broken for path in table.paths)


def _some(number: int, most: int) -> Rows:
    """Up to `most` of `number` rows, drawn with a fixed seed."""
    return np.random.default_rng(HOLDOUT_SEED).permutation(number)[:most]


def _require_enough(names: Names, pairs: Pairs) -> None:
    """Refuse same pairs of fewer identities than an interval needs; `names` (N,) are those of the photographs."""
    number = len(np.unique(names[pairs[0][pairs[2]]]))
    if number < MIN_IDENTITIES:
        raise NothingHeldOutError(
            f"only {number} of the held-out identities have two photographs (of two encounters, where these are known) "
            f"that can be read, and of fewer than {MIN_IDENTITIES} nothing can be said of others: {_MORE}"
        )


def _calibrated(embeddings: Embeddings, table: ImageTable, pairs: Pairs) -> tuple[Calibration, ReliabilityScores]:
    """The calibration by as many same as different ones of the pairs, and how right it is for unseen identities.

    Only of identities that have same pairs, each with one of both kinds at the least: one without could not be judged.
    """
    names = np.asarray(table.identities)
    held_out, together = names[pairs[0]], pairs[2]
    known = np.unique(held_out[together])
    most = MOST_SAME // len(known)
    same_rows, other_rows = (
        _in_turn(np.flatnonzero(kind & np.isin(held_out, known)), held_out, most) for kind in (together, ~together)
    )
    number = min(len(same_rows), len(other_rows))
    drawn = np.concatenate([same_rows[:number], other_rows[:number]])
    a, b, same = pairs[0][drawn], pairs[1][drawn], together[drawn]
    labelled = (row_similarities(embeddings, a, b), same, names[a], names[b])
    return fit_calibration(*labelled), reliability_scores(cross_fitted(*labelled), same, names[a], names[b])


def _in_turn(rows: Rows, names: Names, most: int) -> Rows:
    """Rows of pairs as drawn, the first of each of `names` before all others, and `most` of each at most."""
    rows = rows[_some(len(rows), len(rows))]
    place = _places(names[rows].tolist())
    first = np.argsort(place > 0, kind="stable")
    return rows[first[place[first] < most]]


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
) -> OperatingPoint:
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
            return percentile_interval(resampled(accepted) / total)

    curve = roc_curve(similarity, same)
    thresholds = np.minimum(curve.threshold, 2.0)  # where nothing is accepted
    kept, broken = 0, int(np.searchsorted(curve.fmr, rate, side="right"))
    while broken - kept > 1:  # the interval's upper end never falls as the threshold does
        middle = (kept + broken) // 2
        holds = share((similarity >= thresholds[middle]) & ~same, different)[1] <= rate
        kept, broken = (middle, broken) if holds else (kept, middle)
    accepted = similarity >= thresholds[kept]
    true = np.sort(similarity[same])
    return OperatingPoint(
        fmr=rate,
        threshold=float(thresholds[kept]),
        measured_fmr=_around(float(curve.fmr[kept]), share(accepted & ~same, different)),
        tmr=_around(float(curve.tmr[kept]), share(accepted & same, alike)),
        fnmr_threshold=float(true[math.floor(rate * len(true))]),
    )


def _around(value: float, bounds: Interval) -> Score:
    """The value with its interval, widened to hold it: of few unequal identities, percentiles may pass it by."""
    return Score(value, min(value, bounds[0]), max(value, bounds[1]))


def _degraded(image: Image) -> list[Image]:
    image = reduced(image)
    return [degrade(image, level) for degrade, levels in DEGRADATIONS.values() for level in levels]


def _batch(images: list[Image]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))


def _limits(
    whole: Embeddings, copies: Embeddings, rows: npt.NDArray[np.intp], table: ImageTable, point: OperatingPoint
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
        plain.append(measure_quality(picture))
        worse.append([measure_quality(copy) for copy in _degraded(picture)])

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
