import pytest
import torch
from torch.utils.data import DataLoader

from noseprint.data.datasets import PlainImages, TrainingImages, begin_worker
from noseprint.data.tables import read_train
from noseprint.data.transforms import A

TRANSFORM = A.Compose([A.Resize(24, 24), A.RandomBrightnessContrast(p=1.0)])


def test_the_number_of_workers_changes_nothing(demo):
    table = read_train(demo)
    dataset = TrainingImages(table.paths, range(len(table)), transform=TRANSFORM, seed=3)
    plan = [[(step, row) for row in range(4)] for step in range(6)]
    runs = [
        list(DataLoader(dataset, batch_sampler=plan, num_workers=workers, worker_init_fn=begin_worker))
        for workers in (0, 2)
    ]
    for one, other in zip(*runs, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    batch = runs[0][0]
    assert batch.image.shape == (4, 3, 24, 24)
    assert batch.image.dtype == torch.uint8
    assert batch.target.tolist() == batch.row.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("targets", [torch.rand(60, 5), torch.randint(0, 9, (60, 3))], ids=["soft", "levels"])
def test_targets_may_be_soft_or_of_several_levels(demo, targets):
    dataset = TrainingImages(read_train(demo).paths[:60], targets, transform=TRANSFORM, seed=3)
    batch = next(iter(DataLoader(dataset, batch_sampler=[[(0, 7), (0, 2)]])))
    assert torch.equal(batch.target, targets[[7, 2]])


def test_a_row_is_transformed_anew_at_each_step(demo):
    table = read_train(demo)
    dataset = TrainingImages(table.paths, range(len(table)), transform=TRANSFORM, seed=3)
    assert not torch.equal(dataset[0, 5][0], dataset[1, 5][0])
    assert torch.equal(dataset[1, 5][0], dataset[1, 5][0])


def test_plain_images_are_seeded_by_position(demo):
    table = read_train(demo)
    dataset = PlainImages(table.paths, transform=TRANSFORM, seed=0)
    assert torch.equal(dataset[2], dataset[2])
    assert not torch.equal(dataset[2], PlainImages(table.paths, transform=TRANSFORM, seed=1)[2])


def test_a_cache_changes_nothing(demo, tmp_path):
    table = read_train(demo)
    plain, *cached = (
        TrainingImages(table.paths, range(len(table)), transform=TRANSFORM, seed=3, cache=cache)
        for cache in (None, tmp_path / "store", tmp_path / "store")
    )
    for row in range(6):
        assert all(torch.equal(plain[1, row][0], other[1, row][0]) for other in cached)
    assert torch.equal(
        PlainImages(table.paths, transform=TRANSFORM)[7],
        PlainImages(table.paths, transform=TRANSFORM, cache=tmp_path / "store")[7],
    )
    assert sum(path.is_file() for path in (tmp_path / "store").rglob("*")) == 7
