"""The sections that need labels: scores, members, verification, hardest pairs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from noseprint.inference.evaluation import FMRS, Evaluation
from noseprint.metrics.bootstrap import Score
from noseprint.metrics.verification import least_fmr, least_fmr_rounded_up, roc_curve
from noseprint.reporting import charts
from noseprint.reporting.evidence import Gain, correlations, hardest, member_gains, members_of
from noseprint.reporting.layout import Captioned, shown

_HARD = 6  # pairs of either kind
_COLUMNS = {
    "auc": ("ROC AUC", "chance that a same pair is found more alike than a different one; 0.5 is guessing, 1 perfect"),
    "eer": ("EER", "equal error rate: the errors where both kinds are equally frequent; 0 is perfect"),
    "tmr_at_1e_1": ("same pairs recognised at 10 %", ""),
    "tmr_at_1e_2": ("same pairs recognised at 1 %", ""),
    "tmr_at_1e_3": ("same pairs recognised at 0.1 %", ""),
    "map": ("mAP", "mean average precision: how near the top a search puts all photographs of the individual"),
    "rank_1": ("Rank-1", "share of searches whose first answer is right; Rank-5: one of the first five"),
    "rank_5": ("Rank-5", ""),
    "precision_at_5": ("Precision@5", "share of right answers among a search's first five"),
}
_RECOGNISED = (
    "same pairs recognised at 10 %",
    "at a false match rate of 10 %: by the threshold that 10 % of the different pairs reach (in the literature TMR at "
    "FMR 0.1)",
)


def scores(evaluation: Evaluation) -> dict[str, Any]:
    """The table of scores and its two pictures."""
    found = evaluation.scores
    columns = [name for name in _COLUMNS if any(getattr(of, name) for of in found.values())]
    terms = [_COLUMNS[name] for name in columns if _COLUMNS[name][1]]
    if any(name in FMRS for name in columns):
        terms.insert(2, _RECOGNISED)
    labelled = evaluation.labelled
    on, refused = [], ""
    if labelled.pairs:
        on.append(f"{len(labelled.pairs):,} labelled test pairs")
        if evaluation.unsupported:
            rates = " or ".join(f"{100 * FMRS[name]:g} %" for name in evaluation.unsupported)
            lowest = least_fmr_rounded_up(int((~labelled.same).sum()))
            refused = (
                f"Same pairs recognised at a false match rate of {rates} are not stated: that takes 30 errors (rule of "
                f"30), and the lowest rate that these pairs support is {100 * lowest:g} %."
                if lowest
                else "No false match rate is stated: it takes 30 errors (rule of 30); there are fewer different pairs."
            )
    if labelled.retrieval and "map" in columns:
        queries = sum(labelled.retrieval.is_query)
        on.append(f"{queries:,} searches among {len(labelled.retrieval.paths) - queries:,} photographs")
    pictures: list[Captioned] = []
    for name in ("auc", "map"):
        rows = {who: _bounds(score) for who, of in found.items() if (score := getattr(of, name))}
        if rows:
            what = "ROC AUC of the test pairs" if name == "auc" else "mAP of the search"
            caption = "Dot: the value; line: its 95 % interval. Further right is better."
            pictures.append((charts.intervals(rows, name=f"scores-{name}", label=what), caption))
    return {
        "of": _whose(evaluation, "Members and ensemble"),
        "on": " and ".join(on),
        "columns": [(name, _COLUMNS[name][0]) for name in columns],
        "rows": [(who, {name: getattr(of, name) for name in columns}) for who, of in found.items()],
        "refused": refused,
        "compare": bool(evaluation.embeddings) and not any(who.endswith(" untrained") for who in found),
        "terms": terms,
        "charts": pictures,
    }


def members(evaluation: Evaluation) -> dict[str, Any] | None:
    """What each member adds, and how alike they are; None for one member."""
    gains = member_gains(evaluation)
    if not gains:
        return None
    scored = {
        name: what
        for name, what in {"auc": "ROC AUC", "map": "mAP"}.items()
        if all(getattr(gain, name) for gain in gains.values())
    }
    pictures = []
    for name, what in scored.items():
        chart = charts.intervals(
            {who: _bounds(getattr(gain, name)) for who, gain in gains.items()},
            name=f"gain-{name}",
            label=f"{what} gained by having it",
            zero=True,
        )
        pictures.append((chart, "Right of the dotted line the member helps, left of it it harms."))
    told: dict[str, Any] = {
        "useless": _useless(gains, scored),
        "correlation": None,
        "heads": list(scored.values()),
        "rows": [(who, [getattr(gain, name) for name in scored]) for who, gain in gains.items()],
        "charts": pictures,
    }
    if evaluation.labelled.pairs:
        told |= _correlation(evaluation)
    return told


def verification(evaluation: Evaluation, thresholds: Mapping[str, float]) -> dict[str, Any] | None:
    """ROC, DET and the similarities behind them; `thresholds` are drawn into the ensemble's histogram."""
    labelled = evaluation.labelled
    if labelled.pairs is None:
        return None
    names = [name for name in evaluation.similarity if name == "ensemble" or name in members_of(evaluation)]
    curves = {}
    for name in names:
        roc = roc_curve(evaluation.similarity[name], labelled.same)
        curves[name] = (roc.fmr, roc.tmr)
    lowest = least_fmr(int((~labelled.same).sum()))
    whose = "ensemble" if "ensemble" in names else names[0]
    grey = (
        " Grey: too few pairs to be sure." if lowest < 1 else " There are too few different pairs to be sure anywhere."
    )
    pictures: list[Captioned] = [
        (
            charts.similarities(
                evaluation.similarity[whose], labelled.same, name="similarities", thresholds=thresholds
            ),
            f"Similarities that {_whose(evaluation, 'the ensemble')} gives to same and different pairs. "
            "The less the two hills overlap, the better.",
        ),
        (
            charts.roc(curves, least_fmr=lowest),
            "ROC: how many same pairs are accepted at which false match rate, the share of different pairs wrongly "
            f"accepted. Higher and further left is better.{grey}",
        ),
        (
            charts.det(curves, least_fmr=lowest),
            "DET: the two kinds of error against each other, stretched so that small ones can be told apart. Nearer "
            f"the lower left is better; the dotted line meets a curve at its equal error rate.{grey}",
        ),
    ]
    return {"charts": pictures, "alone": [_alone(evaluation, name) for name in names[:-1]]}


