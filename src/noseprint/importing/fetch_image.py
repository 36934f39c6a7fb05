"""Fetches one image from the web, or from a file:// URL, and checks that it is one."""

import asyncio
import email.utils
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx2

from noseprint.data.image_headers import HEAD_BYTES, Format, header_problem, image_format
from noseprint.errors import NoseprintError, printable
from noseprint.files import friendly_write_errors
from noseprint.importing.fetch_list import Entry
from noseprint.importing.fetch_network import PrivateAddressError

MAX_REDIRECTS = 5
SUFFIXES: dict[Format, str] = {
    "JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "TIFF": ".tif", "BMP": ".bmp", "HEIC": ".heic", "AVIF": ".avif",
}  # fmt: skip
OFFLINE, REFUSED, NOT_TRIED = "offline", "refused", "not tried yet"
_TIMEOUT, _CONNECTION = "timeout", "connection failed"
_MAY_PASS = (_TIMEOUT, _CONNECTION, "HTTP 408", "HTTP 425", "HTTP 429", "HTTP 5")
_LONGEST_REASON = 200
_PIECE = 2**16


@dataclass(frozen=True)
class Fetched:
    """What arrived."""

    suffix: str
    size: int
    """Bytes."""
    sha256: str


class FetchError(Exception):
    """Why an image was not fetched. The message is the reason in missing.csv."""

    def __init__(self, reason: str, *, pause: float | None = None) -> None:
        super().__init__(printable(reason)[:_LONGEST_REASON])
        self.pause = pause
        """Seconds for which the host asks to be left alone (Retry-After); None if it does not ask."""


def may_pass(reason: str) -> bool:
    """Whether the cause may pass, such as a timeout, so that trying again soon makes sense."""
    return reason.startswith(_MAY_PASS)


def is_final(reason: str) -> bool:
    """Whether trying again makes no sense: the image is gone, or is not an image."""
    return not reason.startswith((*_MAY_PASS, OFFLINE, REFUSED, NOT_TRIED))


async def fetch_image(
    entry: Entry, part: Path, *, client: httpx2.AsyncClient | None, timeout: float, most_bytes: int, allow_private: bool
) -> Fetched:
    """Fetch an image to the file `part`.

    client: from `web_client`; None: offline. timeout: seconds for the whole. allow_private: read file:// URLs.
    Raises FetchError unless it is a whole image within the limits, of the checksum that the list gives; and
    NoseprintError if the disk refuses.
    """
    try:
        async with asyncio.timeout(timeout):
            digest, size = hashlib.sha256(), 0
            async with _open(entry.url, client=client, allow_private=allow_private, most_bytes=most_bytes) as pieces:
                with friendly_write_errors(part), part.open("wb") as file:
                    async for piece in pieces:
                        size += len(piece)
                        if size > most_bytes:
                            raise FetchError(_too_large(most_bytes))
                        digest.update(piece)
                        file.write(piece)
    except (FetchError, NoseprintError):
        raise
    except PrivateAddressError as error:
        raise FetchError(f"{REFUSED}: {error}") from None
    except (TimeoutError, httpx2.TimeoutException):
        raise FetchError(f"{_TIMEOUT} after {timeout:g} s") from None
    except httpx2.TransportError as error:
        raise FetchError(f"{_CONNECTION}: {error or type(error).__name__}") from None
    except Exception as error:  # such as a URL that the HTTP library cannot parse: the other images must go on
        raise FetchError(f"cannot be fetched: {type(error).__name__} {error}") from error
    return Fetched(_check(entry, part, digest.hexdigest()), size, digest.hexdigest())


def _check(entry: Entry, part: Path, sha256: str) -> str:
    """The ending of the file's name, by its content."""
    with friendly_write_errors(part):
        data = part.read_bytes()
    if not data:
        raise FetchError("is empty")
    kind = image_format(data[:HEAD_BYTES])
    problem = header_problem(data)
    if kind is None or problem:
        is_page = data[:HEAD_BYTES].lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml"))
        raise FetchError("is a web page, not an image" if is_page else str(problem))
    if entry.sha256 and entry.sha256 != sha256:
        raise FetchError(f"another sha256: {sha256}, not {entry.sha256}")
    return SUFFIXES[kind]


@asynccontextmanager
async def _open(
    url: str, *, client: httpx2.AsyncClient | None, allow_private: bool, most_bytes: int
) -> AsyncIterator[AsyncIterator[bytes]]:
    """Yield what a URL holds, in pieces."""
    if urlsplit(url).scheme == "file":
        if not allow_private:
            raise FetchError(f"{REFUSED}: a file of this machine; --allow-private reads it")
        async with aclosing(_read_file(url)) as pieces:
            yield pieces
        return
    if client is None:
        raise FetchError(OFFLINE)
    for _ in range(MAX_REDIRECTS + 1):
        async with client.stream("GET", url) as response:
            if response.next_request is not None:
                url = str(response.next_request.url)
                if not url.startswith(("http://", "https://")):
                    raise FetchError(f"{REFUSED}: a redirect to {url}")
                continue
            _check_answer(response, most_bytes)
            yield response.aiter_raw(_PIECE)
            return
    raise FetchError(f"more than {MAX_REDIRECTS} redirects")


def _check_answer(response: httpx2.Response, most_bytes: int) -> None:
    if response.status_code != 200:
        raise FetchError(f"HTTP {response.status_code} {response.reason_phrase}".strip(), pause=_retry_after(response))
    length = response.headers.get("Content-Length", "")
    if length.isdigit() and int(length) > most_bytes:
        raise FetchError(_too_large(most_bytes))


def _too_large(most_bytes: int) -> str:
    return f"is larger than {most_bytes / 2**20:g} MiB"


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds; the header gives these or a date (RFC 9110, 10.2.3)."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(email.utils.parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None


async def _read_file(url: str) -> AsyncGenerator[bytes]:
    parts = urlsplit(url)
    path = Path(url2pathname(parts.path))
    try:
        if parts.netloc not in ("", "localhost") or not path.exists():
            raise FetchError("there is no such file")
        if not path.is_file():
            raise FetchError("not a plain file")
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
    except (OSError, ValueError) as error:
        raise FetchError(f"the file cannot be read: {error}") from None
