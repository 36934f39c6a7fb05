"""The command `noseprint` in this process: to load torch anew would take most of the time."""

import io
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

from noseprint.cli import main


def noseprint(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command; its output and messages are kept as of a process of its own."""
    words = ["noseprint", *map(str, arguments)]
    before, out, err, status = sys.argv, io.StringIO(), io.StringIO(), 0
    sys.argv = words
    try:
        with chdir(cwd or Path.cwd()), redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as stop:
        status = int(stop.code or 0)
    finally:
        sys.argv = before
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())
