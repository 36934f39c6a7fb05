"""Progress bars: with rate and time left on a terminal, none in a log."""

import os
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(items: Iterable[Any] | None = None, *, shown: bool = True, **options: Any) -> "tqdm[Any]":
    """A tqdm bar where standard error is a terminal, or where NOSEPRINT_PROGRESS=1 says that one is at its end.

    Of the processes that torchrun started only the first shows one.
    """
    forced = os.environ.get("NOSEPRINT_PROGRESS") == "1"
    shown = shown and os.environ.get("RANK", "0") == "0"
    return tqdm(items, disable=True if not shown else False if forced else None, **options)
