"""The python of the scripts: made once, redone when broken off, left alone when the environment has noseprint."""

import sys

import pytest

# A python3.11 whose venv makes another of its kind, and whose pip only writes down what it was asked.
FAKE = """#!/bin/sh
case "$*" in
  *ensurepip*) exit {old} ;;
  "-m venv"*)
    echo "$*" >>pip.log
    rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python; exit ;;
  "-m pip"*)
    echo "$*" >>pip.log
    if [ -e pip.fails ]; then echo "pip: no network" >&2; exit 1; fi; exit ;;
esac
PYTHONPATH={library} exec {python} -S -P "$@"
"""


@pytest.fixture
def fresh(checkout, tmp_path):
    """No environment: `python` is not on PATH and `python3.11` knows nothing of noseprint."""
    library = checkout.environment.pop("PYTHONPATH")
    (tmp_path / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    for version, old in (("3.11", 1), ("3.12", 0), ("3.13", 1), ("3", 1)):
        base = tmp_path / "bin" / f"python{version}"
        base.write_text(FAKE.format(old=old, library=library, python=sys.executable))
        base.chmod(0o755)
    (checkout.root / "requirements.txt").write_text("torch==1\n")
    (checkout.root / "pyproject.toml").write_text("[project]\n")
    return checkout


def pip(checkout):
    log = checkout.root / "pip.log"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return [line.replace("--disable-pip-version-check ", "") for line in lines]


MADE = ["-m venv --clear .venv"]
INSTALLED = [
    "-m pip install --require-hashes -r requirements.txt",
    "-m pip install --no-deps --no-build-isolation -e .",
]


def test_made_once_with_a_python_that_is_new_enough(fresh):
    out = fresh.ok("train.sh", "--to", "pseudo")
    assert "Making .venv with python3.12" in out
    assert "several GB" in out
    assert pip(fresh) == MADE + INSTALLED
    assert len(fresh.called()) == 2
    fresh.ok("train.sh")
    assert pip(fresh) == []


def test_redone_when_broken_off(fresh):
    (fresh.root / "pip.fails").touch()
    assert fresh.run("train.sh").returncode != 0
    assert fresh.called() == []
    (fresh.root / "pip.fails").unlink()
    pip(fresh)
    fresh.ok("train.sh", "--to", "pseudo")
    assert pip(fresh) == MADE + INSTALLED


def test_brought_up_to_date_in_place_also_when_it_is_activated(fresh):
    fresh.ok("train.sh", "--to", "pseudo")
    pip(fresh)
    (fresh.root / "requirements.txt").write_text("torch==2\n")
    path = f"{fresh.root}/.venv/bin:{fresh.environment['PATH']}"
    fresh.environment["PATH"] = f"{fresh.environment['PATH'].split(':')[0]}:{path}"
    fresh.ok("train.sh", "--to", "pseudo")
    assert pip(fresh) == INSTALLED


def test_dry_run_installs_nothing(fresh):
    before = fresh.files()
    out = fresh.ok("train.sh", "--dry-run")
    assert ".venv" in out
    assert "b7ns_stage2/train.py" in out
    assert fresh.files() == before


def test_no_python_new_enough(fresh, tmp_path):
    (tmp_path / "bin" / "python3.12").write_text("#!/bin/sh\nexit 1\n")
    result = fresh.run("train.sh")
    assert result.returncode == 1
    assert "no Python 3.11 or newer" in result.stderr
    assert not (fresh.root / ".venv").exists()


def test_environment_that_has_noseprint_is_used(checkout):
    checkout.ok("train.sh", "--to", "pseudo")
    assert not (checkout.root / ".venv").exists()
