import json
import math
import multiprocessing
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from noseprint.calibration.curves import calibration_from_json
from noseprint.data.holdout import holdout_hash, photograph_hashes, split_holdout
from noseprint.data.tables import ImageTable, read_train
from noseprint.data.transforms import A
from noseprint.distributed import World
from noseprint.errors import NoseprintError
from noseprint.models.network import SupConNet
from noseprint.models.weights import load_network, read_header
from noseprint.tasks.embedding_options import require_same_holdout
from noseprint.training import fit as fit_module

from .tiny import SIZE, Interrupting, network, options, records, task, train


def test_the_last_averaged_weights_are_kept_with_their_scores_and_calibration(tmp_path, demo, table):
    train(tmp_path, table, options(demo, epochs=3))
    found = records(tmp_path)
    assert [(record["step"], record["epoch"]) for record in found] == [(0, 0), (3, 1), (6, 2), (9, 3)]
    assert all(math.isfinite(record["loss"]) for record in found[1:])
    header = read_header(tmp_path / "best.safetensors")
    assert json.loads(header.extra["holdout"])["auc"] == found[-1]["auc"]
    calibration_from_json(header.extra["calibration"])
    assert json.loads(header.extra["training"]) == {"holdout": 0.2, "loss": "supcon"}
    held_out = split_holdout(table.identities, share=0.2, seed=0)
    photographs = table.where(identity in held_out for identity in table.identities)
    assert header.extra["held_out_photographs"] == photograph_hashes(photographs)
    assert load_network(tmp_path / "best.safetensors").image_size == SIZE


def test_held_out_identities_are_never_trained_on_and_pseudo_identities_never_held_out(tmp_path, demo, table):
    held_out = split_holdout(table.identities, share=0.2, seed=0)
    assert held_out
    pseudo = ImageTable(table.paths[:3], ("pseudo-0", "pseudo-0", "pseudo-1"))
    seen = set()

    def loss_that_records_labels(model, images, labels):
        seen.update(labels.tolist())
        return model(images).sum()

    train(tmp_path, table, options(demo, epochs=30), loss=loss_that_records_labels, pseudo=pseudo)
    assert seen == set(range(len(set(table.identities) - held_out) + 2))


def test_the_first_lines_say_what_is_odd_about_names_and_encounters(tmp_path, demo, table, capsys):
    names = ("Rex", "rex", "9.85112E+14", *table.identities[3:])
    stamps = tuple(f"2024-05-01 10:00:{n % 60:02}.{n:03}" for n in range(len(table)))
    odd = ImageTable(table.paths, names, stamps, unknown={Path("x.jpg"): "NA"}, encounter_column="date")
    train(tmp_path, odd, options(demo))
    printed = capsys.readouterr().out
    assert printed.startswith("left out: 1 photographs of unknown individuals: 'NA' (1)\ncaution: a program has r")
    assert "caution: alike names count as" in printed
    assert "'Rex' and 'rex'" in printed
    assert f"caution: the column 'date' gives {len(table)} encounters for {len(table)} photographs" in printed
    train(tmp_path / "plain", table, options(demo))
    assert "caution" not in capsys.readouterr().out


def test_a_stage_cannot_hold_out_what_the_stage_before_was_trained_on(tmp_path, demo, table):
    train(tmp_path, table, options(demo, holdout=0.2))
    start = tmp_path / "best.safetensors"
    require_same_holdout(start, options(demo, holdout=0.2, seed=5))
    with pytest.raises(NoseprintError, match=r"was trained with --holdout 0\.2"):
        require_same_holdout(start, options(demo, holdout=0.3))


def test_a_stage_does_not_continue_weights_of_version_0_1_that_learned_what_is_held_out_now(tmp_path, sixty):
    held_out = holdout_hash(split_holdout(read_train(sixty, missing_ok=True).identities, share=0.05, at_least=0))
    extra = {"training": json.dumps({"holdout": 0.05}), "held_out": held_out}
    start = tmp_path / "start.safetensors"
    metadata = {"format": "noseprint weights 2", "version": "0.1.0", **network().config(), **extra}
    save_file(network().state_dict(), start, metadata=metadata)
    with pytest.raises(NoseprintError, match=r"noseprint 0\.1\.0, which held out fewer identities.*: train it again"):
        require_same_holdout(start, options(sixty, holdout=0.05))
    require_same_holdout(start, options(sixty, holdout=0))


def test_the_holdout_does_not_depend_on_the_seed_of_the_training(tmp_path, demo, table):
    for seed in (0, 1):
        train(tmp_path / str(seed), table, options(demo, epochs=1, seed=seed))
    first, second = (
        torch.load(tmp_path / str(seed) / "last" / "state.pt", weights_only=True)["settings"] for seed in (0, 1)
    )
    assert first["training table"] == second["training table"]


