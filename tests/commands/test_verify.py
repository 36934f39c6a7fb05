import json
import subprocess
import sys

import cv2

from noseprint.data.decoding import decode

from ..in_process import noseprint


def test_verify_prints_json_and_writes_a_picture(campaign, tmp_path):
    a, b = sorted((campaign.data / "test" / "images").iterdir())[:2]
    picture = tmp_path / "both.png"
    done = noseprint("verify", a, b, "--small", "--root", campaign.root, "--json", "--picture", picture)
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert list(verdict) == [
        *("format", "noseprint", "photographs", "decision", "reasons", "similarity", "probability", "prior"),
        *("calibration", "fmr", "caution", "different_below", "same_from", "members"),
    ]
    assert "held-out identities, which are few" in verdict["caution"]
    assert list(verdict["members"][0]) == ["name", "fingerprint", "similarity", "probability"]
    assert decode(picture).shape[1] == 1008


def test_verify_prints_text(campaign):
    a, *_ = sorted((campaign.data / "test" / "images").iterdir())
    done = noseprint("verify", a, a, "--verifier", campaign.path)
    assert done.returncode == 0, done.stderr
    assert "both are the same photograph" in done.stdout.splitlines()[0] or "cannot tell" in done.stdout


def test_a_picture_never_overwrites_a_photograph(campaign, tmp_path):
    a, b = sorted((campaign.data / "test" / "images").iterdir())[:2]
    png = tmp_path / "a.png"
    cv2.imwrite(str(png), decode(a))
    before = png.read_bytes()
    done = noseprint("verify", png, b, "--root", campaign.root, "--small", "--picture", png)
    assert (done.returncode, png.read_bytes()) == (1, before)
    assert "--picture" in done.stderr


def test_mistakes_are_reported_before_torch_is_loaded(campaign, tmp_path):
    code = """
import io, json, sys
from contextlib import redirect_stderr
from noseprint.cli import main
told = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["noseprint", "verify", *arguments]
    with redirect_stderr(io.StringIO()) as said:
        try:
            main()
        except SystemExit as stop:
            told.append([stop.code, said.getvalue()])
print(json.dumps([told, [name for name in ("torch", "openvino", "albumentations") if name in sys.modules]]))
"""
    a, b = sorted((campaign.data / "test" / "images").iterdir())[:2]
    other = tmp_path / "other.json"
    other.write_text("{}")
    (tmp_path / "empty.jpg").touch()
    mistakes = (
        ((a, b, "--small"), f"{tmp_path / 'results' / 'small' / 'verifier.json'}: no such verifier"),
        ((a, b), "--verifier FILE"),
        ((a, b, "--run", "other", "--small"), "leave one out"),
        ((a, b, "--verifier", other), "not a verifier (members: Field required)"),
        ((a, "gone.jpg", "--verifier", campaign.path), "gone.jpg: no such photograph"),
        ((tmp_path / "empty.jpg", b, "--verifier", campaign.path), "empty.jpg: is empty"),
        ((a, b, "--prior", "1"), "--prior 1: must lie between 0 and 1"),
        ((a, b, "--fmr", "0"), "--fmr 0: must lie between 0 and 1"),
        ((a, b, "--verifier", campaign.path, "--picture", tmp_path / "a.jpg"), "a file name that ends in .png"),
    )
    arguments = json.dumps([[str(one) for one in arguments] for arguments, _ in mistakes])
    command = [sys.executable, "-c", code, arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=True)
    told, loaded = json.loads(done.stdout)
    assert loaded == []
    for (status, said), (_, message) in zip(told, mistakes, strict=True):
        assert status == 1
        assert message in said
        assert len(said.splitlines()) == 1


def test_a_rate_that_the_hold_out_does_not_support_is_refused(campaign):
    a, b = sorted((campaign.data / "test" / "images").iterdir())[:2]
    done = noseprint("verify", a, b, "--verifier", campaign.path, "--fmr", "0.00001")
    assert done.returncode == 1
    assert "does not support a false match rate of 1e-05, which needs" in done.stderr
    assert "Traceback" not in done.stderr
