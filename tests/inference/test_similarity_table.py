from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noseprint.errors import DataError, NoseprintError
from noseprint.inference.similarity_table import read_similarities, write_similarities


@dataclass(frozen=True)
class Table:
    image_a: tuple[str, ...]
    image_b: tuple[str, ...]


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
def test_float32_is_read_as_written(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("csv") / "new" / "similarity.csv"
    table = Table(tuple(f'{i},"x' for i in range(len(values))), tuple("NA" for _ in values))
    written = np.array(values, dtype=np.float32)
    write_similarities(path, table, written)
    got = read_similarities(path)
    assert list(got.columns) == ["imageA", "imageB", "prediction"]
    assert got["prediction"].dtype == np.float64
    np.testing.assert_array_equal(got["prediction"].to_numpy(np.float32), written)
    assert list(got["imageA"]) == list(table.image_a)
    assert list(got["imageB"]) == list(table.image_b)


def test_float64_and_probability_are_read_as_written(tmp_path):
    path = tmp_path / "s.csv"
    prediction, probability = np.random.default_rng(0).random((2, 50))
    table = Table(tuple(map(str, range(50))), tuple("b" * 50))
    write_similarities(path, table, prediction, probability=probability)
    got = read_similarities(path)
    np.testing.assert_array_equal(got["prediction"], prediction)
    np.testing.assert_array_equal(got["probability"], probability)
    assert path.read_text().startswith("imageA,imageB,prediction,probability\n0,b,")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_number_does_not_replace_a_good_file(tmp_path, bad):
    path = tmp_path / "s.csv"
    path.write_text("old")
    with pytest.raises(NoseprintError, match="prediction of pair 2"):
        write_similarities(path, Table(("a", "a"), ("b", "c")), np.array([0.5, bad]))
    assert [p.name for p in tmp_path.iterdir()] == ["s.csv"]
    assert path.read_text() == "old"


def test_a_wrong_length_leaves_nothing_behind(tmp_path):
    with pytest.raises(ValueError, match="zip"):
        write_similarities(tmp_path / "s.csv", Table(("a", "a"), ("b", "c")), np.array([0.5]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the header is ''"),
        ("imageA,imageB\na,b\n", "line 1: the header is 'imageA,imageB'"),
        ("imageA,imageB,prediction\na,b,high\n", "line 2: prediction 'high' is not a finite"),
        ("imageA,imageB,prediction\n\na,b,nan\n", "line 3: prediction 'nan' is not a finite"),
        ("imageA,imageB,prediction\na,b,-inf\n", "line 2: prediction '-inf'"),
        ("imageA,imageB,prediction,probability\na,b,0.1,1.5\n", "line 2: probability '1.5' is not between"),
    ],
)
def test_a_fault_is_reported_with_file_and_line(tmp_path, text, message):
    path = tmp_path / "s.csv"
    path.write_text(text)
    with pytest.raises(NoseprintError) as error:
        read_similarities(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


def test_all_faults_are_reported(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text('imageA,imageB,prediction,probability\na,b,x,2\na,b\na,b,0.5,0.5\n"a"a,b,1,1\na,b,inf,0\n')
    with pytest.raises(DataError) as error:
        read_similarities(path)
    assert [fault.line for fault in error.value.faults] == [2, 2, 3, 5, 6]


def test_names_with_quotes_commas_and_line_ends_are_read_as_written(tmp_path):
    names = ('a"b.jpg', "a,b.jpg", "a\nb.jpg", "'a.jpg", "#a.jpg")
    write_similarities(tmp_path / "s.csv", Table(names, names[::-1]), np.arange(len(names)))
    got = read_similarities(tmp_path / "s.csv")
    assert tuple(got["imageA"]) == names
    assert tuple(got["imageB"]) == names[::-1]
