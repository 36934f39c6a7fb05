import json
import pickle

import pytest
import torch

from noseprint.errors import NoseprintError
from noseprint.training.checkpoints import MetricsLog, load_state, require_same, save_state


def test_a_state_comes_back_as_it_was(tmp_path):
    assert load_state(tmp_path / "last") is None
    state = {"step": 3, "weights": {"a": torch.arange(4.0)}, "best": {"auc": 0.1}, "settings": {"lr": "1e-3"}}
    save_state(tmp_path / "last", state)
    found = load_state(tmp_path / "last")
    assert torch.equal(found["weights"].pop("a"), state["weights"].pop("a"))
    assert found == state
    assert [path.name for path in (tmp_path / "last").iterdir()] == ["state.pt"]


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_state_with_code_is_refused_and_leaves_no_trace(tmp_path):
    trace = tmp_path / "trace"
    (tmp_path / "state.pt").write_bytes(pickle.dumps(Payload(trace)))
    with pytest.raises(NoseprintError, match="--restart"):
        load_state(tmp_path)
    assert not trace.exists()
    pickle.loads((tmp_path / "state.pt").read_bytes())  # the payload is live
    assert trace.exists()


@pytest.mark.parametrize(
    "content", [b"", b"<html>sign in</html>", b"PK\x03\x04", bytes(1000), pickle.dumps({}, 2)[:-1]]
)
def test_a_file_that_is_not_a_state_is_refused(tmp_path, content):
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(NoseprintError, match="--restart"):
        load_state(tmp_path)


def test_changed_settings_are_named(tmp_path):
    require_same({"lr": "1"}, {"lr": "1"}, where=tmp_path)
    with pytest.raises(NoseprintError, match="lr was 1, is 2; seed was None, is 3"):
        require_same({"lr": "1"}, {"lr": "2", "seed": "3"}, where=tmp_path)


def test_the_log_drops_the_records_after_the_resumed_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, resume_step=0)
    for step in (10, 20, 30):
        log.write({"step": step})
    with path.open("a") as file:
        file.write('{"step": 4')  # cut off by a crash
    log = MetricsLog(path, resume_step=20)
    log.write({"step": 25})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [10, 20, 25]
    MetricsLog(path, resume_step=0)
    assert path.read_text() == ""
