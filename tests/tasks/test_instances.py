from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from timm.optim import param_groups_layer_decay

from noseprint.data.instances import DISTRACTORS, distractors
from noseprint.distributed import World
from noseprint.errors import NoseprintError
from noseprint.losses.margin_options import Margin
from noseprint.metrics.instances import domain_mean, score_instances
from noseprint.models.embed import embed_images
from noseprint.tasks.instances import SCORE, read_classifier, write_classifier
from noseprint.tasks.phase_options import ALL
from noseprint.training.plan import Plan
from noseprint.training.step import TrainingStep

from .tiny_instances import (
    CONVOLUTIONAL,
    SIZE,
    TRANSFORMER,
    draw_images,
    network,
    options,
    phase,
    read,
    task,
    transforms,
)

WORLD = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("instances") / "images"
    draw_images(folder)
    return read(folder)


def begun(made, tmp_path):
    """The first step of a prepared task, and its batch."""
    made.prepare(WORLD, tmp_path)
    plan = Plan(made.options, epoch_steps=made.epoch_steps)
    step = TrainingStep(
        made, options=made.options, world=WORLD, plan=plan, epoch_steps=made.epoch_steps, results=tmp_path
    )
    batch = [made.dataset()[index] for index in made.batches(steps=1, first_step=0).batch(0)]
    return step, torch.utils.data.default_collate(batch)


@pytest.mark.parametrize("backbone", [CONVOLUTIONAL, TRANSFORMER])
@pytest.mark.parametrize("trains", [("classifier",), ("head",), ("backbone",), ("head", "classifier"), ALL])
def test_only_what_the_phase_names_has_a_gradient_and_changes(table, tmp_path, backbone, trains):
    of = phase(trains=trains, backbone_lr_scale=1.0, layer_decay=0.9, margin=Margin(start=1.0))
    made = task(table, net=network(backbone, pooling="own"), of=of)
    step, batch = begun(made, tmp_path)
    parts = {"backbone": made.network.backbone, "head": made.network.projection, "classifier": made.criterion}
    before = {name: {k: v.clone() for k, v in part.state_dict().items()} for name, part in parts.items()}
    step.update(0, batch)
    for name, part in parts.items():
        gradients = [parameter.grad is not None for parameter in part.parameters()]
        assert all(gradients) if name in trains else not any(gradients), name
        now = part.state_dict()  # with the statistics of BatchNorm
        changed = [key for key, value in before[name].items() if not torch.equal(now[key], value)]
        assert bool(changed) == (name in trains), name


@pytest.mark.parametrize("backbone", [CONVOLUTIONAL, TRANSFORMER])
def test_every_weight_is_in_one_part(table, backbone):
    made = task(table, net=network(backbone), of=phase(layer_decay=0.5))
    of_parts = Counter(id(parameter) for part in made.parts() for parameter in part.module.parameters())
    all_weights = [*made.network.parameters(), *made.criterion.parameters()]
    assert of_parts == Counter(map(id, all_weights))


def test_lower_layers_learn_more_slowly_as_in_timm(table, tmp_path):
    of = phase(lr=0.1, backbone_lr_scale=0.25, layer_decay=0.5)
    made = task(table, net=network(TRANSFORMER), of=of)
    model = made.network.backbone.model
    step, batch = begun(made, tmp_path)
    step.update(0, batch)
    rate_of = {id(p): group["lr"] for group in step._optimizer.param_groups for p in group["params"]}
    rate = step.rate(0)
    for group in param_groups_layer_decay(model, layer_decay=0.5):
        for parameter in group["params"]:
            assert rate_of[id(parameter)] == pytest.approx(rate * 0.25 * group["lr_scale"])
    blocks = [rate_of[id(block.attn.qkv.weight)] for block in model.blocks]
    assert [above / below for below, above in pairwise(blocks)] == pytest.approx([2] * 5)
    assert rate_of[id(model.patch_embed.proj.weight)] == pytest.approx(blocks[0] / 2)
    assert rate_of[id(model.norm.weight)] == pytest.approx(rate * 0.25)
    assert rate_of[id(made.network.projection.weight)] == rate_of[id(made.criterion.weight)] == rate


def test_a_margin_grows_with_the_epochs_and_is_that_of_the_step_after_a_resume(table, tmp_path):
    of = phase(margin=Margin(start=0.3, growth=0.2, most=0.6))
    made, resumed = (task(table, of=of) for _ in range(2))
    for one in (made, resumed):
        one.prepare(WORLD, tmp_path)
    steps = made.epoch_steps
    assert steps == 4  # 8 identities of 4 images
    found = []
    for step in range(3 * steps):
        made.begin_step(step)
        found.append(round(float(made.criterion.margin[0]), 6))
    assert found == [0.3] * steps + [0.5] * steps + [0.6] * steps
    resumed.begin_step(steps + 1)
    assert torch.equal(resumed.criterion.margin, torch.full((8,), 0.5))


