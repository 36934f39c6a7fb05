"""Fetches the images of a list from the web into a data folder: politely, and without losing any.

A rerun fetches only what is not there. A host gets at most a few connections and a few requests a second; one that
answers 429 or 503 is left alone for as long as it asks. A failure that may pass is retried after a pause that doubles
each time, with jitter ("full jitter", Brooker 2015, AWS Architecture Blog).
"""

import asyncio
import random
import signal
import sys
import threading
import time
import urllib.request
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import httpx2
from tqdm import tqdm

from noseprint.data.class_folders import ClassSplit
from noseprint.errors import DataError, NoseprintError, printable
from noseprint.files import friendly_write_errors, scratch_folder
from noseprint.importing.fetch_image import NOT_TRIED, FetchError, fetch_image, is_final, may_pass
from noseprint.importing.fetch_list import Entry, read_lists
from noseprint.importing.fetch_log import FetchLog, Key, Missing, Record, read_missing, write_missing
from noseprint.importing.fetch_network import web_client
from noseprint.importing.fetch_options import FetchOptions
from noseprint.lock import lock
from noseprint.progress import progress

MAX_CONNECTIONS = 64  # to all hosts
TRIES = 4
FIRST_PAUSE = 1.0  # seconds, at most, between the first two tries of an image
MOST_ASKED = 3600.0  # seconds for which a host may ask to be left alone
_WAITING = 2000  # images that are waiting or being fetched: bounds the memory
_LINE_EVERY = 60.0  # seconds between two lines of a log
_SHOWN, _SHOWN_FAULTS = 8, 100  # reasons in the summary; faults of lists in the message


def fetch(options: FetchOptions) -> str:
    """Fetch what the lists name and the data folder does not hold; return a summary.

    DATA/train/CLASS/ID.jpg, DATA/val/CLASS/ID.jpg and DATA/test/ID.jpg are written, with the ending of the image's
    content. DATA/fetched.csv is id,split,file,bytes,sha256,url and DATA/missing.csv id,split,url,reason; both are
    written when the work ends, even by an interruption. After a kill at any time, the same command ends with the same
    bytes.
    Raises NoseprintError with every fault of the lists, if another run uses the folder, if the disk
    refuses, and if not one image is there at the end.
    """
    named: dict[ClassSplit, Path | None] = {"train": options.train, "val": options.val, "test": options.test}
    lists = {split: path for split, path in named.items() if path is not None}
    try:
        entries = read_lists(lists)
    except DataError as error:
        lines = [printable(fault) for fault in error.faults[:_SHOWN_FAULTS]]
        more = [f"and {len(error.faults) - _SHOWN_FAULTS} more faults"] * (len(error.faults) > _SHOWN_FAULTS)
        raise NoseprintError("\n".join([*lines, *more])) from None
    uses_proxy = options.allow_private or options.offline
    if not uses_proxy and (proxies := urllib.request.getproxies().keys() - {"no"}):
        print(f"proxies ({', '.join(sorted(proxies))}) are only used with --allow-private", file=sys.stderr)
    data = options.data
    with lock(data), friendly_write_errors(data), scratch_folder(data / "fetched") as scratch:
        log, former = FetchLog(data), read_missing(data)
        reasons = _reasons(entries, log, data, {} if options.again else former)
        todo = [e for e in entries if not is_final(reasons.get((e.split, e.id), "is there"))]
        final = len(reasons) - len(todo)
        try:
            bar = progress(total=len(todo), desc="images", unit="image", smoothing=0.05)
            with bar, _terminated_like_ctrl_c():
                asyncio.run(_Fetcher(options, log, reasons, scratch, bar).run(todo))
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            log.close()
            others = {key: reason for key, reason in former.items() if key.split not in lists}
            write_missing(data, entries, reasons, others=others)
    summary = _summary(entries, reasons, data, final)
    if len(reasons) == len(entries):
        raise NoseprintError(summary)
    return summary


def _reasons(entries: Sequence[Entry], log: FetchLog, data: Path, former: Mapping[Missing, str]) -> dict[Key, str]:
    """Why each image that is missing is. former: what missing.csv said; it counts where trying again makes no sense."""
    reasons = dict[Key, str]()
    for entry in entries:
        if not log.holds(entry, data):
            reason = former.get(Missing(entry.id, entry.split, entry.url), NOT_TRIED)
            reasons[entry.split, entry.id] = reason if is_final(reason) else NOT_TRIED
    return reasons


@contextmanager
def _terminated_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM first do what Ctrl-C does, so that asyncio.run ends its tasks, and then what it did before.

    asyncio.run does nothing about a SIGINT that is ignored. Shells start what runs in the background so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former, asked = signal.getsignal(signal.SIGTERM), list[int]()
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt(number: int, _: FrameType | None) -> None:
        asked.append(number)
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        if asked:
            signal.signal(signal.SIGTERM, former)
            signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, former)
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _summary(entries: Sequence[Entry], reasons: dict[Key, str], data: Path, final: int) -> str:
    lines = [f"{len(entries) - len(reasons)} of {len(entries)} images are in {data}"]
    if reasons:
        kinds = Counter(reason.partition(":")[0] for reason in reasons.values())
        lines[0] += f"; {len(reasons)} are not, and {data / 'missing.csv'} says why:"
        lines += [f"  {number} {kind}" for kind, number in kinds.most_common(_SHOWN)]
        if len(kinds) > _SHOWN:
            lines.append(f"  and {len(kinds) - _SHOWN} other reasons")
    if final:
        lines.append(f"{final} of them failed in an earlier run, too: --again retries them")
    return "\n".join(lines)