def hard(evaluation: Evaluation, probabilities: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, Any] | None:
    """The hardest pairs as photographs."""
    if evaluation.labelled.pairs is None:
        return None
    whose = "ensemble" if "ensemble" in evaluation.similarity else members_of(evaluation)[0]
    similarity, probability = evaluation.similarity[whose], probabilities.get(whose)
    told: dict[str, Any] = {"who": _whose(evaluation, "the ensemble")}
    for kind, same in (("different", False), ("same", True)):
        found = hardest(similarity, evaluation.labelled, same=same, count=_HARD, probability=probability)
        told[kind] = [
            shown(
                pair.image_a,
                pair.image_b,
                f"similarity {pair.similarity:.3f}"
                + ("" if pair.probability is None else f", {100 * pair.probability:.1f} % the same"),
            )
            for pair in found
        ]
    return told


def _whose(evaluation: Evaluation, several: str) -> str:
    """`several`, or the name of the only member."""
    return several if "ensemble" in evaluation.scores else members_of(evaluation)[0]


def _useless(gains: Mapping[str, Gain], scored: Mapping[str, str]) -> str:
    """A sentence a figure on the members without which the ensemble is as good or better."""
    told = []
    for key, what in scored.items():
        values = {who: getattr(gain, key).value for who, gain in gains.items()}
        if named := [f"{who} ({value:+.4f})".replace("-", "−") for who, value in values.items() if value <= 0]:
            told.append(f"By {what} the ensemble is no worse without {' or without '.join(named)}.")
    return " ".join(told)


def _alone(evaluation: Evaluation, name: str) -> Captioned:
    similarity, same = evaluation.similarity[name], evaluation.labelled.same
    chart = charts.similarities(
        similarity, same, name=f"similarities-{members_of(evaluation).index(name)}", thresholds={}, title=name
    )
    return chart, f"Similarities that {name} gives."


def _correlation(evaluation: Evaluation) -> dict[str, Any]:
    names = members_of(evaluation)
    matrix = correlations({name: evaluation.similarity[name] for name in names})
    lowest = float(np.nanmin(matrix)) if np.isfinite(matrix).any() else 0.0
    shares = np.nan_to_num((matrix - lowest) / (1 - lowest + 1e-9))
    rows = []
    for name, values, row in zip(names, matrix, shares, strict=True):
        cells = zip(values, row, strict=True)
        rows.append((name, [(f"{v:.3f}" if np.isfinite(v) else "–", round(100 * s)) for v, s in cells]))
    return {"names": names, "correlation": rows}


def _bounds(score: Score) -> tuple[float, float, float]:
    return score.value, score.low, score.high
