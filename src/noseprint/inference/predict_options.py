"""Options of the script that answers with several classifiers, known without torch."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from noseprint.command_line import check_run_name
from noseprint.data.class_options import EnsembleOptions
from noseprint.errors import NoseprintError

Method = Literal["mean", "greedy", "vote", "fusion"]


@dataclass(frozen=True, kw_only=True)
class PredictOptions(EnsembleOptions):
    """Options of the script that answers with several classifiers."""

    data: Path
    """Data folder, as in training. The probabilities are calibrated on the images that were held out."""
    run: str = ""
    """Name of the run, whose files are in results/RUN; "" is results/ itself."""
    small: bool = False
    """Use the networks of train.sh --small."""
    method: Method = "mean"
    """How several networks give one answer. mean: the mean of their probabilities. greedy: the same, of those networks
    with which it is right most often on the held-out images. vote: the class that most of them answer. fusion: the
    head on the features of all of them, from fusion/train.py."""
    prior: str | None = None
    """What is known about the images: exactly-20-each says that each class has 20. A wrong prior does harm."""
    capacity: int | None = None
    """With --prior: no class gets more images than this, such as the number in the prior, or a quarter more."""
    images: Path | None = None
    """Classify the photographs in this folder instead of the test images."""
    out: Path | None = None
    """Write the answer for --images to this CSV."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_run_name(self.run)
        if self.capacity is not None and self.prior is None:
            raise NoseprintError(
                f"--capacity {self.capacity}: needs --prior, such as --prior exactly-20-each. Leave --capacity out if "
                "the classes are not known to have equally many images: it would do harm"
            )
        each = 1 if self.prior is None else images_of_each_class(self.prior)
        if self.capacity is not None and self.capacity < each:
            raise NoseprintError(f"--capacity {self.capacity}: must not be below the number in --prior {self.prior}")
        if (self.images is None) != (self.out is None):
            raise NoseprintError("--images FOLDER and --out FILE belong together: give both or neither")


def images_of_each_class(prior: str) -> int:
    """The number of images in each class by a prior such as "exactly-20-each". Raises NoseprintError for another."""
    match = re.fullmatch(r"exactly-([1-9]\d{0,8})-each", prior)
    if not match:
        raise NoseprintError(f"--prior {prior!r}: write how many images each class has, such as exactly-20-each")
    return int(match[1])
