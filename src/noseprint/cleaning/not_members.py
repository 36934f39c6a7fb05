"""Which training images are no member of any class: found from a few examples."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from noseprint.cleaning.decisions import RULE, Decision, governing, read_log
from noseprint.cleaning.find import NOT_MEMBERS, at_most, log_opinion
from noseprint.cleaning.options import CleaningOptions
from noseprint.cleaning.rounds import reduce_features
from noseprint.data.class_tables import ClassTable
from noseprint.data.csv_rows import write_csv
from noseprint.data.holdout import assign_folds
from noseprint.inference.classify import ClassifierOutputs

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

THRESHOLD = 0.9
"""An image is no member of any class if the probability of that is above this."""
MOST_ROUNDS = 50
PENALTY = 3e-2
"""Of the squared weights of the binary classifier, beside the mean loss."""


@dataclass(frozen=True)
class NotMembers:
    """What was found about N training images.

    probability: (N,) that an image is no member, by a classifier that was not trained on it. since: (N,) the round in
    which it was found, 0 if it was not.
    """

    probability: Floats
    since: Labels


def find_not_members(features: Floats, seeds: Floats, *, marked: Flags, certain: Flags, folds: Labels) -> NotMembers:
    """Find the training images that look like the examples; take these as examples, too, until nothing is added.

    A linear classifier tells the examples from all other training images; both have the same total weight.
    Each image is judged by a classifier that was trained on the other folds, and on all examples. Some of the
    other images are no members either, so each is weighted by the probability, from the round before, that it is one.

    features: (N, C) of the training images. seeds: (S, C), of examples from elsewhere. marked: (N,) training images
    that people marked as no member: examples, too. certain: (N,) images that people kept: they are never found.
    folds: (N,). Without an example, nothing is found.
    """
    count = len(features)
    both = reduce_features(np.concatenate([features, seeds]))
    fold = np.concatenate([folds, np.full(len(seeds), -1)])
    is_example = np.concatenate([marked, np.ones(len(seeds), bool)])
    since, probability = np.zeros(count, np.int64), np.zeros(count)
    for number in range(1, MOST_ROUNDS + 1):
        every = [is_example[:count][folds != own].all() for own in np.unique(folds)]
        if any(every) or not is_example.any():  # then there is nothing to compare with
            break
        before = np.concatenate([probability, np.ones(len(seeds))])
        for own in np.unique(folds):
            train = (fold != own) | is_example
            target = is_example[train]
            weight = np.where(target, 1.0, 1 - before[train])
            weight /= np.where(target, weight[target].sum(), weight[~target].sum())
            model = LogisticRegression(C=1 / (4 * PENALTY)).fit(both[train], target, sample_weight=weight)
            probability[folds == own] = model.predict_proba(both[:count][folds == own])[:, 1]
        new = (probability > THRESHOLD) & ~certain & ~is_example[:count]
        since[new] = number
        print(f"round {number}: {int(new.sum())} more images are like the examples", flush=True)
        is_example[:count] |= new
        if not new.any():
            break
    return NotMembers(probability, since)


def take_not_members_out(
    images: ClassTable,
    outputs: ClassifierOutputs,
    examples: ClassifierOutputs,
    *,
    options: CleaningOptions,
    log: Path,
    out: Path,
) -> None:
    """Log which images are no member of any class, and write `out`: image,label,probability,round for each image.

    examples: pictures that are no members, none or more. Images that people marked as no member in the log are
    examples, too. Of each class, at most the share `options.most_of_class` is taken out.
    """
    decided = governing([line for line in read_log(log) if line.who != RULE]).values()
    known = {(line.image, line.label): line.decision for line in decided}
    said = [known.get(pair) for pair in zip(images.names, images.labels, strict=True)]
    marked = np.array([decision == "not a member" for decision in said], bool)
    folds = assign_folds(images.labels, folds=options.folds, groups=images.groups, seed=options.seed)
    seeds = examples.features if len(examples.names) else np.zeros((0, outputs.features.shape[1]), np.float32)
    certain = np.array([decision is not None for decision in said], bool)
    found = find_not_members(outputs.features, seeds, marked=marked, certain=certain, folds=folds)
    none = np.zeros(len(images), bool)
    leaves = at_most(found.since > 0, found.probability, images.labels, most=options.most_of_class, gone=none)

    def decide(row: int, is_out: bool) -> Decision:
        return Decision(
            image=images.names[row],
            sha256="0" * 64,
            label=images.labels[row],
            proposal="not a member",
            proposal_probability=float(found.probability[row]),
            fold=int(folds[row]),
            round=int(found.since[row]),
            rule=NOT_MEMBERS,
            threshold=THRESHOLD,
            network=outputs.network,
            decision="not a member" if is_out else "keep",
        )

    log_opinion(images, leaves, rules=(NOT_MEMBERS,), decide=decide, log=log)
    write_csv(
        out,
        ("image", "label", "probability", "round"),
        (
            (images.names[row], images.labels[row], f"{found.probability[row]:.6f}", str(found.since[row]))
            for row in np.argsort(-found.probability, kind="stable").tolist()
        ),
    )
    number = len(seeds) + int(marked.sum())
    if number == 0:
        print(
            "There is no example of a picture that is no member of any class, so none was looked for. To look for "
            "some, name a folder of such pictures with --not-members, or mark images with n on the review page.",
            flush=True,
        )
    else:
        print(
            f"{int(leaves.sum())}{' more' if marked.any() else ''} of {len(images)} images are no member of any class, "
            f"judged by {number} example{'s' if number > 1 else ''}.",
            flush=True,
        )
