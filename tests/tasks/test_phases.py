import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from noseprint.data.csv_rows import read_rows
from noseprint.errors import NoseprintError
from noseprint.models.weights import load_projection
from noseprint.models.weights_header import read_header
from noseprint.tasks.instances import SCORE, InstanceTask, read_classifier
from noseprint.tasks.phases import load_start

from .tiny_instances import LADDER, PLAIN_LADDER, TRANSFORMER, draw_images, network, options, phase, read, train

STEPS = (4, 2, 4)
"""Of the phases of LADDER."""
FOLDERS = [f"{number}-{one.name}" for number, one in enumerate(LADDER, 1)]
FILES = [f"{folder}/{kind}.safetensors" for folder in FOLDERS for kind in ("best", "classifier")]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phases") / "images"
    draw_images(folder)
    return read(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, table) -> Path:
    """A training of all phases: read it, never write into it."""
    results = tmp_path_factory.mktemp("phases") / "whole"
    train(results, table)
    return results


def same(one: Path, two: Path) -> bool:
    """Whether two files have the same tensors, bit for bit."""
    first, second = load_file(one), load_file(two)
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def scores(results: Path) -> dict[str, float]:
    rows = read_rows(results / "phases.csv", ("phase", SCORE), faults=[], may_be_empty=(SCORE,))
    return {name: float(score) for _, (name, score) in rows if score}


@pytest.mark.parametrize("stop_at", [1, 3, sum(STEPS[:1]) + 1, sum(STEPS[:2]) + 2])
def test_a_training_that_is_interrupted_in_any_phase_resumes_to_the_same_bits(tmp_path, table, whole, stop_at):
    with pytest.raises(SystemExit):
        train(tmp_path, table, stop_at=stop_at)
    assert not (tmp_path / "best.safetensors").exists()
    train(tmp_path, table)
    for name in (*FILES, "best.safetensors", "classifier.safetensors"):
        assert same(tmp_path / name, whole / name), name
    assert (tmp_path / "phases.csv").read_bytes() == (whole / "phases.csv").read_bytes()


def test_a_training_that_is_killed_between_two_phases_resumes_to_the_same_bits(tmp_path, table, whole):
    train(tmp_path, table, LADDER[:1])
    (tmp_path / "1-head" / "classifier.safetensors").unlink()
    train(tmp_path, table)
    assert all(same(tmp_path / name, whole / name) for name in (*FILES, "best.safetensors"))


def test_new_centres_are_a_function_of_the_seed(tmp_path, table):
    """Not of what was drawn before: a phase begins alike after the one before and in a process of its own."""
    ladder = [phase("pets", domains=("pets",), epochs=1), phase("all", epochs=1)]
    found = []
    for number in (1, 2):
        net = network()
        torch.manual_seed(number)
        train(tmp_path / str(number), table, ladder, net=net)
        found.append(tmp_path / str(number) / "2-all" / "classifier.safetensors")
    assert same(*found)


def test_a_finished_phase_is_skipped_and_a_changed_one_is_refused(tmp_path, table, capsys):
    train(tmp_path, table)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in FILES if "best" in name}
    capsys.readouterr()
    train(tmp_path, table)
    assert capsys.readouterr().out.count("already trained") == 3
    assert before == {name: (tmp_path / name).stat().st_mtime_ns for name in before}
    changed = (LADDER[0], replace(LADDER[1], backbone_lr_scale=0.2), LADDER[2])
    with pytest.raises(NoseprintError, match=r"2-backbone.* phase's backbone_lr_scale was 0\.1, is 0\.2"):
        train(tmp_path, table, changed)
    with pytest.raises(SystemExit):  # a restart that is interrupted
        train(tmp_path, table, changed, restart=True, stop_at=2)
    train(tmp_path, table, changed)
    assert not any(line.startswith("resuming") for line in capsys.readouterr().out.splitlines()[-3:])


def test_each_phase_starts_from_the_network_and_the_classifier_of_the_one_before(whole):
    head, backbone, large = (load_file(whole / name) for name in FILES[::2])
    start = load_file(whole / "start" / "best.safetensors")
    differing = [{key.partition(".")[0] for key in b if not torch.equal(a[key], b[key])} for a, b in
                 ((start, head), (head, backbone), (backbone, large))]  # fmt: skip
    assert differing == [{"projection"}, {"backbone"}, {"backbone", "projection"}]
    of_head, of_backbone = (read_classifier(whole / name) for name in FILES[1:4:2])
    assert of_head.keys() == of_backbone.keys()  # also those identities that the phase did not train on
    assert all(torch.equal(of_head[name], of_backbone[name]) for name in of_head)


