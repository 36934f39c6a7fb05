"""The classes that a person should look at: those with few images, and those in disorder."""

from pathlib import Path

import numpy as np

from noseprint.cleaning.find import Found
from noseprint.data.class_tables import ClassTable
from noseprint.data.csv_rows import write_csv

HEADER = ("class", "images", "suspect", "accuracy", "mistaken_for", "share_mistaken", "reason")
FEW_IMAGES, DISORDER = "few images", "disorder"
"""The reasons."""


def write_class_list(path: Path, images: ClassTable, found: Found, *, few: int, disorder: float) -> int:
    """Write the classes with fewer images than `few`, or of which less than the share `disorder` is predicted right.

    path: a CSV; the classes in the greatest disorder come first. images: of a class. suspect: the share of its labels
    that are suspect. accuracy: the share of its images for which it is the most probable class out-of-fold.
    mistaken_for, share_mistaken: the class that is most often more probable, and how often. reason: FEW_IMAGES,
    DISORDER, or both with "; " between them. Returns how many classes are written.
    """
    classes = images.classes
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([number[label] for label in images.labels], np.int64)
    predicted = found.probabilities.argmax(axis=1)
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    size = counts.sum(axis=1)
    share = counts / np.maximum(size, 1)[:, None]
    accuracy = np.diag(share)
    others = counts - np.diag(np.diag(counts))
    rows = []
    for at in np.argsort(accuracy, kind="stable").tolist():
        reasons = [FEW_IMAGES] * bool(size[at] < few) + [DISORDER] * bool(accuracy[at] < disorder)
        other = int(others[at].argmax())
        mistaken = (classes[other], f"{share[at, other]:.3f}") if others[at, other] else ("", "")
        suspect = float((found.since[labels == at] > 0).mean())
        if reasons:
            figures = (f"{suspect:.3f}", f"{accuracy[at]:.3f}")
            rows.append((classes[at], str(size[at]), *figures, *mistaken, "; ".join(reasons)))
    write_csv(path, HEADER, rows)
    return len(rows)
