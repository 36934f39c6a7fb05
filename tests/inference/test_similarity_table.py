from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noseprint.errors import DataError, NoseprintError
from noseprint.inference.similarity_table import read_similarities, write_similarities
from noseprint.metrics import similarity as module
from noseprint.metrics.similarity import pair_similarities, row_similarities


@dataclass(frozen=True)
class Table:
    image_a: tuple[str, ...]
    image_b: tuple[str, ...]


def unit(rng, n, d):
    x = rng.standard_normal((n, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


NAMES = tuple(f"A*nGE{i}.jpg" for i in range(7))
INDEX = {name: row for row, name in enumerate(reversed(NAMES))}


def test_similarities_equal_a_loop_over_many_blocks(monkeypatch):
    x = unit(np.random.default_rng(0), 7, 33)
    table = Table((NAMES * 3), tuple(np.roll(NAMES * 3, 2)))
    monkeypatch.setattr(module, "BLOCK_VALUES", 33 * 4)
    got = pair_similarities(x, INDEX, table)
    want = [
        float(x[INDEX[a]].astype(np.float64) @ x[INDEX[b]]) for a, b in zip(table.image_a, table.image_b, strict=True)
    ]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("d", [1, 5, 512, 2047])
def test_a_value_depends_neither_on_block_nor_on_side(monkeypatch, d):
    x = unit(np.random.default_rng(1), 20, d)
    a, b = np.random.default_rng(2).integers(0, 20, (2, 50))
    whole = row_similarities(x, a, b)
    np.testing.assert_array_equal(whole, row_similarities(x, b, a))
    monkeypatch.setattr(module, "BLOCK_VALUES", 1)
    np.testing.assert_array_equal(whole, row_similarities(x, a, b))


def test_no_pairs_give_no_similarities():
    assert pair_similarities(np.ones((1, 4), np.float32), {"a": 0}, Table((), ())).shape == (0,)


def test_an_unknown_image_is_named():
    with pytest.raises(NoseprintError, match=r"'ghost\.jpg' \(pair 2; 2 such"):
        pair_similarities(np.ones((1, 4), np.float32), {"a": 0}, Table(("a", "a", "other"), ("a", "ghost.jpg", "a")))


def test_a_diverged_embedding_is_refused():
    x = np.ones((2, 4), np.float32)
    x[1, 2] = np.nan
    with pytest.raises(NoseprintError, match=r"'a' and 'b' \(pair 2\) is nan, as are 1 of 2"):
        pair_similarities(x, {"a": 0, "b": 1}, Table(("a", "a"), ("a", "b")))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
def test_float32_survives_the_file(tmp_path_factory, values):
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


def test_float64_and_probability_survive_the_file(tmp_path):
    path = tmp_path / "s.csv"
    prediction, probability = np.random.default_rng(0).random((2, 50))
    table = Table(tuple(map(str, range(50))), tuple("b" * 50))
    write_similarities(path, table, prediction, probability=probability)
    got = read_similarities(path)
    np.testing.assert_array_equal(got["prediction"], prediction)
    np.testing.assert_array_equal(got["probability"], probability)
    assert path.read_text().startswith("imageA,imageB,prediction,probability\n0,b,")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_number_is_not_written_over_a_good_file(tmp_path, bad):
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
        ("imageA,imageB,prediction\na,b,0.1\na,b\n", "line 3: 2 fields, expected 3"),
        ("imageA,imageB,prediction\na,b,0.1,0.2\n", "line 2: 4 fields"),
        ("imageA,imageB,prediction\na,,0.1\n", "line 2: imageB is empty"),
        ("imageA,imageB,prediction\na,b,high\n", "line 2: prediction 'high' is not a finite"),
        ("imageA,imageB,prediction\n\na,b,nan\n", "line 3: prediction 'nan' is not a finite"),
        ("imageA,imageB,prediction\na,b,-inf\n", "line 2: prediction '-inf'"),
        ("imageA,imageB,prediction,probability\na,b,0.1,1.5\n", "line 2: probability '1.5' is not between"),
        ('imageA,imageB,prediction\n"a,b,0.1\n', "unexpected end"),
    ],
)
def test_a_faulty_file_is_named_with_its_line(tmp_path, text, message):
    path = tmp_path / "s.csv"
    path.write_text(text)
    with pytest.raises(NoseprintError) as error:
        read_similarities(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


def test_a_missing_file_and_other_encodings(tmp_path):
    with pytest.raises(NoseprintError, match=r"none\.csv: the table is missing"):
        read_similarities(tmp_path / "none.csv")
    (tmp_path / "l.csv").write_bytes("imageA,imageB,prediction\nä,b,0.1\n".encode("latin-1"))
    with pytest.raises(NoseprintError, match="UTF-8"):
        read_similarities(tmp_path / "l.csv")
    (tmp_path / "bom.csv").write_text("imageA,imageB,prediction\r\nä,b,0.1\r\n", encoding="utf-8-sig")
    assert list(read_similarities(tmp_path / "bom.csv")["imageA"]) == ["ä"]


def test_every_fault_is_found(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text('imageA,imageB,prediction,probability\na,b,x,2\na,b\na,b,0.5,0.5\n"a"a,b,1,1\na,b,inf,0\n')
    with pytest.raises(DataError) as error:
        read_similarities(path)
    assert [fault.line for fault in error.value.faults] == [2, 2, 3, 5, 6]


def test_names_with_quotes_commas_and_line_ends_survive_the_file(tmp_path):
    names = ('a"b.jpg', "a,b.jpg", "a\nb.jpg", "'a.jpg", "#a.jpg")
    write_similarities(tmp_path / "s.csv", Table(names, names[::-1]), np.arange(len(names)))
    got = read_similarities(tmp_path / "s.csv")
    assert tuple(got["imageA"]) == names
    assert tuple(got["imageB"]) == names[::-1]