def test_a_phase_that_trains_the_classifier_alone_leaves_the_network_alone(tmp_path, table):
    train(tmp_path, table, [phase("only", trains=("classifier",)), phase("then", trains=("classifier",), epochs=1)])
    assert same(tmp_path / "start" / "best.safetensors", tmp_path / "best.safetensors")
    only, then = (read_classifier(tmp_path / name / "classifier.safetensors") for name in ("1-only", "2-then"))
    moved = [torch.nn.functional.cosine_similarity(only[name], then[name]).item() for name in only]
    assert 0.9 < min(moved) < 1  # it goes on from there


def test_the_best_network_on_the_hold_out_is_kept(table, whole):
    found = scores(whole)
    best = max(found, key=lambda name: found[name])
    assert best in ("head", "backbone", "large")
    folder = next(name for name in FOLDERS if name.endswith(best))
    for name in ("best.safetensors", "classifier.safetensors"):
        assert (whole / name).read_bytes() == (whole / folder / name).read_bytes()
    assert read_header(whole / "best.safetensors").holdout_scores[SCORE] == pytest.approx(found[best], abs=1e-6)


def test_if_every_phase_does_harm_the_network_that_the_training_began_with_is_kept(tmp_path, table, monkeypatch):
    right = InstanceTask.score

    def much_worse(self, net, *, untrained=False):
        found = right(self, net, untrained=untrained)
        if untrained:
            return found
        self._scores = {name: value / 9 for name, value in found.values.items()}
        return replace(found, values=self._scores, per_item=found.per_item / 9)

    monkeypatch.setattr(InstanceTask, "score", much_worse)
    line = train(tmp_path, table, LADDER[:1], classifier={"00": torch.ones(1, 8)})
    assert "kept: the network before all phases" in line
    assert same(tmp_path / "best.safetensors", tmp_path / "start" / "best.safetensors")
    assert list(read_classifier(tmp_path / "classifier.safetensors")) == ["00"]


def test_without_a_hold_out_the_last_network_is_kept(tmp_path, table):
    learned = table.where(part == "train" for part in table.parts)
    line = train(tmp_path, learned)
    assert line == "kept: the network after the phase large"
    assert same(tmp_path / "best.safetensors", tmp_path / FILES[-2])
    assert scores(tmp_path) == {}


def test_a_transformer_is_trained_at_a_higher_resolution_with_overlapping_patches(tmp_path, table):
    ladder = [phase("small", epochs=1), phase("large", epochs=1, size=48, stride=8), phase("again", epochs=1)]
    train(tmp_path, table, ladder, net=network(TRANSFORMER))
    found = [
        load_projection(tmp_path / f"{number}-{one.name}" / "best.safetensors") for number, one in enumerate(ladder, 1)
    ]
    assert [(net.image_size, net.stride) for net in found] == [(32, None), (48, 8), (48, 8)]
    assert [net.backbone.model.pos_embed.shape[1] for net in found] == [1 + 2 * 2, 1 + 5 * 5, 1 + 5 * 5]


def test_the_network_of_a_stage_is_ready_to_be_trained_in_the_next(whole, table, tmp_path):
    net, classifier = load_start(whole, options=options(dropout=0.3))
    assert net.training
    assert net.freeze_batch_norm
    assert net.dropout.p == 0.3
    assert len(classifier) == 8
    train(tmp_path, table, [phase(epochs=1)], net=net, classifier=classifier)
    with pytest.raises(NoseprintError, match="has 8 dimensions, not 16: pass --dim 8"):
        load_start(whole, options=options(dim=16))


def test_phases_of_one_name_and_none_at_all_are_refused_before_anything_is_written(tmp_path, table):
    for ladder in ((), (phase(), phase())):
        with pytest.raises(NoseprintError, match="give one or more, each with a name of its own"):
            train(tmp_path / "out", table, ladder)
    with pytest.raises(NoseprintError, match="domain cars"):
        train(tmp_path / "out", table, (phase(), phase("cars", domains=("cars",))))
    assert not (tmp_path / "out").exists()


def test_broken_photographs_are_refused_or_left_out_of_all_phases(tmp_path, table):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with_broken = replace(table, paths=(broken, *table.paths[1:]))
    with pytest.raises(NoseprintError, match="--skip-bad"):
        train(tmp_path / "out", with_broken)
    train(tmp_path / "out", with_broken, skip_bad=True)
    assert "broken.png" in (tmp_path / "out" / "skipped.csv").read_text()


def test_two_processes_train_as_one(tmp_path, table):
    script, images = str(Path(__file__).with_name("tiny_instances.py")), str(table.paths[0].parent)
    subprocess.run([sys.executable, script, images, str(tmp_path / "two")], check=True, timeout=120)
    train(tmp_path / "one", table, PLAIN_LADDER, net=network(dropout=0.0))
    for name in FILES:
        first, second = load_file(tmp_path / "one" / name), load_file(tmp_path / "two" / name)
        for key, tensor in first.items():
            torch.testing.assert_close(second[key], tensor, rtol=1e-4, atol=1e-5, msg=f"{name}: {key}")
