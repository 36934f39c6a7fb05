"""noseprint import."""

from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import tyro

from noseprint.errors import NoseprintError


@dataclass(frozen=True)
class Import:
    """Make a data folder for train.sh and predict.sh from your own photographs, which are copied and never changed.

    Each individual goes to one of three splits: training, validation (pseudo-labels) or test.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A folder with one folder of photographs for each individual, or a table (.csv, .tsv, .xlsx, COCO .json) of paths
    and identities."""
    target: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TARGET")]
    """The data folder to make."""
    image_column: str | None = None
    """The table's column of image paths. None: guess it by its name."""
    identity_column: str | None = None
    """The table's column of identities. None: guess it by its name."""
    encounter_column: str | None = None
    """The table's column of encounters: the occasions on which photographs were taken. None: guess it, or use none."""
    images: Path | None = None
    """The folder that the table's paths start from. None: the table's own folder."""
    folders: str | None = None
    """What each level of folders in SOURCE is: individual, split/individual (train/rex and test/rex are one individual)
    or group/individual (lion/1 and zebra/1 are two). None: guess it."""
    encounter_folders: bool = False
    """The folders inside an individual's folder are its encounters (days, visits)."""
    boxes: Path | None = None
    """Boxes to which the photographs of SOURCE are cropped: MegaDetector's results or COCO (.json). A table may have
    its own: a column bbox, or x,y,w,h, xmin,ymin,xmax,ymax and the like."""
    confidence: float = 0.2
    """Boxes of --boxes below this confidence do not count."""
    surest_box: bool = False
    """If several boxes count in a photograph of one individual, take the one of highest confidence. Without this
    option, such photographs are reported."""
    box_columns: tuple[str, ...] = ()
    """The table's column of boxes, or its four columns. Empty: guess them by their names."""
    box_format: Literal["xywh", "xyxy", "cxcywh", "yxyx"] | None = None
    """The numbers of a box: xywh (left, top, width, height), xyxy (left, top, right, bottom), cxcywh (centre, width,
    height) or yxyx; in pixels, or in fractions of the photograph. None: what the source says, or what fits."""
    box_image: Literal["upright", "stored"] | None = None
    """The image in which the boxes were drawn: turned upright by its EXIF orientation, or as it is stored. None: what
    the source says, else upright."""
    crop: bool = True
    """Crop photographs to the boxes of SOURCE, if it has any."""
    encounter_gap: str | None = None
    """Read the encounters as time stamps. A new encounter begins after a pause longer than this (30min, 1h, 1d), or
    with each calendar day (day)."""
    encounters: bool = True
    """Use encounters. --no-encounters: also compare photographs that were taken together."""
    unknown: tuple[str, ...] = ()
    """Further words for an unknown individual or encounter, beside an empty field, unknown, unidentified, NA, N/A, nan,
    none, null, ?, - and the like. Photographs of unknown individuals are kept for a gallery, but not trained on."""
    merge_alike: bool = False
    """Make one individual of those whose names a person takes for the same (Rex and rex, 7 and 007). Without this
    option or --keep-alike, such names are refused."""
    keep_alike: bool = False
    """Keep individuals with such names apart."""
    test: float = 0.2
    """Share of the individuals in the test split (at least 2 individuals)."""
    validation: float = 0.1
    """Share of the individuals in the validation split (at least 2), which is used without its labels."""
    pairs: int = 6000
    """Largest number of pairs in a split; half of them show the same individual."""
    seed: int = 0
    """Another seed draws other splits and pairs."""
    link: bool = False
    """Make hard links, not copies: this takes no disk space, but whoever edits one file edits both."""
    skip_bad: bool = False
    """Skip files that are broken or not photographs, and list them in skipped.csv."""

    def __post_init__(self) -> None:
        """Raise NoseprintError for options out of range."""
        for name, share in (("test", self.test), ("validation", self.validation)):
            if not 0 <= share < 1:
                raise NoseprintError(f"--{name} {share}: must be at least 0 and below 1, a share of the individuals")
        if not 0 <= self.confidence <= 1:
            raise NoseprintError(f"--confidence {self.confidence}: must be in 0..1")
        if self.merge_alike and self.keep_alike:
            raise NoseprintError("--merge-alike and --keep-alike contradict each other: give one of them")
        if not self.encounters and (self.encounter_folders or self.encounter_column or self.encounter_gap):
            raise NoseprintError("--no-encounters contradicts the other options for encounters: leave it or them out")
        if self.pairs < 2 or self.seed < 0:
            raise NoseprintError(f"--pairs {self.pairs} --seed {self.seed}: at least 2 pairs, seed at least 0")

    def __call__(self) -> None:
        """Read the source, split the individuals and copy the photographs."""
        from noseprint.importing.boxes import BoxOptions
        from noseprint.importing.data_folder import import_photographs, without_encounters
        from noseprint.importing.sources import read_source
        from noseprint.metrics.bootstrap import MIN_IDENTITIES

        if self.source.is_dir() and self.target.resolve().is_relative_to(self.source.resolve()):
            raise NoseprintError(f"{self.target} lies inside {self.source}: name a folder outside it")
        source = read_source(
            self.source,
            encounter_folders=self.encounter_folders,
            folders=self.folders,
            images=self.images,
            image_column=self.image_column,
            identity_column=self.identity_column,
            encounter_column=self.encounter_column,
            boxes=BoxOptions(
                self.boxes,
                self.confidence,
                self.surest_box,
                self.box_columns,
                self.box_format,
                self.box_image,
                self.crop,
            ),
        )
        source = source if self.encounters else without_encounters(source)
        what = "crops" if any(photograph.box for photograph in source.photographs) else "files"
        print(f"{self.source}: {len(source.photographs)} {what} to check; {source.description}", flush=True)
        done = import_photographs(
            source,
            self.target,
            validation=self.validation,
            test=self.test,
            pairs=self.pairs,
            seed=self.seed,
            link=self.link,
            skip_bad=self.skip_bad,
            unknown=self.unknown,
            merge_alike=self.merge_alike,
            keep_alike=self.keep_alike,
            encounter_gap=self.encounter_gap,
        )
        print(f"{'':12}{'individuals':>12}{'photographs':>12}{'pairs':>7}")
        for split, individuals, photographs, pairs in done.splits:
            print(f"{split:12}{individuals:12}{photographs:12}{pairs or '-':>7}")
        if done.unknown:
            print(f"{'unknown':12}{'-':>12}{done.unknown:12}{'-':>7}")
        for remark in done.remarks:
            print(remark)
        if done.unusable or done.copies:
            listed = self.target / "skipped.csv"
            print(f"Skipped: {done.unusable} unusable files and {done.copies} copies, listed in {listed}")
        if done.splits[0][1] < 3 * MIN_IDENTITIES:  # a third is held out at most
            print(
                f"Note: noseprint verify needs {MIN_IDENTITIES} individuals that are held out of the training, so at "
                f"least {3 * MIN_IDENTITIES} in the training split. A training is possible without it."
            )
        print(f"Next: bash train.sh --check --data {quote(str(self.target))}")
