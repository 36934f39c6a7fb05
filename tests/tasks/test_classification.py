"""Training a classifier."""

import json

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from noseprint.data.datasets import Sample
from noseprint.data.holdout import holdout_rows
from noseprint.data.samplers import EqualClassBatches, ShuffledBatches, SubsetFirstBatches
from noseprint.distributed import World
from noseprint.errors import NoseprintError
from noseprint.losses.adjusted_cross_entropy import AdjustedCrossEntropy
from noseprint.losses.focal import FocalLoss
from noseprint.losses.weighted_cross_entropy import WeightedCrossEntropy
from noseprint.metrics.classification import log_losses
from noseprint.models.classifier import ClassifierNet
from noseprint.models.weights import load_classifier, read_header
from noseprint.models.weights_header import describe_weights

from ..processes import run_script
from . import tiny_classifier
from .tiny_classifier import Images, network, options, read, task, train

WORLD = World(0, 1, torch.device("cpu"))
CLASSES = {"bright": 24, "dark": 12, "grey": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes of unequal size that differ in brightness."""
    folder, rng = tmp_path_factory.mktemp("classes"), np.random.default_rng(0)
    for (name, number), low in zip(CLASSES.items(), (160, 0, 90), strict=True):
        (folder / name).mkdir()
        for k in range(number):
            cv2.imwrite(str(folder / name / f"{k}.jpg"), rng.integers(low, low + 90, (40, 40, 3), np.uint8))
    return folder


@pytest.fixture(scope="module")
def images(folder):
    return read(folder)


def records(results):
    return [json.loads(line) for line in (results / "metrics.jsonl").read_text().splitlines()]


def prepared(images, chosen, tmp_path, **more):
    made = task(images, chosen, **more)
    made.prepare(WORLD, tmp_path)
    return made


def batch_of(made, step=0):
    data = made.dataset()
    samples = [data[index] for index in made.batches(steps=step + 1, first_step=step).batch(step)]
    return Sample(*(torch.stack([torch.as_tensor(part) for part in parts]) for parts in zip(*samples, strict=True)))


def test_classes_are_learned_and_the_header_says_how(images, tmp_path, capsys):
    made = train(tmp_path, images, options(epochs=6, lr=2e-2, ema_epochs=0.3, warmup=0.0))
    found = records(tmp_path)
    assert max(record["accuracy"] for record in found) >= 0.8
    assert found[-1]["loss"] < found[1]["loss"]
    assert "hold-out accuracy" in capsys.readouterr().out
    header = read_header(tmp_path / "best.safetensors")
    assert header.heads == {"label": tuple(CLASSES)}
    held_out = holdout_rows(images.labels, share=0.25)
    counts = [sum(label == name and not out for label, out in zip(images.labels, held_out, strict=True))
              for name in CLASSES]  # fmt: skip
    assert json.loads(header.extra["training_counts"]) == counts
    assert sum(counts) + held_out.sum() == len(images.paths)
    assert json.loads(header.extra["training"]) == {
        "holdout": 0.25, "loss": "cross-entropy", "augment": "own", "smoothing": 0.1, "balance": "none",
        "mixing": "none", "sgd_share": 0.0, "frozen": False,
    }  # fmt: skip
    assert header.holdout_scores.keys() == {"accuracy", "mean_per_class", "log_loss"}
    assert len(header.extra["held_out_photographs"]) == 8 * held_out.sum()
    assert describe_weights(tmp_path / "best.safetensors")["loss"] == "cross-entropy"
    assert len(made.train) == sum(counts)


def test_scores_equal_those_of_a_loop_over_the_held_out_images(images, tmp_path):
    made = prepared(images, options(), tmp_path)
    net = made.network.eval()
    scores = made.score(net)
    right, losses = [], []
    for path, label in zip(made.holdout.paths, made.holdout.identities, strict=True):
        pixels = cv2.resize(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), (32, 32))
        with torch.inference_mode():
            logits = net(torch.from_numpy(pixels).permute(2, 0, 1)[None])
        right.append(float(list(CLASSES)[logits.argmax()] == label))
        losses.append(log_losses(logits.softmax(1).numpy(), [label], list(CLASSES))[0])
    assert scores.by == "accuracy"
    assert scores.per_item.tolist() == right
    per_class = [np.mean([r for r, own in zip(right, made.holdout.identities, strict=True) if own == name])
                 for name in set(made.holdout.identities)]  # fmt: skip
    expected = {"accuracy": np.mean(right), "mean_per_class": np.mean(per_class), "log_loss": np.mean(losses)}
    assert scores.values == pytest.approx(expected, rel=1e-4)
    assert len(set(scores.groups)) == len(right)


def test_the_loss_equals_that_of_torch_in_every_balance(images, tmp_path):
    for balance in ("none", "oversample", "logit-adjustment"):
        made = prepared(images, options(balance=balance, holdout=0), tmp_path)
        made.network.eval()
        batch = batch_of(made)
        logits = made.network(batch.image)
        if balance == "logit-adjustment":
            logits = logits + torch.tensor([24, 12, 4]).div(40).log()
        expected = F.cross_entropy(logits, batch.target, label_smoothing=0.1)
        torch.testing.assert_close(made.loss(made.network, batch), expected)


def test_oversampling_shows_every_class_at_least_a_third_as_often_as_the_largest(images, tmp_path):
    made = prepared(images, options(balance="oversample", holdout=0, batch_size=44), tmp_path)
    assert made.epoch_steps == 1
    rows = [row for _, row in made.batches(steps=1, first_step=0).batch(0)]
    assert np.bincount([made._class_of[row] for row in rows]).tolist() == [24, 12, 8]
    assert prepared(images, options(holdout=0), tmp_path).epoch_steps == 5


@pytest.mark.parametrize("mixing", ["cutmix", "mixup"])
def test_mixed_images_are_what_their_targets_say(images, tmp_path, mixing):
    """Black, grey and white images: the brightness of a mixed one tells its shares."""
    made = prepared(images, options(mixing=mixing, mixing_probability=1.0), tmp_path)
    level = torch.tensor([0, 100, 200])
    numbers = torch.tensor([0, 2, 1, 2, 0])
    plain = level[numbers].byte().view(-1, 1, 1, 1).expand(-1, 3, 32, 32)
    mixed_once = False
    for seed in range(5):
        torch.manual_seed(seed)
        mixed, target = made._mix(plain, numbers)
        assert mixed.dtype == torch.uint8
        torch.testing.assert_close(target.sum(1), torch.ones(5))
        torch.testing.assert_close(mixed.float().mean((1, 2, 3)), target @ level.float(), atol=0.51, rtol=0)
        mixed_once |= bool((target.max(1).values < 0.9).any())
        torch.manual_seed(seed)
        assert torch.equal(made._mix(plain, numbers)[0], mixed)
        torch.manual_seed(seed)
        soft = made._mix(plain, F.one_hot(numbers, 3).float())[1]
        assert torch.equal(soft, target)
    assert mixed_once


def test_the_probability_says_how_many_batches_are_mixed(images, tmp_path):
    made = prepared(images, options(mixing="cutmix", mixing_probability=0.25), tmp_path)
    plain = torch.arange(4).byte().view(-1, 1, 1, 1).expand(-1, 3, 32, 32)
    torch.manual_seed(0)
    mixed = [made._mix(plain, torch.tensor([0, 1, 2, 0])) for _ in range(400)]
    assert all(target.shape == (4, 3) for _, target in mixed)  # as another rank, whose batch is mixed, has it
    share = np.mean([not torch.equal(image, plain) for image, _ in mixed])
    assert 0.17 < share < 0.3


@pytest.mark.parametrize(
    "changes",
    [
        {"balance": "oversample", "mixing": "cutmix"},
        {"balance": "logit-adjustment", "mixing": "mixup"},
        {"balance": "oversample", "small": True},
        {"balance": "logit-adjustment", "frozen": True},
        {"optimizer": "radam", "sgd_share": 0.6},
    ],
)
def test_a_training_resumes_to_the_same_bits(images, tmp_path, changes, monkeypatch):
    monkeypatch.setattr("noseprint.training.step.SMALL_MOST_BYTES", 4e6)  # so that --small takes chunks
    chosen = options(save_every=2, **changes)
    train(tmp_path / "whole", images, chosen)
    with pytest.raises(SystemExit):
        train(tmp_path / "cut", images, chosen, stop_at=5)
    train(tmp_path / "cut", images, chosen)
    whole, cut = ((tmp_path / name / "best.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut


def test_the_number_of_workers_changes_nothing(images, tmp_path):
    for workers in (0, 2):
        train(tmp_path / str(workers), images, options(mixing="cutmix", epochs=1, workers=workers))
    assert len({(tmp_path / name / "best.safetensors").read_bytes() for name in "02"}) == 1


@pytest.mark.parametrize("balance", ["oversample", "logit-adjustment"])
def test_two_processes_train_the_classifier_that_one_would(folder, tmp_path, balance):
    changes = {"balance": balance, "epochs": 1, "optimizer": "sgd", "dropout": 0.0}
    arguments = [f"{name}={value!r}" for name, value in changes.items()]
    run_script(tiny_classifier.__file__, folder, tmp_path / "two", *arguments, log=tmp_path, ranks=2)
    train(tmp_path / "one", read(folder), options(**changes))
    one, two = (records(tmp_path / name) for name in ("one", "two"))
    assert one[-1]["loss"] == pytest.approx(two[-1]["loss"], rel=1e-5)
    assert [record["accuracy"] for record in one] == [record["accuracy"] for record in two]
    one, two = (load_file(tmp_path / name / "best.safetensors") for name in ("one", "two"))
    for key in one:
        np.testing.assert_allclose(one[key], two[key], rtol=1e-3, atol=1e-5, err_msg=key)


def test_two_processes_can_mix(folder, tmp_path):
    """Also in a step in which one of them does not."""
    run_script(tiny_classifier.__file__, folder, tmp_path, "epochs=2", "mixing='cutmix'", log=tmp_path, ranks=2)
    assert np.isfinite(records(tmp_path)[-1]["loss"])


def test_an_open_ended_training_of_a_small_machine_ends(images, tmp_path, capsys):
    made = train(tmp_path, images, options(epochs=None, small=True, minutes=0.02))
    assert "ended after" in capsys.readouterr().out
    assert made.seen[0][1].shape[-1] == 32  # not below
    big = task(images, options(small=True), net=network(list(CLASSES), image_size=128))
    assert big._train_size == 96


def test_a_frozen_backbone_stays_as_it_is(images, tmp_path):
    before = network(list(CLASSES)).state_dict()
    train(tmp_path, images, options(frozen=True, epochs=1, ema_epochs=0.1))
    after = load_file(tmp_path / "best.safetensors")
    changed = {key.partition(".")[0] for key in after if not torch.equal(before[key], after[key])}
    assert changed == {"heads"}


def test_sgd_takes_over_for_its_share_of_the_steps(images, tmp_path):
    constant = {"warmup": 0.0, "schedule": "multi-step", "milestones": ()}
    train(tmp_path, images, options(optimizer="radam", sgd_share=0.5, sgd_lr=0.5, **constant))
    assert [record["lr"] for record in records(tmp_path)[1:]] == [pytest.approx(3e-3), 0.5]
    with pytest.raises(NoseprintError, match="need a given length: pass --epochs or --steps"):
        train(tmp_path / "open", images, options(epochs=None, sgd_share=0.5))


@pytest.mark.parametrize(
    ("changes", "batches", "loss"),
    [
        ({"balance": "weighted"}, EqualClassBatches, AdjustedCrossEntropy),
        ({"balance": "subset-first"}, SubsetFirstBatches, AdjustedCrossEntropy),
        ({"loss": "focal"}, ShuffledBatches, FocalLoss),
        ({"loss": "weighted", "mixing": "cutmix"}, ShuffledBatches, WeightedCrossEntropy),
        ({"augment": "randaugment"}, ShuffledBatches, AdjustedCrossEntropy),
    ],
)
def test_ways_to_balance_and_to_augment_resume_with_the_same_bytes(images, tmp_path, changes, batches, loss):
    chosen = options(epochs=2, **changes)
    whole = train(tmp_path / "whole", images, chosen)
    assert type(whole.batches(steps=8, first_step=0)) is batches
    assert type(whole.criterion) is loss
    with pytest.raises(SystemExit):
        train(tmp_path / "cut", images, chosen, stop_at=3)
    train(tmp_path / "cut", images, chosen)
    one, two = (tmp_path / name / "best.safetensors" for name in ("whole", "cut"))
    assert one.read_bytes() == two.read_bytes()
    said = json.loads(read_header(one).extra["training"])
    assert said.items() >= changes.items()


def test_a_policy_changes_the_images_after_the_recipe_has(images, tmp_path):
    plain, augmented = (batch_of(prepared(images, options(augment=name), tmp_path)) for name in ("own", "autoaugment"))
    assert torch.equal(plain.row, augmented.row)
    assert plain.image.shape == augmented.image.shape
    assert not torch.equal(plain.image, augmented.image)


def test_soft_targets_are_learned_and_counted(images, tmp_path):
    labels = np.array([list(CLASSES).index(label) for label in images.labels])
    soft = (0.7 * np.eye(3)[labels] + 0.3 / 3).astype(np.float32)
    unlabelled = Images(images.paths, ("",) * len(images.paths))
    holdout = images.where(k % 4 == 0 for k in range(len(images.paths)))
    made = prepared(unlabelled, options(balance="oversample"), tmp_path, classes=list(CLASSES), targets=soft,
                    holdout=holdout)  # fmt: skip
    assert made.counts.tolist() == pytest.approx([0.7 * n + 4 for n in CLASSES.values()])
    batch = batch_of(made)
    made.network.eval()
    torch.testing.assert_close(batch.target, torch.from_numpy(soft)[batch.row])
    logs = made.network(batch.image).log_softmax(1)
    expected = -((0.9 * batch.target + 0.1 / 3) * logs).sum(1).mean()
    torch.testing.assert_close(made.loss(made.network, batch), expected)
    hard, again = (
        prepared(unlabelled, options(), tmp_path, classes=list(CLASSES), targets=rows, holdout=holdout)
        for rows in (np.eye(3, dtype=np.float32)[labels], soft)
    )
    assert hard.settings()["training table"] != made.settings()["training table"] == again.settings()["training table"]
    with pytest.raises(ValueError, match="hold-out of their own"):
        task(unlabelled, options(), classes=list(CLASSES), targets=soft)
    with pytest.raises(ValueError, match=r"\(40, 3\) for 40 images of 2"):
        task(images, options(), classes=["bright", "dark"], targets=soft, holdout=holdout)


def test_a_class_without_training_images_is_named_and_hardly_ever_answered(images, tmp_path, capsys):
    train(tmp_path, images, options(balance="logit-adjustment", epochs=1), classes=[*CLASSES, "never seen"])
    printed = capsys.readouterr().out
    caution = "caution: no training images of 1 class, so the network hardly ever answers with them: 'never seen'"
    assert caution in printed
    assert "of 3 classes to learn from" in printed
    header = read_header(tmp_path / "best.safetensors")
    assert json.loads(header.extra["training_counts"])[-1] == 0
    assert all(np.isfinite(record["log_loss"]) for record in records(tmp_path))


def test_a_held_out_image_of_an_unknown_class_counts_as_wrong(images, tmp_path, capsys):
    known = images.where(label != "grey" for label in images.labels)
    made = prepared(known, options(), tmp_path, holdout=images)
    scores = made.score(made.network)
    grey = np.array(images.labels) == "grey"
    assert scores.per_item.shape == (40,)
    assert not scores.per_item[grey].any()
    assert np.isfinite(scores.values["log_loss"])
    assert "caution: 4 held-out images have a class that the network does not know, so they count as wrong answers: "\
           "'grey' (4)" in made.describe()  # fmt: skip
    with pytest.raises(NoseprintError, match=r"none of the 4 held-out images .*'grey': give both the same class names"):
        prepared(known, options(), tmp_path, holdout=images.where(grey))


def test_a_given_hold_out_is_used_and_an_empty_one_split_off(images, tmp_path):
    given = images.where(k % 5 == 0 for k in range(40))
    made = prepared(images, options(), tmp_path, holdout=given)
    assert (made.holdout.paths, len(made.train)) == (given.paths, 40)
    assert len(prepared(images, options(), tmp_path, holdout=Images((), ())).holdout) == 10
    nothing = prepared(images, options(holdout=0), tmp_path)
    assert nothing.score(nothing.network) is None
    assert "none held out" in nothing.describe()


def test_groups_stay_on_one_side_and_images_without_one_are_independent(images, tmp_path):
    groups = tuple(f"sender {k % 9}" if k % 8 else "" for k in range(40))
    made = prepared(Images(images.paths, images.labels, groups), options(), tmp_path)
    of = dict(zip(images.paths, groups, strict=True))
    sides = [{of[path] for path in table.paths} - {""} for table in (made.train, made.holdout)]
    assert not sides[0] & sides[1]
    named = [group for group in made._groups if group.startswith("sender")]
    alone = sum(not of[path] for path in made.holdout.paths)
    assert alone
    assert named
    assert len(named) == len(made.holdout) - alone
    assert len(set(made._groups)) == len(set(named)) + alone


def test_broken_photographs_are_left_out_with_skip_bad(images, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not an image")
    more = Images((*images.paths, broken), (*images.labels, "dark"))
    with pytest.raises(NoseprintError, match=r"broken\.jpg"):
        prepared(more, options(), tmp_path)
    made = prepared(more, options(skip_bad=True), tmp_path)
    assert len(made.train) + len(made.holdout) == 40
    assert broken.name in (tmp_path / "skipped.csv").read_text()


def test_a_training_does_not_resume_with_other_labels_or_another_hold_out(images, tmp_path):
    half = images.where(k % 2 for k in range(40))
    train(tmp_path, images, options(epochs=1), holdout=half)
    with pytest.raises(NoseprintError, match="hold-out was"):
        train(tmp_path, images, options(epochs=1), holdout=half.where(k > 0 for k in range(20)))
    other = Images(images.paths, (*images.labels[1:], images.labels[0]))
    with pytest.raises(NoseprintError, match="training table was"):
        train(tmp_path, other, options(epochs=1), holdout=half)
    with pytest.raises(NoseprintError, match="balance was none, is oversample"):
        train(tmp_path, images, options(epochs=1, balance="oversample"), holdout=half)


def test_the_kept_weights_give_the_recorded_scores(images, tmp_path):
    made = train(tmp_path, images, options())
    network = load_classifier(tmp_path / "best.safetensors")
    recorded = read_header(tmp_path / "best.safetensors").holdout_scores
    assert made.score(network).values == pytest.approx(recorded, rel=1e-5)


def test_labels_that_the_network_lacks_are_refused(images, tmp_path):
    with pytest.raises(NoseprintError, match=r"16 training images .* does not know: 'dark' \(12\), 'grey' \(4\)"):
        prepared(images, options(), tmp_path, classes=["bright"])


def test_networks_that_this_task_cannot_train_are_refused(images):
    with pytest.raises(ValueError, match="freeze_batch_norm"):
        task(images, options(), net=network(list(CLASSES), freeze_batch_norm=False))
    two = ClassifierNet("test_efficientnet.r160_in1k", heads={"a": ["x"], "b": ["y"]}, image_size=32, pretrained=False)
    with pytest.raises(ValueError, match="2 heads"):
        task(images, options(), net=two)
