"""Individuals of a gallery that are perhaps one, enrolled under two names."""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from noseprint.calibration.curves import SAME_PIXELS_LOG_ODDS, Calibration, probability_at
from noseprint.inference.gallery import GalleryEmbeddings
from noseprint.inference.photograph_records import digest_of

ALIKE = 0.9
"""Individuals are named if the probability that they are one is at least this. Tried with galleries of 10 and 40 drawn
noses or dogs, of which two to five had two names: where a query's probability was halved, 67 to 100 % of the pairs were
named, and at most 1.4 pairs of different individuals a search."""
MAX_IMAGES, MAX_INDIVIDUALS = 20_000, 2_000
"""In a larger gallery, only suspects are compared: all individuals would take more than a few seconds."""

Couple = tuple[str, str]


@dataclass(frozen=True)
class AlikeIndividuals:
    """Two individuals that are perhaps one, and the probability that they are."""

    a: str
    b: str
    probability: float


def alike_individuals(
    gallery: GalleryEmbeddings,
    identities: Mapping[str, str],
    calibration: Calibration,
    *,
    gallery_identities: int,
    suspects: Collection[Couple] = (),
) -> list[AlikeIndividuals]:
    """Find individuals that are perhaps one, enrolled under two names; the surest first.

    The similarity of two individuals is the mean cosine of their images. It becomes a probability as in a search: an
    individual is as likely to be in the rest of the gallery as not. For suspects, even prior odds are used. Two
    individuals that share a picture are one.

    identities: of the gallery's images, by name. gallery_identities: as for `identity_probabilities`. suspects: pairs
    of individuals, in alphabetical order, between which a query shares its probability.
    """
    rows_of = defaultdict(list)
    for row, name in enumerate(gallery.names):
        if name in identities:
            rows_of[identities[name]].append(row)
    if len(rows_of) > MAX_INDIVIDUALS or len(gallery.names) > MAX_IMAGES:
        wanted = sorted({name for couple in suspects for name in couple})[:MAX_INDIVIDUALS]
    else:
        wanted = sorted(rows_of)
    log_odds_of = dict.fromkeys(_sharing_a_picture(gallery, identities), SAME_PIXELS_LOG_ODDS)
    if wanted:
        means = np.stack([gallery.matrix[rows_of[name]].mean(axis=0) for name in wanted])
        for start in range(0, len(means), 256):
            log_odds = calibration.log_odds(means[start : start + 256] @ means.T)
            alike = probability_at(log_odds) >= ALIKE
            for row, column in zip(*np.nonzero(np.triu(alike, k=start + 1)), strict=True):
                couple = wanted[start + row], wanted[column]
                log_odds_of[couple] = max(float(log_odds[row, column]), log_odds_of.get(couple, -np.inf))
    found = []
    for couple, value in log_odds_of.items():
        prior = 0 if couple in suspects else -math.log(gallery_identities)
        probability = float(probability_at(np.array(value + prior)))
        if probability >= ALIKE:
            found.append(AlikeIndividuals(*couple, probability))
    return sorted(found, key=lambda pair: (-pair.probability, pair.a, pair.b))


def _sharing_a_picture(gallery: GalleryEmbeddings, identities: Mapping[str, str]) -> set[Couple]:
    """Pairs of individuals, in order, that have an image with the same pixels."""
    if gallery.records is None:
        return set()
    names_of = defaultdict(set)
    for name, record in zip(gallery.names, gallery.records, strict=True):
        if name in identities:
            names_of[digest_of(record)].add(identities[name])
    return {couple for names in names_of.values() for couple in combinations(sorted(names), 2)}
