"""Which individuals are trained on, which make pseudo-labels and which test, and the questions asked about them."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from noseprint.errors import NoseprintError

T = TypeVar("T")
LEAST = {"train": 6, "validation": 2, "test": 2}
"""Individuals seen twice or more: a third of the training's, two at least, is held out; a pair of different ones takes
two."""
_MOST_SHOTS = 100  # of an individual that same pairs are made of: 4,950 pairs


@dataclass(frozen=True)
class Shot:
    """A photograph by its name, and the encounter it is from: its own name where that is not known."""

    name: str
    encounter: str


Shots = Mapping[str, Sequence[Shot]]
"""The photographs of each identity."""


def split_identities(shots: Shots, *, validation: float, test: float, seed: int) -> dict[str, str]:
    """The split ("train", "validation", "test") of each identity.

    The shares are of the identities of two encounters or more, at least LEAST of them; the others are shared out
    likewise. The rest trains. Raises NoseprintError where fewer than LEAST are left to train.
    """
    several = sorted(identity for identity, own in shots.items() if len(_encounters(own)) > 1)
    single = sorted(set(shots) - set(several))
    if len(several) < sum(LEAST.values()):
        raise NoseprintError(
            f"{len(several)} individuals have two photographs or more (of two encounters, where these are told), and "
            f"it takes {sum(LEAST.values())}: {LEAST['train']} to train (a third of them held out, to score it), "
            f"{LEAST['validation']} for pseudo-labels, {LEAST['test']} to test. Photograph more individuals; fewer can "
            "be told apart without a training, by `noseprint embed` and `noseprint search` with weights of others"
        )
    many = {"test": max(LEAST["test"], round(test * len(several)))}
    many["validation"] = max(LEAST["validation"], round(validation * len(several)))
    if (left := len(several) - sum(many.values())) < LEAST["train"]:
        raise NoseprintError(
            f"--validation {validation} and --test {test} leave {max(left, 0)} of {len(several)} individuals to train, "
            f"{LEAST['train']} are needed: lower them"
        )
    few = {"test": round(test * len(single)), "validation": round(validation * len(single))}
    rng = np.random.default_rng((seed, 0))
    split: dict[str, str] = {}
    for identities, numbers in ((several, many), (single, few)):
        kinds = ["test"] * numbers["test"] + ["validation"] * numbers["validation"]
        split.update(itertools.zip_longest(_shuffled(identities, rng), kinds[: len(identities)], fillvalue="train"))
    return split


def make_pairs(shots: Shots, *, most: int, seed: int) -> list[tuple[str, str, int]]:
    """Pairs (a, b, 1 = same individual) in random order, half of them the same, at most `most`.

    Same pairs are of two encounters, and taken from one individual after the other in turn, so that those with many
    photographs do not crowd out the others. Different ones begin with each photograph in turn.
    """
    rng = np.random.default_rng((seed, 1))
    turns = itertools.zip_longest(*(_same_pairs(shots[identity], rng) for identity in sorted(shots)))
    same = [pair for turn in turns for pair in turn if pair is not None]
    counts = [len(own) for own in shots.values()]
    possible = (sum(counts) ** 2 - sum(count**2 for count in counts)) // 2
    same = same[: min(most // 2, possible)]
    different = set(itertools.islice(_different_pairs(shots, rng), len(same)))
    return _shuffled([(*pair, 1) for pair in same] + [(*pair, 0) for pair in sorted(different)], rng)


def choose_queries(shots: Sequence[Shot], rng: np.random.Generator) -> set[str]:
    """Whole encounters of an individual, as queries of a search: a quarter of its photographs or just more.

    Never all encounters, so that each query has something to find; none of an individual of one encounter.
    """
    queries = set[str]()
    for group in _shuffled(_encounters(shots), rng)[:-1]:
        if 4 * len(queries) < len(shots):
            queries.update(shot.name for shot in group)
    return queries


def _same_pairs(shots: Sequence[Shot], rng: np.random.Generator) -> list[tuple[str, str]]:
    groups = _encounters(_shuffled(shots, rng)[:_MOST_SHOTS])
    pairs = [pair for one, other in itertools.combinations(groups, 2) for pair in itertools.product(one, other)]
    return _shuffled([_pair(a.name, b.name) for a, b in pairs], rng)


def _different_pairs(shots: Shots, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Each possible pair once; asked for more than there are, it never ends."""
    identities = sorted(shots)
    seen = set()
    for name, identity in itertools.cycle(_shuffled([(s.name, i) for i in identities for s in shots[i]], rng)):
        other = identities[int(rng.integers(len(identities)))]
        pair = _pair(name, shots[other][int(rng.integers(len(shots[other])))].name)
        if other != identity and pair not in seen:
            seen.add(pair)
            yield pair


def _encounters(shots: Sequence[Shot]) -> list[list[Shot]]:
    groups: dict[str, list[Shot]] = {}
    for shot in shots:
        groups.setdefault(shot.encounter, []).append(shot)
    return list(groups.values())


def _pair(a: str, b: str) -> tuple[str, str]:
    return min(a, b), max(a, b)


def _shuffled(items: Sequence[T], rng: np.random.Generator) -> list[T]:
    return [items[k] for k in rng.permutation(len(items)).tolist()]
