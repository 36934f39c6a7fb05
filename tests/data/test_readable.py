import csv
import shutil

import pytest

from noseprint.data.readable import readable_photographs
from noseprint.data.tables import read_pairs, read_train
from noseprint.errors import NoseprintError


@pytest.fixture
def damaged(demo, tmp_path):
    """A data folder with one missing and one truncated photograph."""
    shutil.copytree(demo, tmp_path / "data")
    table = read_train(tmp_path / "data")
    table.paths[2].unlink()
    table.paths[5].write_bytes(table.paths[5].read_bytes()[:500])
    return tmp_path / "data"


def test_good_photographs_are_all_returned(demo, tmp_path, capsys):
    paths = read_train(demo).paths
    (tmp_path / "skipped.csv").write_text("from an earlier run")
    assert readable_photographs(paths, skip_bad=False, skipped_csv=tmp_path / "skipped.csv") == set(paths)
    assert not (tmp_path / "skipped.csv").exists()
    assert capsys.readouterr().out == ""


def test_bad_photographs_are_rejected_and_nothing_is_written(damaged, tmp_path):
    paths = read_train(damaged, missing_ok=True).paths
    with pytest.raises(
        NoseprintError, match=f"2 of {len(paths)} .*--skip-bad, .*from a table, the rows that name them"
    ) as error:
        readable_photographs(paths, skip_bad=False, skipped_csv=tmp_path / "skipped.csv")
    assert [line.partition(": ")[0].strip() for line in str(error.value).splitlines()[1:]] == [
        str(paths[2]),
        str(paths[5]),
    ]
    assert not (tmp_path / "skipped.csv").exists()


def test_skip_bad_prints_and_lists_what_is_left_out(damaged, tmp_path, capsys):
    paths = read_train(damaged, missing_ok=True).paths
    readable = readable_photographs(paths, skip_bad=True, skipped_csv=tmp_path / "skipped.csv")
    assert readable == set(paths) - {paths[2], paths[5]}
    told = capsys.readouterr()
    assert (
        f"2 of {len(paths)} photographs cannot be read and are left out; {tmp_path / 'skipped.csv'} lists them"
        in told.err
    )
    assert told.out == ""
    with (tmp_path / "skipped.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [str(paths[2]), str(paths[5])]
    assert all(row["problem"] for row in rows)
    readable_photographs(paths, skip_bad=True, skipped_csv=None)  # where no table can be written, all are printed
    assert all(path.name in capsys.readouterr().err for path in (paths[2],))


def test_pairs_among_good_images(demo):
    pairs = read_pairs(demo, "test")
    missing = pairs.folder / pairs.image_b[0]
    remaining = pairs.among({pairs.folder / name for name in pairs.names()} - {missing})
    assert missing.name not in remaining.names()
    assert (
        0 < len(remaining) == sum(missing.name not in pair for pair in zip(pairs.image_a, pairs.image_b, strict=True))
    )
