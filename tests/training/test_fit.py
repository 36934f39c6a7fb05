import contextlib
import json
import math
import multiprocessing
import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch
from pytorch_metric_learning.losses import ArcFaceLoss
from safetensors.torch import load_file

from noseprint.calibration.curves import calibration_from_json
from noseprint.data.holdout import photograph_hashes, split_holdout
from noseprint.data.tables import ImageTable, read_train
from noseprint.errors import NoseprintError
from noseprint.models.network import SupConNet
from noseprint.models.weights import load_network, read_header
from noseprint.tasks.embedding_options import require_same_holdout
from noseprint.training.fit_options import FREE_TO_CHANGE

from .tiny import SIZE, Interrupting, network, options, train


@pytest.fixture
def table(demo):
    return read_train(demo)


def records(results):
    return [json.loads(line) for line in (results / "metrics.jsonl").read_text().splitlines()]


def test_leaves_the_best_averaged_weights_with_their_scores_and_calibration(tmp_path, demo, table):
    train(tmp_path, table, options(demo, epochs=3))
    found = records(tmp_path)
    assert [record["epoch"] for record in found] == [1, 2, 3]
    assert all(math.isfinite(record["loss"]) for record in found)
    header = read_header(tmp_path / "best.safetensors")
    highest = [max(record["auc"] for record in found[: i + 1]) for i in range(3)]
    kept = [record for record, high in zip(found, highest, strict=True) if record["auc"] >= high - 0.001][-1]
    assert json.loads(header.extra["holdout"])["auc"] == kept["auc"]
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

    def step(model, images, labels):
        seen.update(labels.tolist())
        return model(images).sum()

    train(tmp_path, table, options(demo, epochs=30), loss=step, pseudo=pseudo)
    assert seen == set(range(len(set(table.identities) - held_out) + 2))


def test_a_stage_does_not_hold_out_what_the_one_before_has_seen(tmp_path, demo, table):
    train(tmp_path, table, options(demo, holdout=0.2))
    start = tmp_path / "best.safetensors"
    require_same_holdout(start, options(demo, holdout=0.2, seed=5))
    with pytest.raises(NoseprintError, match=r"was trained with --holdout 0\.2"):
        require_same_holdout(start, options(demo, holdout=0.3))


def test_the_holdout_does_not_depend_on_the_trainings_seed(tmp_path, demo, table):
    for seed in (0, 1):
        train(tmp_path / str(seed), table, options(demo, epochs=1, seed=seed))
    first, second = (
        torch.load(tmp_path / str(seed) / "last" / "state.pt", weights_only=True)["settings"] for seed in (0, 1)
    )
    assert first["training table"] == second["training table"]


def test_a_refused_restart_leaves_the_metrics_alone(tmp_path, demo, table):
    train(tmp_path, table, options(demo))
    before = (tmp_path / "metrics.jsonl").read_text()
    with pytest.raises(NoseprintError, match="--batch-size 4"):
        train(tmp_path, table, options(demo, batch_size=4, restart=True))
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_lost_weights_of_a_finished_run_are_named(tmp_path, demo, table):
    train(tmp_path, table, options(demo))
    (tmp_path / "best.safetensors").unlink()
    with pytest.raises(NoseprintError, match=r"best\.safetensors is gone"):
        train(tmp_path, table, options(demo))


def test_without_a_holdout_the_last_weights_are_kept(tmp_path, demo, table):
    train(tmp_path, table, options(demo, holdout=0))
    assert "auc" not in records(tmp_path)[0]
    assert "calibration" not in read_header(tmp_path / "best.safetensors").extra
    last = torch.load(tmp_path / "last" / "state.pt", weights_only=True)["average"]
    for key, tensor in load_file(tmp_path / "best.safetensors").items():
        assert torch.equal(tensor, last[key])


