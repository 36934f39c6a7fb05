import math

import pytest
import torch
from pytorch_metric_learning.losses import ArcFaceLoss, CosFaceLoss, SubCenterArcFaceLoss

from noseprint.errors import NoseprintError
from noseprint.losses.margin import MarginSoftmax
from noseprint.losses.margin_options import Margin

CLASSES, DIM = 7, 16


def batch(rows=40):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, DIM, generator=generator, requires_grad=True), torch.arange(rows) % CLASSES


def loss_and_gradients(loss, rows, labels, weight):
    value = loss(rows, labels)
    return value, *torch.autograd.grad(value, (rows, weight))


@pytest.mark.parametrize(
    ("kind", "centres", "margin", "peer"),
    [
        ("arcface", 1, 0.5, ArcFaceLoss),
        ("arcface", 1, 2.5, ArcFaceLoss),  # many angles beyond pi
        ("cosface", 1, 0.35, CosFaceLoss),
        ("arcface", 3, 0.5, SubCenterArcFaceLoss),
    ],
)
def test_loss_and_gradients_are_those_of_pytorch_metric_learning(kind, centres, margin, peer):
    rows, labels = batch()
    own = MarginSoftmax(CLASSES, DIM, kind=kind, margin=margin, centres=centres)
    given = {"margin": margin if kind == "cosface" else math.degrees(margin), "scale": 30}
    more = {"sub_centers": centres} if centres > 1 else {}
    other = peer(num_classes=CLASSES, embedding_size=DIM, **given, **more)
    other.W.data = own.weight.data.T.clone()
    found = loss_and_gradients(own, rows, labels, own.weight)
    needed = loss_and_gradients(other, rows, labels, other.W)
    for one, two in zip(found, (*needed[:2], needed[2].T), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


def test_each_class_may_have_its_own_margin():
    rows, labels = batch()
    margins = torch.linspace(0.05, 0.5, CLASSES)
    loss = MarginSoftmax(CLASSES, DIM, margin=margins)
    naive = []
    for row, label in zip(rows, labels, strict=True):
        logits = torch.nn.functional.cosine_similarity(row[None], loss.weight)
        logits[label] = torch.cos(torch.acos(logits[label]) + margins[label])
        naive.append(torch.nn.functional.cross_entropy(30 * logits, label))
    torch.testing.assert_close(loss(rows, labels), torch.stack(naive).mean())
    loss.set_margin(0.0)
    assert loss(rows, labels) < torch.stack(naive).mean()
    with pytest.raises(ValueError, match=r"\(3,\) for 7 classes"):
        loss.set_margin(torch.zeros(3))


def test_rows_on_their_centre_have_finite_gradients():
    loss = MarginSoftmax(3, 4)
    rows = (loss.weight.detach() * 5).requires_grad_()
    loss(rows, torch.arange(3)).backward()
    assert torch.isfinite(rows.grad).all()
    assert torch.isfinite(loss.weight.grad).all()


def test_the_margin_is_no_part_of_the_weights():
    assert list(MarginSoftmax(3, 4).state_dict()) == ["weight"]


def test_small_classes_have_the_largest_margins():
    by_size = Margin(by_size=True)
    assert by_size.at(0, counts=[1, 16, 10_000]).tolist() == pytest.approx([0.5, 0.05 + 0.45 * (0.5 - 0.1) / 0.9, 0.05])
    assert by_size.at(0, counts=[5, 5]).tolist() == pytest.approx([0.275, 0.275])


def test_the_margin_grows_by_epoch_up_to_its_maximum():
    margin = Margin(start=0.3, growth=0.1, most=0.45)
    assert [margin.at(epoch, counts=[9, 1]).tolist() for epoch in (0, 1, 2, 9)] == [
        pytest.approx([value] * 2) for value in (0.3, 0.4, 0.45, 0.45)
    ]
    assert Margin(start=1.0).at(5, counts=[1]) == [1.0]  # a fixed margin may be larger than the limit of a growing one


@pytest.mark.parametrize("wrong", [{"start": 1.6}, {"most": -1}, {"growth": -0.1}, {"centres": 0}, {"scale": 0}])
def test_impossible_margins_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(NoseprintError, match=f"--margin.{name}"):
        Margin(**wrong)
