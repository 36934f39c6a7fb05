"""What the tests of `noseprint import` share: photographs as users keep them, in folders or named by a table."""

import csv
import shutil

import cv2
import numpy as np
import pytest

from noseprint.data.tables import read_train


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def everything(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def photos(demo, tmp_path):
    """A folder for each of 12 dogs, one of them with a single photograph, named as people name them."""
    folder = tmp_path / "photos"
    for path, identity in zip(read_train(demo).paths, read_train(demo).identities, strict=True):
        own = folder / f"Réx, {identity}" / ("2024" if identity == "3" else "")
        own.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, own / f"{len(list(own.iterdir())) + 1}.JPG")
    (folder / "Réx, 0" / ".DS_Store").write_bytes(b"x")
    single = sorted((folder / "Réx, 11").iterdir())
    for path in single[1:]:
        path.unlink()
    return folder


@pytest.fixture
def table(photos, tmp_path):
    """The same as a table with semicolons, relative paths and a column for encounters."""
    found = sorted(path for path in photos.rglob("*.JPG"))
    lines = [
        f'{k};photos/{path.relative_to(photos).as_posix()};"{path.relative_to(photos).parts[0]}";{k % 2 or ""}'
        for k, path in enumerate(found)
    ]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["no;Path;Individual;encounter", *lines, ""]), encoding="utf-8-sig")
    return path


@pytest.fixture
def frames(tmp_path):
    """12 photographs in PNG, on each of which two of 12 dogs sit side by side, and a table with their boxes."""
    lines = ["path,individual,bbox"]
    for k in range(12):
        frame = np.zeros((30, 60, 3), np.uint8)
        frame[:, :30], frame[:, 30:] = 10 * k + 5, 10 * ((k + 1) % 12) + 5  # each dog has its grey
        frame[0, :, 0] = k
        cv2.imwrite(str(tmp_path / f"{k}.png"), frame)
        lines += [f'{k}.png,dog {k},"[2, 1, 25, 29]"', f'{k}.png,dog {(k + 1) % 12},"[32, 1, 25, 29]"']
    path = tmp_path / "frames.csv"
    path.write_text("\n".join([*lines, ""]))
    return path
