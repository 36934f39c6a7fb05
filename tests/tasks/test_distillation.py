"""What a student learns from."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from noseprint.data.class_tables import ClassTable
from noseprint.data.transforms import A
from noseprint.distributed import World
from noseprint.errors import NoseprintError
from noseprint.losses.adjusted_cross_entropy import AdjustedCrossEntropy
from noseprint.models.classifier import ClassifierNet
from noseprint.models.weights import save_weights
from noseprint.tasks.distillation import (
    OnlineDistillationTask,
    distillation_loss,
    half_labels,
    soft_labels,
    with_unlabelled,
)
from noseprint.tasks.student_options import OnlineStudentOptions


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
    hard = soft_labels(teachers, labels, ("a", "b", "c"), share=0.2, argmax=True)
    np.testing.assert_allclose(hard, [[0.2, 0, 0.8], [0, 0, 1]], rtol=1e-6)


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


CLASSES = ("a", "b", "c")
OPTIONS = OnlineStudentOptions(
    data=Path(), epochs=1, batch_size=6, lr=1e-3, device="cpu", workers=0, holdout=0.0, smoothing=0.0, hidden=5,
    targets="labels", alpha=0.7, temperature=4.0, train_size=32,
)  # fmt: skip


def network(seed, classes=CLASSES, **options):
    torch.manual_seed(seed)
    given = {"image_size": 32, "pretrained": False, "freeze_batch_norm": True, **options}
    return ClassifierNet("test_efficientnet.r160_in1k", heads={"label": classes}, **given)


@pytest.fixture
def images(tmp_path):
    names = tuple(f"{number}.png" for number in range(12))
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        cv2.imwrite(str(tmp_path / name), pixels)
    paths = tuple(tmp_path / name for name in names)
    return ClassTable(paths, CLASSES * 4, ("train",) * 12, names)


def task(images, tmp_path, *, teacher, student):
    save_weights(tmp_path / "teacher.safetensors", teacher, extra={})
    return OnlineDistillationTask(
        student,
        options=OPTIONS,
        teacher=tmp_path / "teacher.safetensors",
        images=images,
        training_transform=lambda size: A.Resize(size, size),
        evaluation_transform=lambda size: A.Resize(size, size),
    )


def test_a_student_beside_its_teacher_learns_from_both(images, tmp_path):
    teacher, student = network(1), network(2, hidden=5)
    made = task(images, tmp_path, teacher=teacher, student=student)
    made.prepare(World(0, 1, torch.device("cpu")), tmp_path)
    data = made.dataset()
    rows = [data[0, row] for row in range(6)]
    batch = rows[0]._replace(
        image=torch.stack([row.image for row in rows]), target=torch.stack([r.target for r in rows])
    )
    found = made.loss(student, batch)
    with torch.no_grad():
        said, taught = student(batch.image), teacher.eval()(batch.image)
    cross_entropy = torch.nn.functional.cross_entropy(said, batch.target)
    expected = 0.3 * cross_entropy + 0.7 * distillation_loss(said, taught, temperature=4.0)
    torch.testing.assert_close(found.detach(), expected)
    found.backward()
    assert student.neck.linear.weight.grad.abs().sum() > 0
    assert made.settings()["teacher's weights"] == made.header()["teacher"]


def test_a_neck_gets_the_statistics_of_the_training_images(images, tmp_path):
    student = network(2, hidden=5)
    made = task(images, tmp_path, teacher=network(1), student=student)
    made.prepare(World(0, 1, torch.device("cpu")), tmp_path)
    data = made.dataset()
    with torch.no_grad():
        student.eval()
        given = student.neck.linear(student.pooled(torch.stack([data[0, row].image for row in range(12)])))
        normalised = student.neck.norm(given)
    torch.testing.assert_close(student.neck.norm.running_mean, given.mean(0))
    torch.testing.assert_close(normalised.mean(0), torch.zeros(5), atol=1e-5, rtol=0)
    assert not student.train().neck.norm.training


def test_a_teacher_of_other_classes_is_refused(images, tmp_path):
    with pytest.raises(NoseprintError, match="other classes than the student"):
        task(images, tmp_path, teacher=network(1, ("a", "b", "d")), student=network(2))
