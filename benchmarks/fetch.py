"""Fetch 100,000 URLs from a local server that fails in ten ways: is any lost, how fast is it, how much memory?

    python benchmarks/fetch.py                  100,000 images, and 10,000 to compare the memory with
    python benchmarks/fetch.py --images 20000

The server is another process, on 16 loopback addresses (127.0.0.1 to 127.0.0.16), so that it looks like 16 hosts; it
needs Linux. About half of the images are good. One in 200 is never answered, and one in 200 is first answered with 429
and "Retry-After: 1". The others fail in eight more ways, or have a wrong checksum in the list. Each image must be
fetched with the right bytes, or be in missing.csv with the right reason; those that are not are printed.
"""

import argparse
import asyncio
import csv
import hashlib
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

import cv2
import numpy as np

from noseprint.importing import fetch_network
from noseprint.importing.fetch import fetch
from noseprint.importing.fetch_options import FetchOptions

HOSTS = 16
PICTURES = [
    cv2.imencode(".jpg", np.random.default_rng(k).integers(0, 256, (48, 48, 3), np.uint8))[1].tobytes()
    for k in range(16)
]
REASONS = {  # kind -> how the reason begins; "" for those that must arrive
    "good": "",
    "later": "",  # 500, then good
    "busy": "",  # 429 with Retry-After, then good
    "gone": "HTTP 404",
    "hang": "timeout",
    "short": "connection failed",  # ends before its Content-Length
    "closed": "connection failed",
    "page": "is a web page",
    "large": "is larger than",
    "loop": "more than 5 redirects",
    "inside": "refused: 10.0.0.1",  # a redirect to the local network
    "wrong": "another sha256",
}
COMMON = [kind for kind in REASONS if kind not in ("good", "hang", "busy")]


def kind_of(number: int) -> str:
    if number % 200 < 2:
        return ("hang", "busy")[number % 200]
    return "good" if number % 2 else COMMON[number // 2 % len(COMMON)]


# -- the server --------------------------------------------------------------------------------------------------------


def serve(ready: Connection) -> None:
    asyncio.run(serve_for_ever(ready))


async def serve_for_ever(ready: Connection) -> None:
    seen = set[str]()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                while (await reader.readline()).strip():
                    pass
                if not await answer(line.split()[1].decode(), writer, seen):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "0.0.0.0", 0, backlog=1000)
    ready.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def answer(path: str, writer: asyncio.StreamWriter, seen: set[str]) -> bool:
    """Answer a request; return whether the connection stays open."""
    kind, number = path.split("/")[1:]
    body, status, more, length = PICTURES[int(number) % len(PICTURES)], "200 OK", "", None
    is_first = path not in seen
    if kind in ("later", "busy") and is_first:
        seen.add(path)
        body, status = b"", "500 Error" if kind == "later" else "429 Too Many Requests"
        more = "Retry-After: 1\r\n" if kind == "busy" else ""
    elif kind == "gone":
        body, status = b"", "404 Not Found"
    elif kind == "hang":
        await asyncio.sleep(10)
        return False
    elif kind == "short":
        length = len(body) + 100
    elif kind == "closed":
        return False
    elif kind == "page":
        body = b"<html>Sorry</html>"
    elif kind == "large":
        body += bytes(200_000)
    elif kind in ("loop", "inside"):
        body, status = b"", "302 Found"
        more = f"Location: {path if kind == 'loop' else 'http://10.0.0.1/secret.jpg'}\r\n"
    writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {length or len(body)}\r\n{more}\r\n".encode() + body)
    await writer.drain()
    return length is None


# -- the fetch ---------------------------------------------------------------------------------------------------------


def write_list(path: Path, images: int, port: int) -> None:
    digests = [hashlib.sha256(picture).hexdigest() for picture in PICTURES]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "url", "class", "sha256"))
        for number in range(images):
            kind = kind_of(number)
            host = f"127.0.0.{1 + (number + number // 200) % HOSTS}"  # each has images of all kinds
            url = f"http://{host}:{port}/{kind}/{number}"
            digest = digests[(number + (kind == "wrong")) % len(PICTURES)]
            writer.writerow((f"{number:06}", url, f"class {number % 100}", digest))


def fetch_here(folder: Path) -> None:
    """Fetch, and print as JSON the seconds, the CPU seconds and the peak memory in MiB."""

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    before, start = peak(), time.monotonic()
    real = fetch_network.is_public
    loopback = mock.patch.object(fetch_network, "is_public", lambda a: a.startswith("127.") or real(a))
    with loopback:
        fetch(
            FetchOptions(
                data=folder / "data", train=folder / "list.csv", connections=4, rate=1000, timeout=4, most_mb=0.1
            )
        )
    print(
        json.dumps({"seconds": time.monotonic() - start, "cpu": time.process_time(), "before": before, "peak": peak()})
    )


def check(folder: Path, images: int) -> Counter[str]:
    """Count the images of each kind, and print those with a wrong result; raise AssertionError if one is lost."""
    with (folder / "data/fetched.csv").open(newline="") as file:
        fetched = {row["id"]: row for row in csv.DictReader(file)}
    with (folder / "data/missing.csv").open(newline="") as file:
        missing = {row["id"]: row["reason"] for row in csv.DictReader(file)}
    assert len(fetched) + len(missing) == images, "an image is lost, or there twice"
    files = {path.relative_to(folder / "data").as_posix() for path in (folder / "data/train").rglob("*.*")}
    assert files == {row["file"] for row in fetched.values()}
    strange = []
    for number in range(images):
        kind, name = kind_of(number), f"{number:06}"
        if not REASONS[kind]:
            data = (folder / "data" / fetched[name]["file"]).read_bytes() if name in fetched else missing[name].encode()
            if data != PICTURES[number % len(PICTURES)]:
                strange.append(f"{kind}: {missing.get(name, 'other bytes')}")
        elif not missing.get(name, "fetched").startswith(REASONS[kind]):
            strange.append(f"{kind}: {missing.get(name, 'fetched')}")
    for text, number in Counter(strange).items():
        print(f"  not as it should be: {number} {text}")
    return Counter(kind_of(number) for number in range(images))


def measure(images: int, port: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_list(folder / "list.csv", images, port)
        command = [sys.executable, __file__, "--folder", name]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = json.loads(printed.splitlines()[-1])
        kinds = check(folder, images)
        print(f"{images} images, {', '.join(f'{number} {kind}' for kind, number in kinds.items())}: none is lost")
        speed = (
            f"{images / found['seconds']:.0f} images a second ({found['seconds']:.0f} s, {found['cpu']:.0f} s of CPU)"
        )
        print(f"  {speed}; peak {found['peak']:.0f} MiB ({found['before']:.0f} MiB before the first)", flush=True)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder is not None:
        fetch_here(options.folder)
        return
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(there,), daemon=True)
    server.start()
    port = here.recv()
    try:
        few, many = (measure(images, port) for images in (options.images // 10, options.images))
        growth = (many["peak"] - few["peak"]) * 2**20 / (0.9 * options.images)
        print(f"Ten times the images take {many['peak'] - few['peak']:.0f} MiB more: {growth:.0f} bytes for each image")
    finally:
        server.terminate()


if __name__ == "__main__":
    main()
