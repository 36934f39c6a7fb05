"""Options of a program: a typed dataclass on the command line, errors as one message."""

import hashlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Literal, TypeAlias, TypeVar

import tyro

from noseprint.errors import NoseprintError

T = TypeVar("T")
Engine: TypeAlias = Literal["auto", "torch", "openvino"]
"""What runs a network: see `noseprint.models.embed.embedder`."""
_INTERRUPTED = "interrupted: files that were finished are kept, none is left half-written"


def run(main: Callable[[T], None], *, full: T, small: T) -> None:
    """Parse the command line into options and call `main` with them.

    full: the defaults; small: the defaults that `--small` puts in their place. `--help` shows each with its default,
    below the docstring of the module that `main` stands in.
    An unknown option exits with 2, a NoseprintError is printed and exits with 1; of the processes that torchrun started
    on a machine only one prints what all have to say.
    """
    default = small if "--small" in sys.argv[1:] else full
    with friendly_errors():
        first = os.environ.get("LOCAL_RANK", "0") == "0"
        description = main.__globals__.get("__doc__")
        main(tyro.cli(type(default), default=default, console_outputs=first, description=description))


def check_run_name(run: str) -> None:
    """Refuse a name of a run that is no plain folder name, or one that results/ uses itself."""
    if Path(run).name != run or run in ("..", "last", "tensorboard") or len(run) > 100:
        raise NoseprintError(f"--run {run!r}: must be a plain name, it becomes a folder inside results/")


def check_workers(workers: int | None) -> None:
    """Refuse a number of loader processes that cannot be."""
    if workers is not None and not 0 <= workers <= 256:
        raise NoseprintError(f"--workers {workers}: must be in 0..256")


class friendly_errors:  # noqa: N801 - reads as a statement
    """Print a NoseprintError, or what the system refused, as one message without a traceback, and exit with 1.

    SIGTERM, too, leaves by an exception, so that what is half-written is removed.
    """

    def __enter__(self) -> None:
        self._former = signal.signal(signal.SIGTERM, self._terminate)

    def _terminate(self, number: int, _: FrameType | None) -> None:
        _tell(_INTERRUPTED)
        raise SystemExit(128 + number)

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        signal.signal(signal.SIGTERM, self._former)
        if isinstance(error, BrokenPipeError):  # `| head`: nobody is left to tell
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(128 + signal.SIGPIPE) from None
        if isinstance(error, NoseprintError | OSError):
            _tell(f"error: {error}")
            raise SystemExit(1) from None
        if isinstance(error, KeyboardInterrupt):
            _tell(_INTERRUPTED)
            raise SystemExit(130) from None


def _tell(message: str) -> None:
    """Print to standard error, unless another process that the same torchrun started has said just that."""
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):  # ATTEMPT/RANK/error.json, in a scratch folder of torchrun's
        said = Path(file).parents[1] / hashlib.sha256(message.encode(errors="replace")).hexdigest()
        try:
            said.touch(exist_ok=False)
        except FileExistsError:
            return
        except OSError:
            pass  # better twice than never
    print(message, file=sys.stderr, flush=True)