class _Host:
    """What is known of a host: its images that are waiting, and when the next request may be sent."""

    def __init__(self) -> None:
        self.waiting = deque[tuple[Entry, int]]()
        """Images, and how often each has been tried."""
        self.workers = 0
        self.next_start = 0.0
        """By time.monotonic()."""


class _Fetcher:
    def __init__(
        self,
        options: FetchOptions,
        log: FetchLog,
        reasons: dict[Key, str],
        scratch: Path,
        bar: "tqdm[object]",
    ) -> None:
        self._options, self._log, self._reasons, self._scratch, self._bar = options, log, reasons, scratch, bar
        self._hosts = dict[str, _Host]()
        self._waiting = asyncio.Semaphore(_WAITING)
        self._connections = asyncio.Semaphore(MAX_CONNECTIONS)
        self._client: httpx2.AsyncClient | None = None
        self._folders = set[Path]()
        self._parts = self._done = 0
        self._started = self._last_line = time.monotonic()

    async def run(self, entries: Iterable[Entry]) -> None:
        """Fetch all of `entries`; remove the reasons of those that arrive."""
        options = self._options
        if not options.offline:
            self._client = web_client(
                connections=MAX_CONNECTIONS,
                timeout=options.timeout,
                user_agent=options.user_agent,
                allow_private=options.allow_private,
            )
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for entry in entries:
                    await self._waiting.acquire()
                    self._enqueue(entry, 0)
        finally:
            if self._client is not None:
                await self._client.aclose()

    def _enqueue(self, entry: Entry, tries: int) -> None:
        name = urlsplit(entry.url).hostname or ""
        host = self._hosts.setdefault(name, _Host())
        host.waiting.append((entry, tries))
        if host.workers < self._options.connections:
            host.workers += 1
            self._tasks.create_task(self._work(host))

    async def _work(self, host: _Host) -> None:
        """Fetch a host's images one after the other until none is waiting."""
        try:
            while host.waiting:
                entry, tries = host.waiting.popleft()
                await self._wait_for_turn(host, entry)
                async with self._connections:
                    pause = await self._try(entry, tries, host)
                if pause is None:
                    self._waiting.release()
                    self._count()
                else:
                    self._tasks.create_task(self._later(pause, entry, tries + 1))
        finally:
            host.workers -= 1

    async def _later(self, pause: float, entry: Entry, tries: int) -> None:
        await asyncio.sleep(pause)
        self._enqueue(entry, tries)

    async def _wait_for_turn(self, host: _Host, entry: Entry) -> None:
        if self._client is None or entry.url.startswith("file:"):
            return
        while (wait := host.next_start - time.monotonic()) > 0:  # a pause may be asked for in the meantime
            await asyncio.sleep(wait)
        host.next_start = time.monotonic() + 1 / self._options.rate

    async def _try(self, entry: Entry, tries: int, host: _Host) -> float | None:
        """Fetch an image. Returns the seconds after which to try again; None if no further try is needed."""
        options, key = self._options, (entry.split, entry.id)
        self._parts += 1
        part = self._scratch / str(self._parts)
        try:
            fetched = await fetch_image(
                entry,
                part,
                client=self._client,
                timeout=options.timeout,
                most_bytes=int(options.most_mb * 2**20),
                allow_private=options.allow_private,
            )
        except FetchError as error:
            part.unlink(missing_ok=True)
            reason = self._reasons[key] = str(error)
            if not may_pass(reason):
                return None
            if error.pause is not None:
                host.next_start = max(host.next_start, time.monotonic() + min(error.pause, MOST_ASKED))
            if tries + 1 >= TRIES:
                return None
            return random.uniform(0, FIRST_PAUSE * 2**tries)
        file = f"{entry.folder}/{entry.id}{fetched.suffix}"
        self._keep(part, Record(entry.id, entry.split, file, fetched.size, fetched.sha256, entry.url))
        del self._reasons[key]
        return None

    def _keep(self, part: Path, record: Record) -> None:
        path = self._options.data / record.file
        with friendly_write_errors(path):
            if path.parent not in self._folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._folders.add(path.parent)
            before = self._log.add(record)
            part.replace(path)
            if before is not None and before.file != record.file:
                (self._options.data / before.file).unlink(missing_ok=True)

    def _count(self) -> None:
        self._bar.update()
        self._done += 1  # the bar counts only where it is shown
        now = time.monotonic()
        if self._bar.disable and now - self._last_line > _LINE_EVERY:
            self._last_line = now
            done, seconds = self._done, now - self._started
            left = (int(self._bar.total or 0) - done) * seconds / done
            print(
                f"{done} of {self._bar.total} images, {done / seconds:.1f} a second, {left / 60:.0f} min left",
                flush=True,
            )
