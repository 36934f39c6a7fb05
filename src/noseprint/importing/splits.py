"""Splits individuals into training, validation and test, and draws the pairs and the queries to score them with."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from noseprint.data.encounters import only_value
from noseprint.errors import NoseprintError

T = TypeVar("T")
MIN_IDENTITIES = {"train": 6, "validation": 2, "test": 2}
"""The fewest individuals with two encounters that a split needs. At most a third of those in training are held out, and
at least two must be; a different pair needs two."""
_MAX_SHOTS = 100  # of an individual, for its same pairs: 4,950 pairs


@dataclass(frozen=True)
class Shot:
    """A photograph by its name, and its encounter: its own name if the encounter is not known."""

    name: str
    encounter: str


Shots = Mapping[str, Sequence[Shot]]
"""The photographs of each identity."""


def split_identities(
    shots: Shots, *, validation: float, test: float, seed: int, encounter_column: str = ""
) -> dict[str, str]:
    """The split ("train", "validation" or "test") of each identity.

    The two shares apply to the identities with two encounters or more, but each split gets at least MIN_IDENTITIES of
    them. Identities with one encounter are split by the same shares. The rest is for training. encounter_column: named
    if it is the reason why there are too few of them.
    Raises NoseprintError if there are too few identities.
    """
    several = sorted(identity for identity, own in shots.items() if len(_by_encounter(own)) > 1)
    single = sorted(set(shots) - set(several))
    needed = sum(MIN_IDENTITIES.values())
    if len(several) < needed:
        raise NoseprintError(
            f"{len(several)} individuals have two photographs or more (from two encounters, if encounters are "
            f"known), and at least {needed} are needed: {MIN_IDENTITIES['train']} to train (a third of them held out "
            f"to score the training), {MIN_IDENTITIES['validation']} for pseudo-labels, "
            f"{MIN_IDENTITIES['test']} to test. {_encounter_reason(shots, len(several), encounter_column)}"
            "Photograph more individuals. With fewer, use weights that somebody else trained, with `noseprint embed` "
            "and `noseprint search`"
        )
    several_counts = {
        "test": max(MIN_IDENTITIES["test"], round(test * len(several))),
        "validation": max(MIN_IDENTITIES["validation"], round(validation * len(several))),
    }
    if (left := len(several) - sum(several_counts.values())) < MIN_IDENTITIES["train"]:
        raise NoseprintError(
            f"--validation {validation} and --test {test} leave {max(left, 0)} of {len(several)} individuals to train, "
            f"and {MIN_IDENTITIES['train']} are needed: lower them"
        )
    single_counts = {"test": round(test * len(single)), "validation": round(validation * len(single))}
    rng = np.random.default_rng((seed, 0))
    split_of: dict[str, str] = {}
    for identities, counts in ((several, several_counts), (single, single_counts)):
        splits = ["test"] * counts["test"] + ["validation"] * counts["validation"]
        shuffled = _shuffled(identities, rng)
        split_of.update(itertools.zip_longest(shuffled, splits[: len(identities)], fillvalue="train"))
    return split_of


def make_pairs(shots: Shots, *, most: int, seed: int) -> list[tuple[str, str, int]]:
    """At most `most` pairs (a, b, 1 = same individual) in random order, half of them the same.

    Both photographs of a same pair are from different encounters. Individuals take turns in giving a same pair, so that
    those with many photographs do not crowd out the others. Photographs take turns as the first of a different pair.
    """
    rng = np.random.default_rng((seed, 1))
    rounds = itertools.zip_longest(*(_same_pairs(shots[identity], rng) for identity in sorted(shots)))
    same = [pair for one_round in rounds for pair in one_round if pair is not None]
    counts = [len(own) for own in shots.values()]
    possible_different = (sum(counts) ** 2 - sum(count**2 for count in counts)) // 2
    same = same[: min(most // 2, possible_different)]
    different = set(itertools.islice(_different_pairs(shots, rng), len(same)))
    return _shuffled([(*pair, 1) for pair in same] + [(*pair, 0) for pair in sorted(different)], rng)


def choose_queries(shots: Sequence[Shot], rng: np.random.Generator) -> set[str]:
    """Whole encounters of an individual as queries of a search: a quarter of its photographs, or slightly more.

    One encounter always stays in the gallery, for the queries to find. So an individual with one encounter has no
    queries.
    """
    queries = set[str]()
    for encounter in _shuffled(_by_encounter(shots), rng)[:-1]:
        if 4 * len(queries) < len(shots):
            queries.update(shot.name for shot in encounter)
    return queries


def _encounter_reason(shots: Shots, several: int, column: str) -> str:
    """How encounters leave only `several` individuals with two photographs to compare; "" if they do not."""
    photographed = sum(len(own) > 1 for own in shots.values())
    if photographed == several:
        return ""
    encounters = [shot.encounter if shot.encounter != shot.name else "" for own in shots.values() for shot in own]
    constant = only_value(encounters, column=column) if column else ""
    return (
        f"{photographed} have two photographs, but {photographed - several} of these from one encounter only"
        f"{f': {constant}' if constant else ''}. To compare photographs of one encounter, import with --no-encounters. "
    )


def _same_pairs(shots: Sequence[Shot], rng: np.random.Generator) -> list[tuple[str, str]]:
    encounters = _by_encounter(_shuffled(shots, rng)[:_MAX_SHOTS])
    pairs = [pair for one, other in itertools.combinations(encounters, 2) for pair in itertools.product(one, other)]
    return _shuffled([_sorted_pair(a.name, b.name) for a, b in pairs], rng)


def _different_pairs(shots: Shots, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Yield each possible pair once, then loop for ever: take no more than there are."""
    identities = sorted(shots)
    seen = set()
    for name, identity in itertools.cycle(_shuffled([(s.name, i) for i in identities for s in shots[i]], rng)):
        other = identities[int(rng.integers(len(identities)))]
        pair = _sorted_pair(name, shots[other][int(rng.integers(len(shots[other])))].name)
        if other != identity and pair not in seen:
            seen.add(pair)
            yield pair


def _by_encounter(shots: Sequence[Shot]) -> list[list[Shot]]:
    groups: dict[str, list[Shot]] = {}
    for shot in shots:
        groups.setdefault(shot.encounter, []).append(shot)
    return list(groups.values())


def _sorted_pair(a: str, b: str) -> tuple[str, str]:
    return min(a, b), max(a, b)


def _shuffled(items: Sequence[T], rng: np.random.Generator) -> list[T]:
    return [items[k] for k in rng.permutation(len(items)).tolist()]
