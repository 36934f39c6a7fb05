"""Progress bars for long work."""

import os
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(items: Iterable[Any] | None = None, *, shown: bool = True, **options: Any) -> "tqdm[Any]":
    """Return a tqdm bar, with rate and time left, which is shown on a terminal and not in a log.

    NOSEPRINT_PROGRESS=1 shows it in any case: the shell scripts set it when they pass standard error on to a terminal.
    Of the processes that torchrun started, only the first shows a bar.
    """
    forced = os.environ.get("NOSEPRINT_PROGRESS") == "1"
    shown = shown and os.environ.get("RANK", "0") == "0"
    return tqdm(items, disable=True if not shown else False if forced else None, **options)
