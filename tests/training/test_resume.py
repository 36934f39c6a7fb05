import contextlib
import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch
from pytorch_metric_learning.losses import ArcFaceLoss
from safetensors.torch import load_file

from noseprint.data.holdout import split_holdout
from noseprint.data.tables import ImageTable
from noseprint.errors import NoseprintError
from noseprint.training.fit_options import FREE_TO_CHANGE

from .tiny import Interrupting, options, records, train


def test_a_refused_restart_leaves_the_metrics_alone(tmp_path, demo, table):
    train(tmp_path, table, options(demo))
    before = (tmp_path / "metrics.jsonl").read_text()
    with pytest.raises(NoseprintError, match="--batch-size 4"):
        train(tmp_path, table, options(demo, batch_size=4, restart=True))
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_missing_weights_of_a_finished_run_are_reported(tmp_path, demo, table):
    train(tmp_path, table, options(demo))
    (tmp_path / "best.safetensors").unlink()
    with pytest.raises(NoseprintError, match=r"best\.safetensors is gone"):
        train(tmp_path, table, options(demo))


def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path, demo, table, capsys):
    chosen = options(demo, epochs=3)
    train(tmp_path / "whole", table, chosen)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as exited:
        train(tmp_path / "cut", table, chosen, loss=Interrupting(4))
    assert exited.value.code == 130
    assert "continues from there" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is before
    train(tmp_path / "cut", table, chosen)
    whole, cut = (load_file(tmp_path / run / "best.safetensors") for run in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    assert [r["auc"] for r in records(tmp_path / "cut")] == [r["auc"] for r in records(tmp_path / "whole")]


def test_a_finished_run_is_left_alone_and_restart_trains_again(tmp_path, demo, table, capsys):
    train(tmp_path, table, options(demo))
    before = (tmp_path / "best.safetensors").stat().st_mtime_ns
    train(tmp_path, table, options(demo))
    assert "already trained" in capsys.readouterr().out
    assert (tmp_path / "best.safetensors").stat().st_mtime_ns == before
    train(tmp_path, table, options(demo, restart=True))
    assert (tmp_path / "best.safetensors").stat().st_mtime_ns > before
    assert len(records(tmp_path)) == 3


def test_a_run_does_not_resume_with_other_settings_or_data(tmp_path, demo, table):
    train(tmp_path, table, options(demo))
    with pytest.raises(NoseprintError, match=r"lr was 0.001, is 0.002"):
        train(tmp_path, table, options(demo, lr=0.002))
    with pytest.raises(NoseprintError, match="training images was"):
        train(tmp_path, ImageTable(table.paths[:-1], table.identities[:-1]), options(demo))
    with pytest.raises(NoseprintError, match="training table was"):
        train(tmp_path, ImageTable(table.paths, table.identities[1:] + table.identities[:1]), options(demo))
    train(tmp_path, table, options(demo, workers=1))


def test_a_newly_broken_photograph_restarts_the_training_only_with_skip_bad(tmp_path, demo, table, capsys):
    copies = tmp_path / "copies"
    copies.mkdir()
    moved = ImageTable(tuple(Path(shutil.copy(p, copies / p.name)) for p in table.paths), table.identities)
    with pytest.raises(SystemExit):
        train(tmp_path / "out", moved, options(demo), loss=Interrupting(3))
    held_out = split_holdout(table.identities, share=0.2, seed=0)
    newly_broken = next(p for p, i in zip(moved.paths, moved.identities, strict=True) if i not in held_out)
    newly_broken.write_bytes(b"")
    with pytest.raises(NoseprintError, match=r"(?s)--skip-bad.*is empty"):
        train(tmp_path / "out", moved, options(demo))
    with pytest.raises(NoseprintError, match=r"lr was 0\.001"):
        train(tmp_path / "out", moved, options(demo, skip_bad=True, lr=0.002))
    train(tmp_path / "out", moved, options(demo, skip_bad=True))
    assert "starts again" in capsys.readouterr().out
    assert newly_broken.name in (tmp_path / "out" / "skipped.csv").read_text()


def test_a_signal_in_the_last_step_leaves_a_complete_training_and_the_message_says_so(tmp_path, demo, table, capsys):
    train(tmp_path / "whole", table, options(demo))
    steps = records(tmp_path / "whole")[-1]["step"]
    with pytest.raises(SystemExit) as exited:
        train(tmp_path / "cut", table, options(demo), loss=Interrupting(steps))
    assert exited.value.code == 130
    assert "trained to the end" in capsys.readouterr().out
    files = [tmp_path / name / "best.safetensors" for name in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_restart_deletes_the_older_state_at_once(tmp_path, demo, table):
    train(tmp_path, table, options(demo))

    def loss_that_fails(model, images, labels):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(tmp_path, table, options(demo, restart=True), loss=loss_that_fails)
    assert not (tmp_path / "last" / "state.pt").exists()


def test_a_full_disk_leaves_the_last_good_state_and_the_run_resumes_when_there_is_room(tmp_path, demo, table):
    """The kernel refuses files above a size: first the weights cannot be written, then the state."""
    train(tmp_path / "whole", table, options(demo))
    whole = (tmp_path / "whole" / "best.safetensors").read_bytes()
    results = tmp_path / "cut"
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for limit, refused in ((len(whole) // 2, "highest.safetensors"), (len(whole) + 1000, "state.pt")):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, former[1]))
            with pytest.raises(NoseprintError, match=rf"{refused}: cannot be written \(File too large\)"):
                train(results, table, options(demo))
            assert not list(results.rglob("*.part"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, handler)
    train(results, table, options(demo))
    assert (results / "best.safetensors").read_bytes() == whole


class ArcFaceHead(torch.nn.Module):
    """ArcFace over the training identities. It asks the process to stop at step `at`."""

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
        head = ArcFaceHead(len(set(table.identities)), at)
        start = head.arcface.W.detach().clone()
        with contextlib.suppress(SystemExit):
            train(results, table, options(demo, holdout=0), loss=head)
        return start, head.arcface.W.detach().clone()

    start, whole = run(tmp_path / "whole")
    assert not torch.equal(start, whole)
    assert not torch.equal(run(tmp_path / "cut", 3)[1], whole)
    assert torch.equal(run(tmp_path / "cut")[1], whole)


def test_options_that_shape_the_weights_must_not_change_at_a_resume(demo):
    names = set(vars(options(demo)))
    shaping = {"epochs", "batch_size", "lr", "seed", "holdout", "temperature", "optimizer", "schedule", "milestones"}
    assert names - FREE_TO_CHANGE >= shaping


def test_the_state_of_an_older_version_is_refused_with_a_message(tmp_path, demo, table):
    train(tmp_path, table, options(demo))
    path = tmp_path / "last" / "state.pt"
    state = torch.load(path, weights_only=True)
    del state["plan"], state["losses"]
    del state["settings"]["steps"], state["settings"]["minutes"]
    torch.save({**state, "best_score": 0.5}, path)
    with pytest.raises(NoseprintError, match=r"another version of noseprint \(it lacks losses, plan\).* --restart"):
        train(tmp_path, table, options(demo))
    train(tmp_path, table, options(demo, restart=True))
