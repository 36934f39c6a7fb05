import pytest
import torch
from safetensors.torch import load_file

from noseprint.errors import NoseprintError
from noseprint.models.weights import load_network, save_weights
from noseprint.training.averaging import average_weights
from noseprint.training.plan import Plan

from .tiny import Interrupting, network, options, train


@pytest.mark.parametrize(
    ("steps", "snapshots", "warmup", "expected"),
    [
        (12, 4, 0.0, [3, 6, 9, 12]),
        (10, 3, 0.0, [4, 7, 10]),
        (20, 3, 0.25, [10, 15, 20]),
        (5, 0, 0.0, []),
        (2, 2, 0, [1, 2]),
    ],
)
def test_snapshots_are_due_at_the_ends_of_equal_stretches(steps, snapshots, warmup, expected):
    plan = Plan(options(steps=steps, epochs=None, snapshots=snapshots, warmup=warmup), epoch_steps=5)
    due = [(step, plan.snapshot_after(step)) for step in range(1, steps + 1)]
    assert [(step, number) for step, number in due if number] == [(s, n) for n, s in enumerate(expected, 1)]


def test_snapshots_need_a_fixed_length():
    for changes in ({"epochs": None}, {"minutes": 1.0}):
        with pytest.raises(NoseprintError, match="--snapshots 2: the training must have a fixed length"):
            options(snapshots=2, **changes)
    with pytest.raises(NoseprintError, match="0 or more"):
        options(snapshots=-1)


def test_a_resumed_training_leaves_the_same_snapshots_and_only_its_own(tmp_path, demo, table):
    chosen = options(demo, epochs=3, snapshots=3, warmup=0)
    train(tmp_path / "whole", table, chosen)
    older = tmp_path / "cut" / "snapshots" / "7.safetensors"
    older.parent.mkdir(parents=True)
    older.write_bytes(b"of an earlier training")
    with pytest.raises(SystemExit):
        train(tmp_path / "cut", table, chosen, loss=Interrupting(4))
    train(tmp_path / "cut", table, chosen)
    whole, cut = (sorted((tmp_path / name / "snapshots").iterdir()) for name in ("whole", "cut"))
    assert [path.name for path in whole] == [path.name for path in cut] == [f"{n}.safetensors" for n in (1, 2, 3)]
    assert [path.read_bytes() for path in whole] == [path.read_bytes() for path in cut]
    assert len({path.read_bytes() for path in whole}) == 3
    assert load_network(whole[0]).embedding_size


def test_the_average_is_the_mean_of_every_weight(tmp_path):
    files, states = [], []
    for seed in range(3):
        net = network()
        torch.manual_seed(seed)
        with torch.no_grad():
            for tensor in net.state_dict().values():
                if tensor.is_floating_point():
                    tensor.add_(torch.rand_like(tensor))
        files.append(tmp_path / f"{seed}.safetensors")
        save_weights(files[-1], net, extra={})
        states.append(load_file(files[-1]))
    mean = network()
    average_weights(mean, files)
    for key, tensor in mean.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, torch.stack([state[key] for state in states]).mean(0))
    average_weights(mean, files[:1])
    assert all(torch.equal(tensor, states[0][key]) for key, tensor in mean.state_dict().items())


def test_weights_of_another_network_are_refused(tmp_path):
    net = network()
    save_weights(tmp_path / "a.safetensors", net, extra={})
    other = type(net)(net.backbone_name, image_size=32, dim=8, pretrained=False)
    with pytest.raises(NoseprintError, match=r"a\.safetensors: does not fit"):
        average_weights(other, [tmp_path / "a.safetensors"])
    with pytest.raises(NoseprintError, match="no weights"):
        average_weights(net, [])