def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path, demo, table, capsys):
    opts = options(demo, epochs=3)
    train(tmp_path / "whole", table, opts)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as left:
        train(tmp_path / "cut", table, opts, loss=Interrupting(4))
    assert left.value.code == 130
    assert "continues from there" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is before
    train(tmp_path / "cut", table, opts)
    whole, cut = (load_file(tmp_path / run / "best.safetensors") for run in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    assert [r["auc"] for r in records(tmp_path / "cut")] == [r["auc"] for r in records(tmp_path / "whole")]


def test_a_finished_run_is_left_alone_and_restart_begins_afresh(tmp_path, demo, table, capsys):
    train(tmp_path, table, options(demo))
    before = (tmp_path / "best.safetensors").stat().st_mtime_ns
    train(tmp_path, table, options(demo))
    assert "already trained" in capsys.readouterr().out
    assert (tmp_path / "best.safetensors").stat().st_mtime_ns == before
    train(tmp_path, table, options(demo, restart=True))
    assert (tmp_path / "best.safetensors").stat().st_mtime_ns > before
    assert len(records(tmp_path)) == 2


def test_a_run_does_not_go_on_with_other_settings_or_data(tmp_path, demo, table):
    train(tmp_path, table, options(demo))
    with pytest.raises(NoseprintError, match=r"lr was 0.001, is 0.002"):
        train(tmp_path, table, options(demo, lr=0.002))
    with pytest.raises(NoseprintError, match="training images was"):
        train(tmp_path, ImageTable(table.paths[:-1], table.identities[:-1]), options(demo))
    with pytest.raises(NoseprintError, match="training table was"):
        train(tmp_path, ImageTable(table.paths, table.identities[1:] + table.identities[:1]), options(demo))
    train(tmp_path, table, options(demo, workers=1))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(tmp_path, demo, table):
    supcon = Interrupting(None)

    def step(model, images, labels):
        return supcon(model, images, labels) * (float("nan") if supcon.done > 4 else 1)

    with pytest.raises(NoseprintError, match=r"loss or its gradient is nan at step 5 .*\.jpg, .*\.jpg and 13 more"):
        train(tmp_path, table, options(demo, epochs=4, save_every=2), loss=step)
    listed = (tmp_path / "faulty_batch.csv").read_text().splitlines()
    assert len(listed) == 17
    assert {line.split(",")[1] for line in listed[1:]} <= {path.name for path in table.paths}
    state = torch.load(tmp_path / "last" / "state.pt", weights_only=True)
    assert state["step"] == 4
    assert all(torch.isfinite(tensor).all() for tensor in state["network"].values())


def test_a_gradient_that_is_not_finite_never_reaches_the_last_good_state(tmp_path, demo, table):
    """The loss of step 3 is a number, its gradient is not: every later weight would be none either."""
    supcon = Interrupting(None)

    def step(model, images, labels):
        value = supcon(model, images, labels)
        return value + torch.sqrt(0 * value) if supcon.done == 3 else value

    with pytest.raises(NoseprintError, match="at step 3 "):
        train(tmp_path, table, options(demo, epochs=4, save_every=1), loss=step)
    state = torch.load(tmp_path / "last" / "state.pt", weights_only=True)
    assert state["step"] == 2
    assert all(torch.isfinite(tensor).all() for tensor in state["network"].values())


def test_nothing_is_said_to_be_saved_where_nothing_is(tmp_path, demo, table):
    with pytest.raises(NoseprintError, match="Nothing was saved yet"):
        train(tmp_path, table, options(demo), loss=lambda model, images, labels: model(images).sum() * float("inf"))


def test_other_broken_photographs_begin_a_training_afresh_under_skip_bad_only(tmp_path, demo, table, capsys):
    copies = tmp_path / "copies"
    copies.mkdir()
    moved = ImageTable(tuple(Path(shutil.copy(p, copies / p.name)) for p in table.paths), table.identities)
    with pytest.raises(SystemExit):
        train(tmp_path / "out", moved, options(demo), loss=Interrupting(3))
    held_out = split_holdout(table.identities, share=0.2, seed=0)
    victim = next(p for p, i in zip(moved.paths, moved.identities, strict=True) if i not in held_out)
    victim.write_bytes(b"")
    with pytest.raises(NoseprintError, match=r"(?s)--skip-bad.*is empty"):
        train(tmp_path / "out", moved, options(demo))
    with pytest.raises(NoseprintError, match=r"lr was 0\.001"):
        train(tmp_path / "out", moved, options(demo, skip_bad=True, lr=0.002))
    train(tmp_path / "out", moved, options(demo, skip_bad=True))
    assert "starts again" in capsys.readouterr().out
    assert victim.name in (tmp_path / "out" / "skipped.csv").read_text()


def test_a_holdout_that_is_broken_stops_the_training_before_its_first_step(tmp_path, demo, table):
    held_out = split_holdout(table.identities, share=0.2, seed=0)
    rows = zip(table.paths, table.identities, strict=True)
    paths = tuple(tmp_path / path.name if identity in held_out else path for path, identity in rows)
    with pytest.raises(NoseprintError, match="of the identities held out, too few"):
        train(tmp_path / "out", ImageTable(paths, table.identities), options(demo, skip_bad=True))
    assert not (tmp_path / "out" / "metrics.jsonl").exists()


def test_asked_to_stop_in_the_last_step_the_training_is_whole_and_the_answer_honest(tmp_path, demo, table, capsys):
    train(tmp_path / "whole", table, options(demo))
    steps = records(tmp_path / "whole")[-1]["step"]
    with pytest.raises(SystemExit) as left:
        train(tmp_path / "cut", table, options(demo), loss=Interrupting(steps))
    assert left.value.code == 130
    assert "trained to the end" in capsys.readouterr().out
    files = [tmp_path / name / "best.safetensors" for name in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_restart_forgets_the_older_state_at_once(tmp_path, demo, table):
    train(tmp_path, table, options(demo))

    def broken(model, images, labels):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(tmp_path, table, options(demo, restart=True), loss=broken)
    assert not (tmp_path / "last" / "state.pt").exists()


class Greedy(SupConNet):
    """Runs out of memory above `most` images at a time."""

    most = 8

    def forward(self, images):
        if len(images) > self.most:
            torch.empty(2**50)  # as large networks on large batches ask for
        return super().forward(images)


def greedy():
    torch.manual_seed(0)
    return Greedy("test_efficientnet.r160_in1k", image_size=32, dim=16, pretrained=False)


def test_out_of_memory_names_a_chunk_that_fits_and_the_run_goes_on_with_it(tmp_path, demo, table):
    with pytest.raises(NoseprintError, match="out of memory on cpu with 16 images at a time: --chunk-size 8 fits"):
        train(tmp_path, table, options(demo), net=greedy())
    train(tmp_path, table, options(demo, chunk_size=8), net=greedy())
    assert (tmp_path / "best.safetensors").is_file()


def test_where_not_even_one_image_fits_no_chunk_is_named(tmp_path, demo, table, monkeypatch):
    monkeypatch.setattr(Greedy, "most", 0)
    with pytest.raises(NoseprintError, match="not one image at a time fits"):
        train(tmp_path, table, options(demo), net=greedy())


def test_the_holdout_is_scored_every_so_many_epochs_and_at_the_end(tmp_path, demo, table):
    train(tmp_path, table, options(demo, epochs=3, eval_every=2))
    assert [("auc" in record) for record in records(tmp_path)] == [False, True, True]


@pytest.mark.parametrize("holdout", [0.2, 0.0])
def test_a_collapsed_network_is_noticed_and_its_weights_not_kept(tmp_path, demo, table, holdout):
    dead = network()
    with torch.no_grad():
        for parameter in dead.parameters():
            parameter.zero_()
    with pytest.raises(NoseprintError, match=r"the network has collapsed: .* --warmup"):
        train(tmp_path, table, options(demo, holdout=holdout), net=dead)
    assert not (tmp_path / "best.safetensors").exists()


def test_a_loader_process_that_dies_is_named_and_the_run_goes_on_from_its_save(tmp_path, demo, table):
    def kill_workers():
        for child in multiprocessing.active_children():
            child.kill()
            child.join()

    step = Interrupting(3, kill_workers)
    opts = options(demo, epochs=30, workers=1, save_every=1)
    with pytest.raises(NoseprintError, match=r"decodes photographs died .*--workers"):
        train(tmp_path, table, opts, loss=step)
    assert 2 <= torch.load(tmp_path / "last" / "state.pt", weights_only=True)["step"] < 60


@pytest.mark.parametrize("workers", [0, 1])
def test_a_photograph_that_breaks_in_mid_run_is_named_alike_with_and_without_workers(tmp_path, demo, table, workers):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    paths = (*table.paths[:-1], broken)
    with pytest.raises(NoseprintError) as told:
        train(tmp_path / "out", ImageTable(paths, table.identities), options(demo, holdout=0, workers=workers))
    assert f"{broken}: is not a JPEG" in str(told.value)


def test_a_disk_that_is_full_leaves_the_last_good_state_and_the_run_goes_on_when_there_is_room(tmp_path, demo, table):
    """The kernel refuses files beyond a size: first the state cannot be written, then the weights."""
    train(tmp_path / "whole", table, options(demo))
    whole = (tmp_path / "whole" / "best.safetensors").read_bytes()
    results = tmp_path / "cut"
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for limit, refused in ((len(whole) // 2, "best.safetensors"), (len(whole) + 1000, "state.pt")):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, former[1]))
            with pytest.raises(NoseprintError, match=rf"{refused}: cannot be written \(File too large\)"):
                train(results, table, options(demo))
            assert not list(results.rglob("*.part"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, handler)
    train(results, table, options(demo))
    assert (results / "best.safetensors").read_bytes() == whole


class Head(torch.nn.Module):
    """ArcFace over the training identities, which asks to stop at step `at`."""

    def __init__(self, classes, at=None):
        super().__init__()
        torch.manual_seed(1)
        self.arcface = ArcFaceLoss(num_classes=classes, embedding_size=16)
        self.interrupting = Interrupting(at)
        self.interrupting.loss = self.arcface

    def forward(self, *batch):
        return self.interrupting(*batch)


def test_a_loss_with_weights_of_its_own_is_trained_and_resumed(tmp_path, demo, table):
    def run(results, at=None):
        head = Head(len(set(table.identities)), at)
        start = head.arcface.W.detach().clone()
        with contextlib.suppress(SystemExit):
            train(results, table, options(demo, holdout=0), loss=head)
        return start, head.arcface.W.detach().clone()

    start, whole = run(tmp_path / "whole")
    assert not torch.equal(start, whole)
    assert not torch.equal(run(tmp_path / "cut", 3)[1], whole)
    assert torch.equal(run(tmp_path / "cut")[1], whole)


@pytest.mark.parametrize(
    ("changes", "says"),
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
def test_options_that_cannot_be_are_refused(tmp_path, demo, table, changes, says):
    with pytest.raises(NoseprintError, match=says):
        train(tmp_path / "out", table, options(demo, **changes))
    assert not (tmp_path / "out").exists()


def test_every_option_that_shapes_the_weights_guards_a_resume(demo):
    names = set(vars(options(demo)))
    shaping = {"epochs", "batch_size", "lr", "seed", "holdout", "temperature", "optimizer", "schedule", "milestones"}
    assert names - FREE_TO_CHANGE >= shaping
