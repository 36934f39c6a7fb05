from collections import Counter
from pathlib import Path

import pytest
import torch

from noseprint.data.tables import ImageTable, read_train
from noseprint.data.transforms import A
from noseprint.distributed import World
from noseprint.models.network import SupConNet
from noseprint.tasks import embedding, input_size
from noseprint.tasks.embedding import EmbeddingTask
from noseprint.tasks.embedding_options import EmbeddingOptions
from noseprint.tasks.input_size import best_size, draw_sample

WORLD = World(0, 1, torch.device("cpu"))


@pytest.mark.parametrize(
    ("found", "size"),
    [
        ({160: 0.797, 192: 0.798, 224: 0.796}, 192),  # dogs
        ({160: 0.454, 192: 0.420, 224: 0.403}, 160),  # drawn prints
        ({160: 0.475, 192: 0.500, 224: 0.518, 256: 0.535}, 256),  # things and groceries
        ({160: 0.421, 192: 0.441, 224: 0.435, 256: 0.437}, 192),  # characters
        ({160: 0.5, 192: 0.5}, 192),
        ({192: 0.5, 384: 0.52}, 192),  # twice the side gains less than 6 %
        ({192: 0.5, 384: 0.54}, 384),
    ],
)
def test_a_larger_size_must_gain_enough(found, size):
    assert best_size(found) == size


def table(numbers):
    names = [name for name, number in numbers.items() for _ in range(number)]
    return ImageTable(tuple(Path(f"{row}.jpg") for row in range(len(names))), tuple(names))


def test_the_sample_has_whole_identities_with_a_few_photographs_each():
    numbers = {f"several {i}": 9 for i in range(100)} | {f"single {i}": 1 for i in range(50)}
    sample = draw_sample(table(numbers))
    counts = Counter(sample.identities)
    assert set(counts.values()) == {4}
    assert 296 <= len(sample) <= 300
    assert draw_sample(table(numbers)).paths == sample.paths


def test_photographs_of_one_encounter_are_not_searched_for_each_other():
    """They are near copies, which are found at any size."""
    plain = table({"a": 6, "b": 6, "c": 6})
    encounters = tuple(f"{i}" for i in [1, 1, 1, 2, 2, 3, *[1] * 6, 1, 1, 1, 1, 1, 2])
    sample = draw_sample(ImageTable(plain.paths, plain.identities, encounters))
    assert Counter(sample.identities) == {"a": 3, "c": 2}
    assert len(set(zip(sample.identities, sample.encounters, strict=True))) == 5


def test_without_any_match_the_size_stays_as_it_is(demo):
    rows = read_train(demo)
    first = {identity: path for path, identity in zip(rows.paths, rows.identities, strict=True)}
    made = task(demo, rows=ImageTable(tuple(first.values()), tuple(first)), holdout=0)
    assert made.network.image_size == 160
    assert made.describe().startswith("image size 160\n")


def task(data, *, rows=None, larger=False, small=True, **changes):
    chosen = EmbeddingOptions(
        data=data, epochs=1, batch_size=16, lr=1e-3, device="cpu", workers=0, small=small, **changes
    )
    torch.manual_seed(0)
    network = SupConNet("test_efficientnet.r160_in1k", image_size=chosen.image_size, dim=16, pretrained=False)
    made = EmbeddingTask(
        network,
        options=chosen,
        labelled=rows or read_train(data),
        training_transform=lambda size: A.Resize(size, size),
        evaluation_transform=lambda size: A.Resize(size, size),
        larger=larger,
    )
    made.prepare(WORLD, Path())
    return made


@pytest.fixture
def sizes(monkeypatch):
    """Gives the untrained network its best mAP at 64 px, among 32, 64, 96 and 128."""
    monkeypatch.setattr(input_size, "SIZES", (32, 64, 96, 128))
    monkeypatch.setattr(embedding, "SIZES", (32, 64, 96, 128))
    best = {32: 0.2, 64: 0.9, 96: 0.5, 128: 0.6}

    def scores(embeddings, _, **encounters):
        return type("Scores", (), {"map": best[tried.pop(0)]})

    tried = [32, 64, 96, 128]
    monkeypatch.setattr(input_size, "retrieval_metrics", scores)


def test_the_size_follows_the_photographs_and_training_takes_three_quarters(demo, sizes):
    made = task(demo)
    assert made.network.image_size == 64
    assert made.dataset()[0, 0].image.shape == (3, 64, 64)  # 48 rounds to 64
    assert "image size 64: before training, mAP is 0.200 at 32, 0.900 at 64" in made.describe()


def test_the_larger_member_takes_the_next_size(demo, sizes):
    made = task(demo, larger=True)
    assert made.network.image_size == 96
    assert "takes the next size, 96" in made.describe()


def test_a_given_size_is_left_alone(demo):
    made = task(demo, image_size=96)
    assert made.network.image_size == 96
    assert made.dataset()[0, 0].image.shape == (3, 64, 64)
    assert task(demo, image_size=96, train_size=32).dataset()[0, 0].image.shape == (3, 32, 32)
    assert task(demo, image_size=96, small=False).dataset()[0, 0].image.shape == (3, 96, 96)


def test_a_real_search_chooses_a_size(demo, monkeypatch):
    monkeypatch.setattr(input_size, "SIZES", (32, 64))
    assert task(demo).network.image_size in (32, 64)
