import signal
import subprocess
import sys

import pytest

from noseprint.command_line import friendly_errors


def python(code, **more):
    start = "from noseprint.command_line import friendly_errors\nimport os, signal, sys, time\n"
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, timeout=60, **more)


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_leaves_with_its_status_a_word_and_what_was_begun_tidied_up(name, status):
    done = python(f"""
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored
with friendly_errors():
    try:
        os.kill(os.getpid(), signal.{name})
        time.sleep(20)
    finally:
        print("tidied")
""")
    assert done.returncode == status
    assert done.stdout == "tidied\n"
    assert done.stderr == "interrupted: files that were finished are kept, none is left half-written\n"


def test_the_former_handler_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    with friendly_errors():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_reader_that_has_gone_is_no_error():
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


def test_what_the_system_refuses_is_one_line():
    done = python("with friendly_errors():\n    open('/no/such/file')")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
