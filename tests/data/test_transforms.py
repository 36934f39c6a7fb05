import numpy as np

from noseprint.data.transforms import A, apply_transform

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


def test_the_result_depends_on_the_seed_only():
    transform = A.Compose([A.RandomCrop(20, 20), A.HorizontalFlip(p=0.5), A.RandomBrightnessContrast(p=0.5)])
    first = [apply_transform(transform, IMAGE, (0, i)) for i in range(20)]
    again = [apply_transform(transform, IMAGE, (0, i)) for i in reversed(range(20))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({a.tobytes() for a in first}) > 15


def test_transforms_of_one_composition_decide_independently():
    """If each had a generator with the same seed, both flips would always come together."""
    transform = A.Compose([A.OneOf([A.Compose([A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)])], p=1.0)])
    outcomes = {"none": IMAGE, "h": IMAGE[:, ::-1], "v": IMAGE[::-1], "both": IMAGE[::-1, ::-1]}
    counts = dict.fromkeys(outcomes, 0)
    for i in range(400):
        result = apply_transform(transform, IMAGE, (3, i))
        counts[next(name for name, image in outcomes.items() if np.array_equal(image, result))] += 1
    assert min(counts.values()) > 60


def test_a_single_transform_is_seeded_too():
    single = A.HorizontalFlip(p=0.5)
    results = [apply_transform(single, IMAGE, (i,)).tobytes() for i in range(40)]
    assert results == [apply_transform(single, IMAGE, (i,)).tobytes() for i in range(40)]
    assert len(set(results)) == 2
