"""Options of a program: a typed dataclass on the command line, errors as one message."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TypeVar

import tyro

from noseprint.errors import NoseprintError

T = TypeVar("T")
_INTERRUPTED = "interrupted: what is finished is kept; the same command goes on from there"


def run(main: Callable[[T], None], *, full: T, small: T) -> None:
    """Parse the command line into options and call `main` with them.

    full: the defaults; small: the defaults that `--small` puts in their place. `--help` shows each with its default.
    An unknown option exits with 2, a NoseprintError is printed and exits with 1.
    """
    default = small if "--small" in sys.argv[1:] else full
    with speaking():
        main(tyro.cli(type(default), default=default))


def check_run_name(run: str) -> None:
    """Refuse a name of a run that is no plain folder name, or one that results/ uses itself."""
    if Path(run).name != run or run in ("..", "last", "tensorboard") or len(run) > 100:
        raise NoseprintError(f"--run {run!r}: must be a plain name, it becomes a folder inside results/")


class speaking:  # noqa: N801 - reads as a statement
    """Print a NoseprintError, or what the system refused, as one message without a traceback, and exit with 1.

    SIGTERM, too, leaves by an exception, so that what is half-written is removed.
    """

    def __enter__(self) -> None:
        self._former = signal.signal(signal.SIGTERM, self._terminate)

    def _terminate(self, number: int, _: FrameType | None) -> None:
        print(_INTERRUPTED, file=sys.stderr)
        raise SystemExit(128 + number)

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        signal.signal(signal.SIGTERM, self._former)
        if isinstance(error, BrokenPipeError):  # `| head`: nobody is left to tell
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(128 + signal.SIGPIPE) from None
        if isinstance(error, NoseprintError):
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from None
        if isinstance(error, OSError):
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from None
        if isinstance(error, KeyboardInterrupt):
            print(_INTERRUPTED, file=sys.stderr)
            raise SystemExit(130) from None
