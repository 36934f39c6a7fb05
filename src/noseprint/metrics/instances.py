"""Retrieval of instances of several domains: one merged index, scores for each domain.

The protocol of the Google Universal Image Embedding challenge (2022), whose index holds all domains, and "merged" of
UnED (arXiv 2309.01858): a query of one domain may find images of another.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noseprint.data.instances import ALL_DOMAINS
from noseprint.metrics.bootstrap import (
    Score,
    bootstrap_difference,
    bootstrap_mean,
    percentile_interval,
    resampled_weights,
)
from noseprint.metrics.retrieval import retrieval_metrics
from noseprint.metrics.similarity import Embeddings, Labels


@dataclass(frozen=True)
class InstanceScores:
    """The scores of each of the Q queries that have a true match in the index.

    query: (Q,) rows of the embeddings. precision_at_5, average_precision: (Q,), 0..1. domains, identities: (Q,).
    left_out: number of queries without a true match.
    """

    query: npt.NDArray[np.intp]
    precision_at_5: npt.NDArray[np.float64]
    average_precision: npt.NDArray[np.float64]
    domains: npt.NDArray[np.str_]
    identities: npt.NDArray[np.str_]
    left_out: int

    @property
    def mean(self) -> float:
        """The mean over domains of the mean precision at 5."""
        return domain_mean(self.precision_at_5, self.domains)


def score_instances(
    embeddings: Embeddings, *, identities: Labels, domains: Labels, queries: npt.ArrayLike, index: npt.ArrayLike
) -> InstanceScores:
    """Search each query in the index of all domains: precision at min(5, number of true matches), average precision.

    embeddings: (N, D), rows of length 1. identities, domains: (N,). queries, index: rows or a mask; an image never
    finds itself. Raises NoseprintError as `retrieval_metrics` does.
    """
    found = retrieval_metrics(embeddings, identities, queries=queries, gallery=index)
    return InstanceScores(
        query=found.query,
        precision_at_5=found.precision_at_5,
        average_precision=found.average_precision,
        domains=np.asarray(domains, np.str_)[found.query],
        identities=np.asarray(identities, np.str_)[found.query],
        left_out=found.left_out,
    )


def domain_mean(values: npt.NDArray[np.float64], domains: npt.NDArray[np.str_]) -> float:
    """The mean over domains of the mean of values (Q,)."""
    return float(np.mean([values[domains == domain].mean() for domain in np.unique(domains)]))


def by_domain(
    values: npt.NDArray[np.float64],
    scores: InstanceScores,
    *,
    than: npt.NDArray[np.float64] | None = None,
    seed: int = 0,
) -> dict[str, Score]:
    """The mean of values (Q,) in each domain and, as ALL_DOMAINS, the mean of these, with 95 % intervals.

    scores: the queries that the values belong to. than: (Q,) values of the same queries that are subtracted: the
    interval is then a paired one. Identities are resampled, each within its domain, as by `bootstrap_mean`.
    """
    found: dict[str, Score] = {}
    draws = []
    base = np.zeros(len(values)) if than is None else than
    for number, domain in enumerate(np.unique(scores.domains)):
        rows = scores.domains == domain
        own, whose = values[rows] - base[rows], scores.identities[rows]
        if than is None:
            found[domain] = Score(float(own.mean()), *bootstrap_mean(own, whose, seed=seed))
        else:
            found[domain] = bootstrap_difference(values[rows], base[rows], whose, seed=seed)
        weights = np.concatenate(list(resampled_weights(whose, seed=seed + number)))
        draws.append(weights @ own / weights.sum(1))
    mean = float(np.mean([score.value for score in found.values()]))
    found[ALL_DOMAINS] = Score(mean, *percentile_interval(np.mean(draws, axis=0)))
    return found
