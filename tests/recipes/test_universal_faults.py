"""What recipes/universal_embedding says of data and results that it cannot work with, and what is left behind."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from noseprint.inference import embedding_results
from noseprint.inference.gallery import read_gallery

from .universal_family import CHAIN, copy_recipe, prepared, refused, run, small, start

PREPARE, FROZEN, HEAD, _, _, REDUCE, REPORT, PREDICT = CHAIN
Rows = list[list[str]]


@pytest.fixture
def bare(tmp_path) -> Path:
    """The family before its first run."""
    return copy_recipe(tmp_path)


def change_table(root: Path, change: Callable[[Rows], Rows], *, form: str = "utf-8", ends: str = "\n") -> None:
    table = root / "data" / "images.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    table.write_bytes((ends.join(",".join(row) for row in change(rows)) + ends).encode(form))


def test_tables_of_other_programs_are_read(bare):
    change_table(bare, lambda rows: rows, form="utf-8-sig", ends="\r\n")
    run(bare, PREPARE)
    expected = prepared(bare)
    change_table(bare, lambda rows: [[name if at == 0 else f"{bare}/data/{name}", *rest]
                                     for at, (name, *rest) in enumerate(rows)], form="utf-8")  # fmt: skip
    text = (bare / "data" / "images.csv").read_text().replace("\ufeff", "").replace(f"{bare}/data/image,", "image,")
    (bare / "data" / "images.csv").write_text(text)
    run(bare, PREPARE)
    assert prepared(bare) == expected
    change_table(bare, lambda rows: [row[:2] for row in rows])
    assert run(bare, PREPARE).startswith("all: train 10 identities, 40 images; val 2 identities, 8 images; test 0 id")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [[";".join(row)] for row in rows], "separated by semicolons: save the table with commas"),
        (lambda rows: [row for row in rows if row[3] != "train"], "no images are left to train on"),
        (lambda rows: [row for row in rows if row[4] != "index"], "part test: no query has another image of its"),
        (lambda rows: [[*row[:4], row[4] or "index"] for row in rows], "part val: no query has another image"),
        (lambda rows: [row for row in rows if row[1] in ("identity", "00", "01", "02")], "no identity can be held out"),
        (lambda rows: rows[:1], "no image has an identity"),
    ],
)
def test_data_that_nothing_can_choose_by_are_refused_first(bare, change, message):
    change_table(bare, change)
    assert message in refused(bare, PREPARE)
    assert not (small(bare, "prepare") / "instances.csv").exists()


def test_images_that_are_left_out_are_counted(bare):
    change_table(bare, lambda rows: [row for row in rows if row[0] not in ("00_2.png", "00_3.png")])
    assert "2 training images are left out by --least 3 and --most 100" in run(bare, PREPARE)
    assert "00" not in prepared(bare).identities


def test_odd_photographs_are_embedded_and_broken_ones_named(bare):
    data = bare / "data"
    image = cv2.imread(str(data / "00_0.png"))
    cv2.imwrite(str(data / "00_1.png"), image.astype(np.uint16) * 257)
    cv2.imwrite(str(data / "01_0.png"), image[..., 0])
    cv2.imwrite(str(data / "01_1.png"), np.dstack([image[..., 0]] * 3))
    (data / "00_3.png").write_bytes(b"no image")
    assert "00_3.png: is not a JPEG, PNG" in refused(bare, PREPARE)
    run(bare, *(f"{line} --skip-bad" for line in (PREPARE, FROZEN, HEAD)))
    assert "00_3.png" in (small(bare, "prepare") / "skipped.csv").read_text()
    gallery = read_gallery(small(bare, "frozen") / "tiny" / "features.safetensors")
    assert len(gallery.names) == 47
    for one, other in (("00_0.png", "00_1.png"), ("01_1.png", "01_0.png")):  # 16 bits; grey
        np.testing.assert_allclose(*gallery.rows_of((one, other)), atol=1e-3)


def test_a_stage_before_its_turn_says_what_to_run(bare):
    for line in (FROZEN, HEAD, REDUCE, REPORT, PREDICT):
        assert "instances.csv is missing: run train.sh, or prepare/prepare.py, with the same" in refused(bare, line)
    run(bare, PREPARE)
    assert "features.safetensors is missing: run frozen/embed.py --part tiny first" in refused(bare, HEAD)


def test_dimensions_that_cannot_be_had_are_refused(family):
    few = "dimensions need as many features and"
    for dim, message in ((1, "--dim 1: must be in 2.."), (24, f"24 {few} 25"), (300, f"300 {few} 301")):
        assert message in refused(family, HEAD.replace("--dim 8", f"--dim {dim}"))
    run(family, HEAD.replace("--dim 8", "--dim 23"))  # more than four fifths of the 24 photographs minus one
    assert "--part '..': give a plain name" in refused(family, FROZEN.replace("tiny", "..", 1))


def test_two_dimensions_can_be_had(family):
    run(family, f"{HEAD} --dim 2", f"{REDUCE.replace('phases,large', 'none')} --dim 2")
    assert read_gallery(small(family) / "embeddings.safetensors").matrix.shape == (48, 2)


def test_photographs_that_changed_are_seen(family):
    data = family / "data"
    (data / "02_0.png").write_bytes((data / "05_0.png").read_bytes())
    for line in (HEAD, REDUCE):
        assert "1 photographs have changed since their features were kept in" in refused(family, line)
    run(family, FROZEN, HEAD, REDUCE)
    rows = read_gallery(small(family) / "embeddings.safetensors").rows_of(("02_0.png", "05_0.png"))
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-5)


def test_a_run_that_dies_while_it_writes_its_choice_ends_with_the_same_bytes(family, monkeypatch):
    files = ("best.safetensors", "embeddings.safetensors", "scores.csv", "choice.json")
    choose = REDUCE.replace("phases,large", "none")
    run(family, choose)
    before = {name: (small(family) / name).read_bytes() for name in files}

    def die(*_, **__):
        raise SystemExit(3)

    for name in ("save_weights", "write_gallery"):
        with monkeypatch.context() as patch:
            patch.setattr(embedding_results, name, die)
            assert start(family, choose)[0] == 3
    run(family, choose)
    assert {name: (small(family) / name).read_bytes() for name in files} == before


def test_damaged_results_are_refused_or_made_again(family):
    kept = small(family, "frozen") / "tiny"
    whole = (kept / "features.safetensors").read_bytes()
    (kept / "features.safetensors").write_bytes(whole[:5000])
    assert "features.safetensors" in refused(family, REDUCE)
    run(family, FROZEN)
    assert read_gallery(kept / "features.safetensors").names == prepared(family).names
    (kept / "backbone.safetensors").write_bytes(b"damaged")
    assert "these features are not of" in refused(family, HEAD)
    (small(family) / "best.safetensors").write_bytes(b"damaged")
    assert "best.safetensors: not a safetensors file" in refused(family, PREDICT)


def test_a_table_without_a_test_is_told_what_to_predict(bare):
    change_table(bare, lambda rows: [row for row in rows if row[3] != "test"])
    run(bare, PREPARE)
    assert "the table has no part test: name photographs with --images FOLDER" in refused(bare, PREDICT)


def test_a_mixture_can_be_taken_when_a_larger_backbone_is_best(family):
    printed = run(family, f"{REDUCE} --take mixture")
    assert "Taken: mixture of " in printed
