"""The command line: options from a typed dataclass, and errors as one message without a traceback."""

import hashlib
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from io import StringIO, TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Literal, TypeAlias, TypeVar

import tyro

from noseprint.errors import NoseprintError
from noseprint.files import STDOUT, stream_of

T = TypeVar("T")
Engine: TypeAlias = Literal["auto", "torch", "openvino"]
"""The software that runs a network: see `noseprint.models.embed.embedder`."""
_INTERRUPTED = "interrupted: finished files are kept, and no file is left half-written"


def run(main: Callable[[T], None], *, full: T, small: T) -> None:
    """Parse the command line into options and call `main` with them.

    full: the default options; small: the default options with `--small`. `--help` lists them below the docstring of the
    module that defines `main`. An unknown option exits with status 2; a NoseprintError is printed and exits with status
    1. Of the processes that torchrun starts on one machine, only the first prints help and wrong options.
    NOSEPRINT_CHECK_OPTIONS=1 in the environment: only refuse wrong options; `main` is not called.
    """
    default = small if "--small" in sys.argv[1:] else full
    with friendly_errors():
        is_first = os.environ.get("LOCAL_RANK", "0") == "0"
        description = getattr(main, "__globals__", {}).get("__doc__")
        with plain_refusals():
            options = tyro.cli(type(default), default=default, console_outputs=is_first, description=description)
        if os.environ.get("NOSEPRINT_CHECK_OPTIONS") == "1":
            return
        with keep_stdout_for_data(options):
            main(options)


@contextmanager
def plain_refusals() -> Iterator[None]:
    """Print in one line why tyro refuses the command line, which it draws as a box over many lines."""
    said = StringIO()
    try:
        with redirect_stderr(said):
            yield
    finally:
        if said.getvalue():
            _print_error(_one_line(said.getvalue()))


def _one_line(box: str) -> str:
    """The message in a box of tyro; `box` itself if it is none.

    Its parts, with rules between them, are the fault, perhaps advice or the help of the option, and the command for
    help. Below a line of text, options are indented by 4, and their help by more.
    """
    rows = re.findall(r"^(?:│ |  )(.*?) *│?$", re.sub(r"\x1b\[[\d;]*m", "", box), re.MULTILINE)
    fault, *others = re.split(r"^[─-]+\n", "\n".join(rows), flags=re.MULTILINE)
    last = " ".join(others[-1].split()) if others else ""
    ending = re.fullmatch(r"For full helptext, (?:run:?|see) (.*) --help", last)
    if ending is None:
        return box.rstrip()
    option = re.match(r"Argument helptext:\n +(\S+) (.*)", others[0])
    value = re.search(r"'(.*?)'", fault)
    if option and value:
        message = f"{option[1]} {value[1]}: give {option[2]}"
    else:
        parts = (re.sub(r"^ {5}.*", "", part, flags=re.MULTILINE) for part in (fault, *others[:-1]))
        message = ". ".join(" ".join(part.split()).rstrip(".") for part in parts)
    return f"error: {message}; {ending[1]} --help lists the options"


def check_run_name(run: str) -> None:
    """Raise NoseprintError unless `run` is a plain folder name that results/ does not use itself."""
    if Path(run).name != run or run in ("..", "last", "tensorboard") or len(run) > 100:
        raise NoseprintError(f"--run {run!r}: give a plain name; it becomes a folder inside results/")


def check_workers(workers: int | None) -> None:
    """Raise NoseprintError unless the number of loader processes is None or 0..256."""
    if workers is not None and not 0 <= workers <= 256:
        raise NoseprintError(f"--workers {workers}: must be in 0..256")


@contextmanager
def keep_stdout_for_data(options: object) -> Iterator[None]:
    """Print messages to standard error if a field of `options` is a path that leads to standard output."""
    paths = [value for value in vars(options).values() if isinstance(value, Path)]
    with redirect_stdout(sys.stderr) if any(map(_is_stdout, paths)) else nullcontext():
        yield


def _is_stdout(path: Path) -> bool:
    try:
        return stream_of(path) == STDOUT
    except OSError:  # such as too long a name: who opens it says what it is for, and how to fix it
        return False


class friendly_errors:  # noqa: N801 - reads as a statement
    """Print a NoseprintError or an OSError as one message without a traceback, and exit with status 1.

    SIGTERM raises SystemExit, so that half-written files are removed. Printing never fails: a character that the
    terminal cannot show is printed as Python escapes it.
    """

    def __enter__(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        self._previous_handler = signal.signal(signal.SIGTERM, self._terminate)

    def _terminate(self, number: int, _: FrameType | None) -> None:
        _print_error(_INTERRUPTED)
        raise SystemExit(128 + number)

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        signal.signal(signal.SIGTERM, self._previous_handler)
        if isinstance(error, BrokenPipeError):  # `| head` has closed the pipe: there is nobody to print an error for
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(128 + signal.SIGPIPE) from None
        if isinstance(error, NoseprintError | OSError):
            _print_error(f"error: {error}")
            raise SystemExit(1) from None
        if isinstance(error, KeyboardInterrupt):
            _print_error(_INTERRUPTED)
            raise SystemExit(130) from None


def _print_error(message: str) -> None:
    """Print to standard error, unless another process of the same torchrun has printed the same message."""
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):  # ATTEMPT/RANK/error.json in a temporary folder of torchrun
        printed = Path(file).parents[1] / hashlib.sha256(message.encode(errors="replace")).hexdigest()
        try:
            printed.touch(exist_ok=False)
        except FileExistsError:
            return
        except OSError:
            pass  # printing it twice is better than not at all
    print(message, file=sys.stderr, flush=True)