def test_a_step_sets_the_margin_of_its_epoch(table, tmp_path):
    made = task(table, of=phase(margin=Margin(start=0.1, growth=0.2)))
    step, batch = begun(made, tmp_path)
    step.update(made.epoch_steps, batch)
    assert torch.equal(made.criterion.margin, torch.full((8,), 0.3))


def test_the_score_is_the_mean_over_domains_also_per_item(table, tmp_path):
    made = task(table.where(path.stem != "02_3" for path in table.paths))  # the domains differ in size
    made.prepare(WORLD, tmp_path)
    scores = made.score(made.network, untrained=True)
    holdout, among = made.holdout, distractors(made.train)
    assert 0 < len(among) <= DISTRACTORS * len(set(made.train.identities))
    embedded = embed_images(
        made.network,
        holdout.paths + among.paths,
        transform=transforms()["evaluation_transform"](SIZE),
        device=WORLD.device,
        workers=0,
    )
    everything = np.ones(len(holdout) + len(among), bool)
    queries = np.arange(len(everything)) < len(holdout)
    columns = {"identities": holdout.identities + among.identities, "domains": holdout.domains + among.domains}
    found = score_instances(embedded, **columns, queries=queries, index=everything)
    mean = domain_mean(found.average_precision, found.domains)
    assert scores.values[SCORE] == pytest.approx(mean)
    assert scores.per_item.mean() == pytest.approx(mean)
    assert mean != pytest.approx(found.average_precision.mean())
    assert scores.values[f"{SCORE} pets"] == found.average_precision[found.domains == "pets"].mean()
    assert set(scores.groups) == set(holdout.identities)


def test_known_identities_keep_their_centres_and_others_begin_at_random(table):
    first = task(table, of=phase(domains=("pets",)))
    kept = first.classifier()
    assert sorted(kept) == ["06", "07", "09", "10"]
    both = task(table, classifier=kept).classifier()
    assert len(both) == 8
    assert all(torch.equal(both[name], kept[name]) for name in kept)
    other = task(table, classifier=kept, of=phase(margin=Margin(centres=2))).classifier()
    assert other["06"].shape == (2, 8)


def test_a_classifier_is_written_and_read_again(tmp_path):
    classifier = {"b, and c": torch.randn(2, 4), "a": torch.randn(2, 4)}
    path = tmp_path / "classifier.safetensors"
    write_classifier(path, classifier)
    again = read_classifier(path)
    assert list(again) == list(classifier)
    assert all(torch.equal(again[name], classifier[name]) for name in again)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(NoseprintError, match=r"classifier\.safetensors: not a classifier"):
        read_classifier(path)
    with pytest.raises(NoseprintError, match="there is no such classifier"):
        read_classifier(tmp_path / "none")


def test_what_cannot_be_trained_is_refused(table):
    with pytest.raises(NoseprintError, match=r"'all' learns from the domain cars, .* are of pets, things"):
        task(table, of=phase(domains=("pets", "cars")))
    with pytest.raises(NoseprintError, match="at least 2 identities, not 1"):
        task(table, train=table.where(identity == "00" for identity in table.identities))
    with pytest.raises(ValueError, match="freeze_batch_norm"):
        task(table, net=network(freeze_batch_norm=False))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "a/b"}, "phase 'a/b': name it"),
        ({"trains": ()}, "give one or more of backbone, head, classifier"),
        ({"trains": ("neck",)}, "trains neck"),
        ({"backbone_lr_scale": 0.0}, "backbone_lr_scale"),
        ({"layer_decay": 1.5}, "layer_decay"),
        ({"size": 8}, "size 8"),
    ],
)
def test_impossible_phases_are_refused(wrong, message):
    with pytest.raises(NoseprintError, match=message):
        phase(**wrong)


def test_a_phase_sets_the_options_of_its_training():
    chosen = options().of(phase(epochs=7, lr=0.5, batch_size=12, optimizer="sgd", schedule="multi-step"))
    assert (chosen.epochs, chosen.lr, chosen.batch_size, chosen.optimizer) == (7, 0.5, 12, "sgd")
    assert (chosen.schedule, chosen.dim) == ("multi-step", 8)


def test_a_phase_may_train_on_smaller_images(table, tmp_path):
    made = task(table, of=phase(train_size=24))
    made.prepare(WORLD, tmp_path)
    assert made.dataset()[0, 0].image.shape == (3, 24, 24)
    assert made.network.image_size == SIZE