def test_without_a_holdout_the_last_weights_are_kept(tmp_path, demo, table):
    train(tmp_path, table, options(demo, holdout=0))
    assert "auc" not in records(tmp_path)[0]
    assert "calibration" not in read_header(tmp_path / "best.safetensors").extra
    last = torch.load(tmp_path / "last" / "state.pt", weights_only=True)["average"]
    for key, tensor in load_file(tmp_path / "best.safetensors").items():
        assert torch.equal(tensor, last[key])


def test_a_loss_that_is_not_finite_stops_the_training_and_keeps_the_last_good_state(tmp_path, demo, table):
    supcon = Interrupting(None)

    def loss_that_becomes_nan(model, images, labels):
        return supcon(model, images, labels) * (float("nan") if supcon.done > 4 else 1)

    with pytest.raises(NoseprintError, match=r"loss or its gradient is nan at step 5 .*\.jpg, .*\.jpg and 13 more"):
        train(tmp_path, table, options(demo, epochs=4, save_every=2), loss=loss_that_becomes_nan)
    listed = (tmp_path / "faulty_batch.csv").read_text().splitlines()
    assert len(listed) == 17
    assert {line.split(",")[1] for line in listed[1:]} <= {path.name for path in table.paths}
    state = torch.load(tmp_path / "last" / "state.pt", weights_only=True)
    assert state["step"] == 4
    assert all(torch.isfinite(tensor).all() for tensor in state["network"].values())


def test_a_step_with_a_gradient_that_is_not_finite_is_never_saved(tmp_path, demo, table):
    """The loss of step 3 is finite but its gradient is not, so no later weight would be finite."""
    supcon = Interrupting(None)

    def loss_with_infinite_gradient(model, images, labels):
        value = supcon(model, images, labels)
        return value + torch.sqrt(0 * value) if supcon.done == 3 else value

    with pytest.raises(NoseprintError, match="at step 3 "):
        train(tmp_path, table, options(demo, epochs=4, save_every=1), loss=loss_with_infinite_gradient)
    state = torch.load(tmp_path / "last" / "state.pt", weights_only=True)
    assert state["step"] == 2
    assert all(torch.isfinite(tensor).all() for tensor in state["network"].values())


def test_the_message_says_that_nothing_was_saved(tmp_path, demo, table):
    with pytest.raises(NoseprintError, match="Nothing was saved yet"):
        train(tmp_path, table, options(demo), loss=lambda model, images, labels: model(images).sum() * float("inf"))


def test_a_broken_holdout_stops_the_training_before_its_first_step(tmp_path, demo, table):
    held_out = split_holdout(table.identities, share=0.2, seed=0)
    rows = zip(table.paths, table.identities, strict=True)
    paths = tuple(tmp_path / path.name if identity in held_out else path for path, identity in rows)
    with pytest.raises(NoseprintError, match="of the identities held out, too few"):
        train(tmp_path / "out", ImageTable(paths, table.identities), options(demo, skip_bad=True))
    assert not (tmp_path / "out" / "metrics.jsonl").exists()


class LimitedNetwork(SupConNet):
    """Runs out of memory above `most_images` at a time."""

    most_images = 8

    def forward(self, images):
        if len(images) > self.most_images:
            torch.empty(2**50)  # as much as large networks need for large batches
        return super().forward(images)


def limited_network():
    torch.manual_seed(0)
    return LimitedNetwork("test_efficientnet.r160_in1k", image_size=32, dim=16, pretrained=False)


def test_out_of_memory_names_a_chunk_size_that_fits_and_training_succeeds_with_it(tmp_path, demo, table):
    with pytest.raises(NoseprintError, match="out of memory on cpu with 16 images at a time: --chunk-size 8 fits"):
        train(tmp_path, table, options(demo), net=limited_network())
    train(tmp_path, table, options(demo, chunk_size=8), net=limited_network())
    assert (tmp_path / "best.safetensors").is_file()


def test_no_chunk_size_is_named_if_not_even_one_image_fits(tmp_path, demo, table, monkeypatch):
    monkeypatch.setattr(LimitedNetwork, "most_images", 0)
    with pytest.raises(NoseprintError, match="not one image at a time fits"):
        train(tmp_path, table, options(demo), net=limited_network())


def test_the_holdout_is_scored_every_eval_every_epochs_and_at_the_end(tmp_path, demo, table):
    train(tmp_path, table, options(demo, epochs=3, eval_every=2))
    assert [("auc" in record) for record in records(tmp_path)] == [True, True, True]
    assert [record["epoch"] for record in records(tmp_path)] == [0, 2, 3]


