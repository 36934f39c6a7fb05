import shutil

from ..in_process import noseprint


def calibrate(*arguments):
    return noseprint("calibrate", *arguments)


def test_it_writes_the_verifier_and_prints_a_summary(campaign, tmp_path):
    root = shutil.copytree(campaign.root, tmp_path / "root")
    written = root / "results" / "small" / "verifier.json"
    written.unlink()
    options = ("--small", "--root", root, "--data", root / "data", "--members", "one", "two")
    done = calibrate(*options, "--device", "cpu", "--engine", "torch")
    assert done.returncode == 0, done.stderr
    assert written.read_bytes() == campaign.path.read_bytes()
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names.index("one") < names.index("two") < names.index("ensemble")
    assert "caution: made from 5 held-out identities" in done.stdout
    assert "no thresholds for 0.01 and 0.001: the hold-out does not support a false match rate of 0.01" in done.stdout


def test_where_possible_prints_why_there_is_no_verifier(campaign, tmp_path, write_weights):
    weights = tmp_path / "one" / "results" / "best.safetensors"
    write_weights(weights, training='{"holdout": 0}')
    options = ("--root", tmp_path, "--data", campaign.data, "--members", "one")
    done = calibrate(*options)
    assert (done.returncode, "trained on all identities" in done.stderr) == (1, True)
    done = calibrate(*options, "--where-possible")
    assert done.returncode == 0, done.stderr
    assert "No verifier is made" in done.stdout
    write_weights(weights, data=campaign.data)
    done = calibrate("--root", tmp_path, "--data", campaign.data / "test", "--members", "one", "--where-possible")
    assert (done.returncode, "has no training photographs" in done.stdout) == (0, True)
    assert not (tmp_path / "results").exists()
