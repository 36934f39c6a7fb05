import random

import numpy as np
import PIL.Image
import pytest
from timm.data.auto_augment import auto_augment_transform, rand_augment_transform

from noseprint.data.policy_augment import PolicyAugment
from noseprint.data.transforms import A, apply_transform

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


@pytest.mark.parametrize("name", ["randaugment", "autoaugment"])
def test_the_change_depends_on_the_seed_of_the_sample_alone(name):
    transform = A.Compose([A.HorizontalFlip(p=0.5), PolicyAugment(name)])
    first = [apply_transform(transform, IMAGE, (0, step, 5)) for step in range(30)]
    assert all(image.shape == IMAGE.shape and image.dtype == np.uint8 for image in first)
    assert len({image.tobytes() for image in first}) > 15
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002
    again = [apply_transform(A.Compose([A.HorizontalFlip(p=0.5), PolicyAugment(name)]), IMAGE, (0, step, 5))
             for step in reversed(range(30))]  # fmt: skip
    assert all(np.array_equal(a, b) for a, b in zip(first, reversed(again), strict=True))


@pytest.mark.parametrize("name", ["randaugment", "autoaugment"])
def test_generators_of_the_process_stay_as_they_are(name):
    before, numpy_before = random.getstate(), np.random.get_state()  # noqa: NPY002
    apply_transform(A.Compose([PolicyAugment(name)]), IMAGE, (0,))
    assert random.getstate() == before
    assert np.array_equal(np.random.get_state()[1], numpy_before[1])  # noqa: NPY002


@pytest.mark.parametrize(
    ("name", "make", "policy"),
    [
        ("randaugment", rand_augment_transform, "rand-m9-n2-mstd0.5-inc1"),
        ("autoaugment", auto_augment_transform, "original"),
    ],
)
def test_it_is_what_timm_computes(name, make, policy):
    change = make(policy, {"img_mean": (128, 128, 128)})
    own = PolicyAugment(name)
    for seed in range(20):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        assert np.array_equal(own.apply(IMAGE, seed=seed), np.array(change(PIL.Image.fromarray(IMAGE))))
