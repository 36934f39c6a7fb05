"""What a student learns from."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from noseprint.data.class_tables import ClassTable
from noseprint.losses.adjusted_cross_entropy import AdjustedCrossEntropy
from noseprint.tasks.distillation import distillation_loss, half_labels, soft_labels, with_unlabelled


def test_half_of_the_label_and_half_of_the_teachers():
    """The loss is 0.5 CE + 0.5 KL but for a constant, so their gradients are the same."""
    rng = np.random.default_rng(0)
    teachers = softmax(rng.normal(size=(5, 3)), axis=1).astype(np.float32)
    labels, classes = ["c", "a", "b", "a", "c"], ("a", "b", "c")
    target = half_labels(teachers, labels, classes)
    np.testing.assert_allclose(target.sum(axis=1), 1, rtol=1e-6)
    differences = []
    for _ in range(3):
        logits = rng.normal(size=(5, 3))
        log_p = log_softmax(logits, axis=1)
        cross_entropy = -np.mean([log_p[row, classes.index(label)] for row, label in enumerate(labels)])
        divergence = np.mean((teachers * (np.log(teachers) - log_p)).sum(axis=1))
        loss = float(AdjustedCrossEntropy(None)(torch.from_numpy(logits).float(), torch.from_numpy(target)))
        differences.append(loss - 0.5 * cross_entropy - 0.5 * divergence)
    np.testing.assert_allclose(differences, differences[0], atol=1e-6)


def test_the_teachers_are_left_as_they_are():
    teachers = np.full((2, 2), 0.5, np.float32)
    half_labels(teachers, ["a", "b"], ["a", "b"])
    assert (teachers == 0.5).all()


def test_unlabelled_images_come_after_the_labelled_ones(tmp_path):
    one, other = (
        ClassTable((tmp_path / name,), (label,), (split,), (name,), ("g",), {"kind": ("k",)})
        for name, label, split in (("1.jpg", "a", "train"), ("2.jpg", "", "unlabelled"))
    )
    both = with_unlabelled(one, other)
    assert (both.names, both.labels, both.splits) == (("1.jpg", "2.jpg"), ("a", ""), ("train", "unlabelled"))
    assert (both.groups, both.levels) == (None, {})


def test_the_teachers_have_their_share_of_the_target():
    teachers, labels = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], np.float32), ["c", "c"]
    mixed = soft_labels(teachers, labels, ("a", "b", "c"), share=0.2)
    np.testing.assert_allclose(mixed, [[0.1, 0.06, 0.84], [0.02, 0.02, 0.96]], rtol=1e-6)
    sure = soft_labels(teachers, labels, ("a", "b", "c"), share=0.2, sure=True)
    np.testing.assert_allclose(sure, [[0.2, 0, 0.8], [0, 0, 1]], rtol=1e-6)


def test_the_distillation_loss_is_a_scaled_divergence():
    rng, temperature = np.random.default_rng(0), 20.0
    student, teacher = rng.normal(size=(2, 4, 3)) * 5
    expected = 0.0
    for said, taught in zip(student, teacher, strict=True):
        p, q = softmax(taught / temperature), softmax(said / temperature)
        expected += temperature**2 * float((p * np.log(p / q)).sum()) / 4
    found = distillation_loss(torch.from_numpy(student), torch.from_numpy(teacher), temperature=temperature)
    assert float(found) == pytest.approx(expected, rel=1e-4)
    assert float(distillation_loss(*[torch.from_numpy(teacher)] * 2, temperature=1.0)) == pytest.approx(0, abs=1e-6)
