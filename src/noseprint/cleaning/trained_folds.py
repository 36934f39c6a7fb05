"""Labels judged by trained networks: each fold of the images by a network that was trained on the other folds."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from noseprint.cleaning.fold_options import FoldOptions
from noseprint.cleaning.suspicion import SUSPECT_ABOVE, noise_channel
from noseprint.data.class_tables import ClassTable
from noseprint.data.holdout import assign_folds
from noseprint.inference.ensemble import fit_temperature, with_temperature
from noseprint.inference.out_of_fold import read_folds

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class TrainedFolds:
    """What the networks of k folds say about N images that they have not seen.

    probabilities: (N, K) of each round, the first one first. networks: (N,) the fingerprint of the network that judges
    each image in the last round.
    """

    probabilities: tuple[Floats, ...]
    networks: tuple[str, ...]


def images_of_fold(images: ClassTable, options: FoldOptions, *, results: Path) -> tuple[ClassTable, ClassTable]:
    """The images to train on for a fold, and the images of the fold.

    results: the folder of all folds and rounds. After the first round, what the noise channel finds suspect by the
    rounds before is left out of the training.
    Raises NoseprintError as `assign_folds` and `read_trained_folds` do.
    """
    own = assign_folds(images.labels, folds=options.folds, groups=images.groups) == options.fold
    trained = ~own
    if options.round > 1:
        before = read_trained_folds(images, results=results, folds=options.folds, rounds=options.round - 1)
        number = {name: index for index, name in enumerate(images.classes)}
        labels = np.array([number[label] for label in images.labels], np.int64)
        trained &= noise_channel(before.probabilities[-1], labels).suspicion(labels) < SUSPECT_ABOVE
    return images.where(trained.tolist()), images.where(own.tolist())


def read_trained_folds(images: ClassTable, *, results: Path, folds: int, rounds: int = 1) -> TrainedFolds:
    """The probabilities of each of `images` by the network that did not see it, in every round; classes in their order.

    After a short training with label smoothing, probabilities are lower than the share of labels that they predict, and
    the noise channel would suspect nothing. So one temperature for each round makes them fit. It never lowers them,
    because wrong labels make networks seem too sure.

    results: the folder of all folds and rounds. Raises NoseprintError, which says what to run, if a fold is missing,
    was trained for other images, labels, groups or classes, or if the folds are not the parts of all images.
    """
    found = list[Floats]()
    number = {name: index for index, name in enumerate(images.classes)}
    labels = np.array([number[label] for label in images.labels], np.int64)
    for turn in range(1, rounds + 1):
        said = read_folds(
            images,
            results=results,
            parts=[f"round{turn}-fold{fold}" for fold in range(folds)],
            again="Run clean.sh with the same options and --only folds --force",
        )
        given = softmax(said.logits.astype(np.float64), axis=1)
        found.append(with_temperature(given, min(1.0, fit_temperature(given, labels))))
    return TrainedFolds(tuple(found), said.networks)
