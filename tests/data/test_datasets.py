import torch
from torch.utils.data import DataLoader

from noseprint.data.datasets import PlainImages, TrainingImages, begin_worker
from noseprint.data.tables import read_train
from noseprint.data.transforms import A

VIEW = A.Compose([A.Resize(24, 24), A.RandomBrightnessContrast(p=1.0)])


def test_the_number_of_workers_changes_nothing(demo):
    table = read_train(demo)
    dataset = TrainingImages(table.paths, range(len(table)), transform=VIEW, seed=3)
    plan = [[(step, row) for row in range(4)] for step in range(6)]
    runs = [
        list(DataLoader(dataset, batch_sampler=plan, num_workers=workers, worker_init_fn=begin_worker))
        for workers in (0, 2)
    ]
    for (images, labels), (others, other_labels) in zip(*runs, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, other_labels)
    assert runs[0][0][0].shape == (4, 3, 24, 24)
    assert runs[0][0][0].dtype == torch.uint8


def test_a_row_looks_different_at_each_step(demo):
    table = read_train(demo)
    dataset = TrainingImages(table.paths, range(len(table)), transform=VIEW, seed=3)
    assert not torch.equal(dataset[0, 5][0], dataset[1, 5][0])
    assert torch.equal(dataset[1, 5][0], dataset[1, 5][0])


def test_plain_images_are_seeded_by_position(demo):
    table = read_train(demo)
    dataset = PlainImages(table.paths, transform=VIEW, seed=0)
    assert torch.equal(dataset[2], dataset[2])
    assert not torch.equal(dataset[2], PlainImages(table.paths, transform=VIEW, seed=1)[2])


def test_a_cache_changes_nothing(demo, tmp_path):
    table = read_train(demo)
    plain, *cached = (
        TrainingImages(table.paths, range(len(table)), transform=VIEW, seed=3, cache=cache)
        for cache in (None, tmp_path / "store", tmp_path / "store")
    )
    for row in range(6):
        assert all(torch.equal(plain[1, row][0], other[1, row][0]) for other in cached)
    assert torch.equal(
        PlainImages(table.paths, transform=VIEW)[7],
        PlainImages(table.paths, transform=VIEW, cache=tmp_path / "store")[7],
    )
    assert sum(path.is_file() for path in (tmp_path / "store").rglob("*")) == 7
