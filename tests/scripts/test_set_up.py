"""The scripts' python: made once, repeated if interrupted, left alone when the environment has noseprint."""

import sys

import pytest

# A python3.x whose venv copies itself, and whose pip only writes down its arguments.
FAKE = """#!/bin/sh
case "$*" in
  *ensurepip*) exit {too_old} ;;
  "-m venv"*)
    echo "$*" >>pip.log
    rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python; exit ;;
  "-m pip"*)
    echo "$*" >>pip.log
    if [ -e pip.fails ]; then echo "pip: no network" >&2; exit 1; fi; exit ;;
esac
PYTHONPATH={library} exec {python} -S -P "$@"
"""
MADE = ["-m venv --clear .venv"]
INSTALLED = [
    "-m pip install --require-hashes -r requirements.txt",
    "-m pip install --no-deps --no-build-isolation -e .",
]


@pytest.fixture
def fresh(checkout, toy, tmp_path):
    """No environment: `python` does not work, and of the other pythons only python3.12 is new enough."""
    library = checkout.environment.pop("PYTHONPATH")
    (tmp_path / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    for version, too_old in (("3.11", 1), ("3.12", 0), ("3.13", 1), ("3", 1)):
        base = tmp_path / "bin" / f"python{version}"
        base.write_text(FAKE.format(too_old=too_old, library=library, python=sys.executable))
        base.chmod(0o755)
    (checkout.root / "requirements.txt").write_text("torch==1\n")
    (checkout.root / "pyproject.toml").write_text("[project]\n")
    return checkout


def pip(checkout):
    """The commands given to venv and pip since this was last called."""
    log = checkout.root / "pip.log"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return [line.replace("--disable-pip-version-check ", "") for line in lines]


def test_the_environment_is_made_once_for_all_families_with_a_new_enough_python(fresh):
    out = fresh.ok("recipes/toy/train.sh", "--to", "teacher")
    assert "Making .venv with python3.12" in out
    assert "several GB" in out
    assert pip(fresh) == MADE + INSTALLED
    assert (fresh.root / "recipes/toy/teacher/results/train.done").is_file()
    fresh.ok("train.sh", "--to", "pseudo")
    assert pip(fresh) == []
    assert len(fresh.called()) == 2


def test_the_set_up_is_repeated_after_an_interruption(fresh):
    (fresh.root / "pip.fails").touch()
    assert fresh.run("train.sh", "--to", "pseudo").returncode != 0
    assert fresh.called() == []
    (fresh.root / "pip.fails").unlink()
    pip(fresh)
    fresh.ok("train.sh", "--to", "pseudo")
    assert pip(fresh) == MADE + INSTALLED


def test_the_environment_is_updated_in_place_even_if_it_is_activated(fresh):
    fresh.ok("train.sh", "--to", "pseudo")
    pip(fresh)
    (fresh.root / "requirements.txt").write_text("torch==2\n")
    bin_folder, _, rest = fresh.environment["PATH"].partition(":")
    fresh.environment["PATH"] = f"{bin_folder}:{fresh.root}/.venv/bin:{rest}"
    fresh.ok("train.sh", "--to", "pseudo")
    assert pip(fresh) == INSTALLED


def test_a_dry_run_installs_nothing(fresh):
    before = fresh.files()
    out = fresh.ok("train.sh", "--dry-run")
    assert ".venv" in out
    assert "b7ns_stage2/train.py" in out
    assert fresh.files() == before


def test_a_message_says_that_no_python_is_new_enough(fresh, tmp_path):
    (tmp_path / "bin" / "python3.12").write_text("#!/bin/sh\nexit 1\n")
    assert "no Python 3.11 or newer" in fresh.fails("train.sh")
    assert not (fresh.root / ".venv").exists()


def test_an_environment_that_has_noseprint_is_used(toy):
    toy.ok("train.sh", "--to", "teacher")
    assert not (toy.root.parents[1] / ".venv").exists()
