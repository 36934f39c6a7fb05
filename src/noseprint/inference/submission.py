"""A submission as Kaggle takes it: id,predicted, with the most probable classes of each image."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from noseprint.data.class_folders import some
from noseprint.data.csv_rows import read_header, read_rows, write_csv
from noseprint.errors import DataError, Fault


def submission_rows(names: Sequence[str], *, classes: Sequence[str], sample: Path | None = None) -> dict[str, int]:
    """The id of each row of a submission, in order, and the row of its image among `names`.

    The id is the name of the file without folders and without its ending.

    names: (N,) of the images. classes: (K,). sample: a CSV with a column id: the submission gets exactly these ids, in
    their order.
    Raises DataError with every fault: classes with spaces in their names, two images with one id, an id of the sample
    that is listed twice or has no image, an image that is not in the sample.
    """
    faults, row_of, twice = list[Fault](), dict[str, int](), list[str]()
    here = Path("submission.csv")
    if spaced := [name for name in classes if len(name.split()) != 1]:
        problem = (
            f"{len(spaced)} of {len(classes)} class names have spaces ({some(spaced)}), and spaces separate the answers"
        )
        faults.append(Fault(here, None, f"{problem}: write - instead, and train again"))
    for row, name in enumerate(names):
        if (first := row_of.setdefault(PurePosixPath(name).stem, row)) != row:
            twice.append(f"{names[first]} and {name}")
    if twice:
        problem = f"{len(twice)} of {len(row_of)} ids stand for two images, such as {twice[0]}"
        faults.append(Fault(here, None, f"{problem}: the id is the name without its ending, so rename one of the two"))
    ids = list(row_of) if sample is None else _sample_ids(sample, row_of, faults)
    if faults:
        raise DataError(faults)
    return {one: row_of[one] for one in ids}


def write_submission(
    path: Path, rows: Mapping[str, int], probability: npt.NDArray[np.floating], *, classes: Sequence[str], top: int
) -> None:
    """Write a row id,predicted for each of `submission_rows`: the `top` most probable classes, separated by spaces.

    probability: (N, K). classes: (K,).
    """
    best = np.argsort(-probability, axis=1, kind="stable")[:, :top]
    answers = (" ".join(classes[at] for at in best[row]) for row in rows.values())
    write_csv(path, ("id", "predicted"), zip(rows, answers, strict=True))


def _sample_ids(sample: Path, row_of: Mapping[str, int], faults: list[Fault]) -> list[str]:
    found = dict[str, int]()
    before = len(faults)
    header = read_header(sample, faults=faults)
    if header and "id" not in header:
        faults.append(
            Fault(sample, 1, f"there is no column id, but {some(header)}: give the sample of the competition")
        )
    elif header:
        at = header.index("id")
        for line, fields in read_rows(sample, header, faults=faults, may_be_empty=[n for n in header if n != "id"]):
            if fields[at] in found:
                faults.append(Fault(sample, line, f"the id {fields[at]!r} is already on line {found[fields[at]]}"))
            found.setdefault(fields[at], line)
    if len(faults) > before:
        return []
    if missing := [one for one in found if one not in row_of]:
        problem = f"{len(missing)} of {len(found)} ids have no answer ({some(missing)})"
        faults.append(Fault(sample, None, f"{problem}: add their images to test/, with the id as the name"))
    if unknown := [one for one in row_of if one not in found]:
        problem = f"{len(unknown)} of {len(row_of)} test images are not among its ids ({some(unknown)})"
        faults.append(Fault(sample, None, f"{problem}: remove these images, or give the sample that belongs to them"))
    return list(found)