@pytest.mark.parametrize("holdout", [0.2, 0.0])
def test_a_collapsed_network_is_reported_and_its_weights_are_not_kept(tmp_path, demo, table, holdout):
    collapsed = network()
    with torch.no_grad():
        for parameter in collapsed.parameters():
            parameter.zero_()
    with pytest.raises(NoseprintError, match=r"the network has collapsed: .* --warmup"):
        train(tmp_path, table, options(demo, holdout=holdout), net=collapsed)
    assert not (tmp_path / "best.safetensors").exists()


def test_a_dead_loader_process_is_reported_and_the_last_save_is_kept(tmp_path, demo, table):
    def kill_workers():
        for child in multiprocessing.active_children():
            child.kill()
            child.join()

    killing_loss = Interrupting(3, kill_workers)
    chosen = options(demo, epochs=30, workers=1, save_every=1)
    with pytest.raises(NoseprintError, match=r"decodes photographs died .*--workers"):
        train(tmp_path, table, chosen, loss=killing_loss)
    assert 2 <= torch.load(tmp_path / "last" / "state.pt", weights_only=True)["step"] < 60


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_photograph_gives_the_same_message_with_and_without_workers(tmp_path, demo, table, workers):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not an image")
    paths = (*table.paths[:-1], broken)
    with pytest.raises(NoseprintError) as raised:
        train(tmp_path / "out", ImageTable(paths, table.identities), options(demo, holdout=0, workers=workers))
    assert f"{broken}: is not a JPEG" in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "--epochs 0"),
        ({"batch_size": 1}, "--batch-size 1"),
        ({"lr": 0.0}, "--lr 0.0"),
        ({"lr": float("nan")}, "--lr nan"),
        ({"warmup": 1.0}, "--warmup 1.0"),
        ({"weight_decay": float("nan")}, "--weight-decay nan"),
        ({"seed": -1}, "--seed -1"),
        ({"workers": -1}, "--workers -1"),
        ({"chunk_size": 0}, "--chunk-size 0"),
        ({"cycles": 0}, "--cycles 0"),
        ({"milestones": (0.5, 1.5)}, "--milestones"),
        ({"temperature": 0.0}, "--temperature 0.0"),
        ({"images_per_identity": 1}, "--images-per-identity 1"),
        ({"eval_every": 0}, "--eval-every 0"),
        ({"run": ".."}, "--run"),
        ({"run": "../elsewhere"}, "--run"),
        ({"holdout": 0.7}, "0.7"),
        ({"image_size": 15}, r"--image-size 15: must be in 16\.\.4096"),
        ({"image_size": 0}, r"--image-size 0: must be in 16\.\.4096"),
        ({"train_size": 4097}, r"--train-size 4097: must be in 16\.\.4096"),
    ],
)
def test_impossible_options_are_refused(tmp_path, demo, table, changes, message):
    with pytest.raises(NoseprintError, match=message):
        train(tmp_path / "out", table, options(demo, **changes))
    assert not (tmp_path / "out").exists()


def test_a_trained_network_has_its_own_classes_again(tmp_path, demo, table):
    """Frozen norms are joined only while it trains, so it can be pickled."""
    net = network()
    before = [type(module) for module in net.modules()]
    train(tmp_path, table, options(demo), net=net)
    assert [type(module) for module in net.modules()] == before


def test_a_training_without_a_length_ends_when_its_time_is_up(tmp_path, demo, table, capsys, monkeypatch):
    monkeypatch.setattr(fit_module, "has_stopped_falling", lambda losses: False)
    train(tmp_path, table, options(demo, epochs=None, minutes=0.001))
    assert "ended after 21 steps: the time is up" in capsys.readouterr().out
    assert records(tmp_path)[-1]["step"] == 21


def test_a_training_says_how_long_it_takes_once_that_is_known(tmp_path, demo, table, capsys):
    train(tmp_path / "short", table, options(demo, epochs=None, steps=2, minutes=45.0))
    said = capsys.readouterr().out
    assert "; 2 steps on cpu" in said
    assert "minutes" not in said
    train(tmp_path / "long", table, options(demo, epochs=None, steps=22, minutes=45.0))
    assert re.search(r"^about \d+ s of training left$", capsys.readouterr().out, re.M)
    train(tmp_path / "cut", table, options(demo, epochs=None, steps=500, minutes=0.001))
    assert "only 21 steps fit into 0.001 minutes; about " in capsys.readouterr().out


def test_weights_are_compared_on_the_hold_out_as_the_scoring_transform_makes_it(table, tmp_path):
    def scored(**more):
        made = task(table, options(holdout=0.3, workers=0), **more)
        made.prepare(World(0, 1, torch.device("cpu")), tmp_path)
        found = made.score(made.network, untrained=True)
        return found.values["map"], made.header()["holdout"]

    plain, degraded = scored(), scored(scoring_transform=lambda size: A.Compose([A.Resize(1, 1), A.Resize(size, size)]))
    assert degraded[0] != plain[0]
    assert degraded[1] == plain[1]  # like the calibration: of the hold-out as it is
