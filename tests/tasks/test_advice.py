from pathlib import Path

import pytest

from noseprint.data.tables import ImageTable, read_train
from noseprint.errors import NoseprintError
from noseprint.tasks import input_size
from noseprint.tasks.advice import advise


def table(individuals, each):
    names = [f"{i}" for i in range(individuals) for _ in range(each)]
    return ImageTable(tuple(Path(f"{row}.jpg") for row in range(len(names))), tuple(names))


def advice(individuals, each, *, search=(160, 0.4)):
    return advise(table(individuals, each), untrained=lambda _: search)


def test_it_says_what_is_learned_from_held_out_and_searched():
    learned, batch, size, *_, verdict = advice(100, 5)
    assert learned == "to learn from: 400 photographs of 80 individuals, 5 to 5 of each (median 5); held out: 100 of 20"
    assert batch == "a batch with --small: 64 photographs, 4 of each individual"
    assert size == "image size with --small: 160 px, where an untrained network has mAP 0.40"
    assert "training probably helps" in verdict


def test_batches_of_individuals_with_few_photographs_hold_more_of_them():
    assert advice(100, 3)[1].endswith("80 individuals have fewer, so a batch holds more individuals")


@pytest.mark.parametrize(
    ("individuals", "each", "search", "doubt"),
    [
        (24, 5, (160, 0.4), "16 individuals to learn from are few"),
        (100, 2, (160, 0.4), "most individuals have one or two photographs"),
        (100, 5, (160, 0.97), "already finds nearly all"),
    ],
)
def test_it_doubts_where_little_can_be_learned(individuals, each, search, doubt):
    assert advice(individuals, each, search=search)[-1].startswith("training may not help")
    assert doubt in advice(individuals, each, search=search)[-1]


def test_without_weights_it_says_nothing_about_the_size():
    assert not [line for line in advice(100, 5, search=None) if "image size" in line]


def test_too_few_individuals_are_refused():
    with pytest.raises(NoseprintError, match="a hold-out needs at least 6"):
        advice(5, 5)


@pytest.fixture
def one_size(monkeypatch):
    monkeypatch.setattr(input_size, "SIZES", (64,))


def test_the_untrained_network_searches_the_photographs(demo, one_size):
    assert any("64 px, where an untrained network has mAP" in line for line in advise(read_train(demo)))


def test_broken_photographs_do_not_keep_it_from_searching(demo, tmp_path, one_size):
    """A training lists them all, or leaves them out with --skip-bad."""
    rows = read_train(demo)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"")
    lines = advise(ImageTable((broken, tmp_path / "missing.jpg", *rows.paths[2:]), rows.identities))
    assert any("untrained network has mAP" in line for line in lines)
