import os
import signal
import subprocess
import sys

import pytest

from noseprint.command_line import friendly_errors


def python(code):
    start = "from noseprint.command_line import friendly_errors\nimport os, signal, sys, time\n"
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_cleans_up_prints_one_line_and_exits_with_its_status(name, status):
    done = python(f"""
signal.signal(signal.SIGINT, signal.default_int_handler)  # the caller of the tests may ignore SIGINT
with friendly_errors():
    try:
        os.kill(os.getpid(), signal.{name})
        time.sleep(20)
    finally:
        print("cleaned up")
""")
    assert done.returncode == status
    assert done.stdout == "cleaned up\n"
    assert done.stderr == "interrupted: finished files are kept, and no file is left half-written\n"


def test_the_previous_signal_handler_is_restored():
    before = signal.getsignal(signal.SIGTERM)
    with friendly_errors():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_closed_pipe_is_not_an_error():
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$0" -c "$1" | head -1', sys.executable, """
from noseprint.command_line import friendly_errors
with friendly_errors():
    for number in range(100000):
        print(number)
"""],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert done.returncode == 141


def test_an_os_error_is_one_line():
    done = python("with friendly_errors():\n    open('/no/such/file')")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_character_that_the_terminal_lacks_is_escaped(encoding, stream):
    done = subprocess.run(
        [sys.executable, "-c", f"""
import sys
from noseprint.command_line import friendly_errors
with friendly_errors():
    print("\\u72ac.jpg \\udcff", file=sys.{stream})
"""],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert (done.returncode, getattr(done, stream)) == (0, "\\u72ac.jpg \\udcff\n")


@pytest.mark.parametrize("out", ["-", "/dev/stdout"])
def test_prose_goes_to_standard_error_where_the_data_go_to_standard_output(out, tmp_path):
    done = python(f"""
from dataclasses import dataclass
from pathlib import Path
from noseprint.command_line import run
from noseprint.files import atomic_write

@dataclass
class Options:
    out: Path = Path({out!r})

def main(options):
    print("prose")
    with atomic_write(options.out) as part:
        part.write_text("data")

run(main, full=Options(), small=Options())
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "data", "prose\n")


def test_too_long_a_name_of_an_output_is_told_with_the_way_to_fix_it():
    done = python(f"""
from dataclasses import dataclass
from pathlib import Path
from noseprint.command_line import run
from noseprint.files import check_output

@dataclass
class Options:
    out: Path = Path({"a" * 300 + ".csv"!r})

run(lambda options: check_output(options.out, suffix=".csv", inputs=[]), full=Options(), small=Options())
""")
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot be written (File name too long): choose a shorter name" in done.stderr


WRONG_OPTIONS = """
from dataclasses import dataclass
from typing import Literal
import tyro
from noseprint.command_line import run

@dataclass
class Options:
    name: str
    '''The name of the whole, which is explained at such length that the text goes on and on over several lines.'''
    epochs: int | None = None
    '''How long.'''
    rate: float = 0.1
    how: Literal["a", "b"] = "a"

run(print, full=Options(tyro.MISSING), small=Options(tyro.MISSING))
"""


@pytest.mark.parametrize(
    ("options", "problem", "terminal"),
    [
        ("--epochs x", "--epochs x: give {None}|INT", {}),
        ("--epochs x", "--epochs x: give {None}|INT", {"COLUMNS": "40", "PYTHONIOENCODING": "ascii"}),
        ("--rate fast", "--rate fast: give FLOAT", {"FORCE_COLOR": "1"}),
        ("--rate", "Missing value for argument '--rate'. Expected 1 values", {}),
        ("--how no", "invalid choice 'no' for argument '--how'. Expected one of ('a', 'b')", {}),
        ("--epochz 3", "Unrecognized options: --epochz, 3. Perhaps you meant: --epochs {None}|INT", {"COLUMNS": "40"}),
        ("", "Missing from train.py: --name STR", {}),
    ],
)
def test_a_wrong_option_is_refused_in_one_plain_line(tmp_path, options, problem, terminal):
    (tmp_path / "train.py").write_text(WRONG_OPTIONS)
    command = [sys.executable, "train.py", *(["--name", "n"] if options else []), *options.split()]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env={**os.environ, **terminal}
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {problem}; train.py --help lists the options\n"
