"""Answers for images of which it is known that every class has equally many of them."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.stats import chi2

from noseprint.errors import NoseprintError
from noseprint.metrics.calibration_error import LEAST_PROBABILITY

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]

CANDIDATES = 20
"""The flow considers this many classes for each image."""
MOST_CELLS = 2**24
"""Up to this many pairs of an image and a place in a class, all of them are considered: 128 MiB, and some seconds."""
_UNIT = 10**6  # the flow's costs are integers: this many for a probability of 1
_ROUNDS = 200  # far more than it takes until the sums of the classes are right to 0.1 %


def balanced(probability: Floats) -> Floats:
    """Probabilities (N, K), given that every class has N / K of the images: rows with the sum 1, columns with N / K.

    Rows and columns are scaled in turn (Sinkhorn & Knopp 1967). So the answers to the other images count: where a class
    would have too many images, the least certain of them are given to others.
    """
    p = np.maximum(probability, LEAST_PROBABILITY)
    images, classes = p.shape
    of_row, of_class, wanted = np.ones(images), np.ones(classes), images / classes
    for _ in range(_ROUNDS):
        sums = of_row @ p
        if np.abs(sums * of_class - wanted).max() < 1e-3 * wanted:
            break
        of_class = wanted / sums
        of_row = 1 / (p @ of_class)
    scaled: Floats = of_row[:, None] * p * of_class
    return scaled


def assign_classes(probability: Floats, *, capacity: int) -> Ints:
    """The class of each image (N,), so that as many as possible are probably right, and no class has too many images.

    The sum of their probabilities is the largest that the capacity allows. Small problems are solved exactly. In larger
    ones each image may have one of its CANDIDATES most probable classes, by a flow of minimal cost; images for which
    these have no place left are assigned in the same way to the other classes.

    probability: (N, K). capacity: the most images of one class.
    Raises NoseprintError if there are more images than places, and for a large problem without OR-Tools.
    """
    images, classes = probability.shape
    if images > classes * capacity:
        raise NoseprintError(
            f"--capacity {capacity}: {classes} classes take at most {classes * capacity} images, and there are "
            f"{images}; give at least {-(-images // classes)}"
        )
    places = np.full(classes, min(capacity, images))
    if images * int(places.sum()) > MOST_CELLS:
        return _assign_by_flow(probability, places)
    class_of_place = np.repeat(np.arange(classes), places)
    found: Ints = class_of_place[linear_sum_assignment(probability[:, class_of_place], maximize=True)[1]]
    return found


def _assign_by_flow(probability: Floats, places: Ints) -> Ints:
    found, places = np.full(len(probability), -1), places.copy()
    while len(left := np.flatnonzero(found < 0)):  # each round assigns at least one image, since some class has a place
        found[left] = _flow(np.where(places > 0, probability[left], -1), places)
        places -= np.bincount(found[left][found[left] >= 0], minlength=len(places))
    return found


def _flow(probability: Floats, places: Ints) -> Ints:
    """The class of each image (N,) among its best candidates, -1 where these have no place left.

    probability: (N, K), -1 for classes without a place.
    """
    try:
        from ortools.graph.python.min_cost_flow import SimpleMinCostFlow  # noqa: PLC0415 - an extra
    except ImportError:
        raise NoseprintError(
            f"--capacity needs OR-Tools for {len(probability)} images of {len(places)} classes: "
            "pip install noseprint[assign]"
        ) from None
    images, classes = probability.shape
    wanted = min(CANDIDATES, classes)
    parts = np.array_split(probability, -(-probability.size // 2**24))  # the order of all of 100,000 x 5,000 takes 4 GB
    candidates = np.concatenate([np.argpartition(-part, wanted - 1, axis=1)[:, :wanted] for part in parts])
    rows = np.repeat(np.arange(images), wanted)
    chosen = candidates.ravel()
    open_ = probability[rows, chosen] >= 0
    rows, chosen = rows[open_], chosen[open_]
    costs = np.rint((1 - probability[rows, chosen]) * _UNIT).astype(np.int64)
    flow, sink = SimpleMinCostFlow(), images + classes
    arcs = flow.add_arcs_with_capacity_and_unit_cost(rows, images + chosen, np.ones(len(rows), np.int64), costs)
    every = np.arange(images)
    ones = np.ones(images, np.int64)
    flow.add_arcs_with_capacity_and_unit_cost(every, np.full(images, sink), ones, ones * (_UNIT + 1))
    full = images + np.arange(classes)
    flow.add_arcs_with_capacity_and_unit_cost(full, np.full(classes, sink), places, np.zeros(classes, np.int64))
    flow.set_nodes_supplies(np.append(every, sink), np.append(ones, -images))
    if (status := flow.solve()) != flow.OPTIMAL:
        raise RuntimeError(f"the flow has no solution ({status})")
    taken = flow.flows(arcs) > 0
    found = np.full(images, -1)
    found[rows[taken]] = chosen[taken]
    return found


def prior_doubts(
    probability: Floats, *, each: int, truth: Ints | None = None, holdout: tuple[Floats, Ints] | None = None
) -> list[str]:
    """What contradicts the claim that each class has exactly `each` of the images; nothing if all fits.

    That is another number of images; known classes that come more often, or are all known and come less often; and
    expected numbers that are too far away. By its probabilities p, a class has sum(p) images, with the variance
    sum(p (1 - p)), if they are right. How much further from the truth such sums are than that, because networks
    favour some classes, shows on the hold-out.

    probability: (N, K), calibrated. truth: (N,) classes, -1 where they are not known. holdout: probabilities and
    classes of images that were held out.
    """
    images, classes = probability.shape
    doubts = []
    if images != classes * each:
        doubts.append(f"{classes} classes with {each} images each are {classes * each} images, and there are {images}")
    if truth is not None and len(known := truth[truth >= 0]):
        counts = np.bincount(known, minlength=classes)
        wrong = (counts > each) | ((counts < each) & (len(known) == images))
        if wrong.any():
            doubts.append(f"{int(wrong.sum())} of {classes} classes have another number of images by their labels")
    allowed = 1.0
    if holdout is not None:
        excess = _spread(holdout[0], np.bincount(holdout[1], minlength=classes)) - 1
        allowed += max(excess, 0.0) * images / len(holdout[1])
    found = _spread(probability, np.full(classes, each)) / allowed
    if found > chi2.ppf(0.999, classes) / classes:
        doubts.append(
            f"by their probabilities, the images are spread over the classes in another way ({found:.1f} times the "
            "variance that chance explains)"
        )
    return doubts


def _spread(probability: Floats, counts: Ints) -> float:
    """The mean over the classes of (expected number of images - count)^2 / variance; about 1 if all is as claimed."""
    expected = probability.sum(axis=0)
    variance = (probability * (1 - probability)).sum(axis=0)
    return float(((expected - counts) ** 2 / (variance + 1)).mean())
