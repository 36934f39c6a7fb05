"""Which individuals are trained on, which make pseudo-labels and which test, and the questions asked about them."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from noseprint.errors import NoseprintError

LEAST = {"train": 6, "validation": 2, "test": 2}
"""Individuals with two photographs or more: a third of the training's, two at least, is held out; a pair of different
ones takes two."""
_MOST_PHOTOGRAPHS = 100  # of an individual that same pairs are made of: 4,950 pairs


@dataclass(frozen=True)
class Shot:
    """A photograph by its name, and the encounter it is from ("": not known)."""

    name: str
    encounter: str


def divide(photographs: Mapping[str, int], *, validation: float, test: float, seed: int) -> dict[str, str]:
    """The split ("train", "validation", "test") of each identity; `photographs` counts those of each.

    The shares are of the identities with two photographs or more, at least LEAST of them; those with a single one are
    shared out likewise. The rest trains. Raises NoseprintError where fewer than LEAST are left to train.
    """
    rng = np.random.default_rng((seed, 0))
    several = sorted(identity for identity, count in photographs.items() if count > 1)
    if len(several) < sum(LEAST.values()):
        raise NoseprintError(
            f"{len(several)} individuals have two photographs or more, and it takes {sum(LEAST.values())}: "
            f"{LEAST['train']} to train (a third of them held out, to score it), {LEAST['validation']} for "
            f"pseudo-labels, {LEAST['test']} to test. Photograph more individuals; fewer can be told apart without a "
            "training, by `noseprint embed` and `noseprint search` with weights that were trained on others"
        )
    many = {"test": max(LEAST["test"], round(test * len(several)))}
    many["validation"] = max(LEAST["validation"], round(validation * len(several)))
    if (left := len(several) - sum(many.values())) < LEAST["train"]:
        raise NoseprintError(
            f"--validation {validation} and --test {test} leave {max(left, 0)} of {len(several)} individuals to train, "
            f"{LEAST['train']} are needed: lower them"
        )
    single = sorted(identity for identity, count in photographs.items() if count == 1)
    few = {"test": round(test * len(single)), "validation": round(validation * len(single))}
    split = {}
    for identities, numbers in ((several, many), (single, few)):
        shuffled = [identities[k] for k in rng.permutation(len(identities))]
        ends = (numbers["test"], numbers["test"] + numbers["validation"])
        for position, identity in enumerate(shuffled):
            split[identity] = "test" if position < ends[0] else "validation" if position < ends[1] else "train"
    return split


def make_pairs(shots: Mapping[str, Sequence[Shot]], *, most: int, seed: int) -> list[tuple[str, str, int]]:
    """Pairs (a, b, 1 = same individual) in random order, half of them the same, at most `most`.

    Same pairs are taken from one individual after the other in turn, so that those with many photographs do not crowd
    out the others, and across encounters where an individual has several. Different ones begin with each photograph in
    turn.
    """
    rng = np.random.default_rng((seed, 1))
    turns = itertools.zip_longest(*(_same_pairs(shots[identity], rng) for identity in sorted(shots)))
    same = [pair for turn in turns for pair in turn if pair is not None]
    counts = [len(of_one) for of_one in shots.values()]
    possible = (sum(counts) ** 2 - sum(count**2 for count in counts)) // 2
    number = min(len(same), most // 2, possible)
    everyone = [(shot.name, identity) for identity in sorted(shots) for shot in shots[identity]]
    shuffled = [everyone[k] for k in rng.permutation(len(everyone))]
    identities = sorted(shots)
    different: dict[tuple[str, str], None] = {}
    for name, identity in itertools.cycle(shuffled):
        if len(different) == number:
            break
        other = identities[int(rng.integers(len(identities)))]
        if other != identity:
            second = shots[other][int(rng.integers(len(shots[other])))].name
            different[min(name, second), max(name, second)] = None
    rows = [(*pair, 1) for pair in same[:number]] + [(*pair, 0) for pair in different]
    return [rows[k] for k in rng.permutation(len(rows))]


def choose_queries(shots: Sequence[Shot], rng: np.random.Generator) -> set[str]:
    """A quarter of an individual's photographs, at least one, as queries of a search; of a single one none.

    Whole encounters where it has several, so that a query is not found by a photograph of the same minute.
    """
    groups = _encounters(shots)
    if len(groups) == 1:
        groups = [[shot] for shot in shots]
    queries = set[str]()
    for k in rng.permutation(len(groups))[:-1]:
        if 4 * len(queries) >= len(shots):
            break
        queries.update(shot.name for shot in groups[k])
    return queries


def _same_pairs(shots: Sequence[Shot], rng: np.random.Generator) -> list[tuple[str, str]]:
    chosen = [shots[k] for k in sorted(rng.permutation(len(shots))[:_MOST_PHOTOGRAPHS])]
    groups = _encounters(chosen)
    within = groups if len(groups) == 1 else []
    pairs = [pair for group in within for pair in itertools.combinations(group, 2)]
    pairs += [pair for one, other in itertools.combinations(groups, 2) for pair in itertools.product(one, other)]
    names = [(min(a.name, b.name), max(a.name, b.name)) for a, b in pairs]
    return [names[k] for k in rng.permutation(len(names))]


def _encounters(shots: Sequence[Shot]) -> list[list[Shot]]:
    """The photographs by encounter; one of which it is not known is by itself."""
    groups: dict[object, list[Shot]] = {}
    for shot in shots:
        groups.setdefault(shot.encounter or shot, []).append(shot)
    return list(groups.values())
