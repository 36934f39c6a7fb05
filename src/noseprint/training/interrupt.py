"""Stopping on request: Ctrl-C and SIGTERM take effect between two steps."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from noseprint.errors import NoseprintError


class Interrupted(SystemExit):
    """Prints why, and ends the program with the shell's status for the signal: 130 for Ctrl-C, 143 for SIGTERM."""

    def __init__(self, number: int | None, saved: str) -> None:
        print(f"interrupted: {saved}; the same command (without --restart) continues from there", flush=True)
        super().__init__(128 + (number or signal.SIGTERM))


@dataclass
class Stop:
    """The signal that asked to stop; None until one does."""

    signal: int | None = None


@contextmanager
def stop_requested() -> Iterator[Stop]:
    """Record SIGINT and SIGTERM instead of ending at once; a second one ends at once."""
    stop = Stop()
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _: FrameType | None) -> None:
        stop.signal = number
        print("stopping after this step; a second signal stops at once", file=sys.stderr, flush=True)
        signal.signal(number, former[signal.Signals(number)])

    for number in former:
        signal.signal(number, note)
    try:
        yield stop
    except NoseprintError as error:  # most likely from a loader worker that was also asked to stop
        if stop.signal is None:
            raise
        raise Interrupted(stop.signal, f"the last save is kept ({error})") from None
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
