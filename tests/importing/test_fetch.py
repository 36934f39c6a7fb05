"""Fetching from a server that fails in many ways: nothing is lost, no private address is reached."""

import csv
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from noseprint.errors import NoseprintError
from noseprint.importing import fetch as fetch_module
from noseprint.importing import fetch_network
from noseprint.importing.fetch import fetch
from noseprint.importing.fetch_options import FetchOptions

from .fetch_server import image, running_server

SCRIPT = Path(__file__).parents[2] / "recipes/product_hierarchy/fetch/fetch.py"


@pytest.fixture
def server(monkeypatch):
    yield from running_server(monkeypatch)


def write_list(path: Path, rows: list[tuple]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "url", "class", "sha256"), *((*row, "")[:4] for row in rows)])
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def reasons(data: Path) -> dict[str, str]:
    return {row["id"]: row["reason"] for row in read(data / "missing.csv")}


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def options(folder: Path, rows: list[tuple], **more: object) -> FetchOptions:
    given = {"rate": 1000.0, "timeout": 30.0, "most_mb": 0.2, "connections": 8, "allow_private": True} | more
    return FetchOptions(data=folder / "data", train=write_list(folder / "train.csv", rows), **given)


FAILS = {
    "gone": "HTTP 404 Not Found",
    "down": "HTTP 503 Service Unavailable",
    "hang": "timeout after 3 s",
    "drip": "timeout after 3 s",
    "short": "connection failed: ",
    "cut": "is cut off",
    "page": "is a web page, not an image",
    "nothing": "is empty",
    "large": "is larger than 0.2 MiB",
    "endless": "is larger than 0.2 MiB",
    "loop": "more than 5 redirects",
    "file": "refused: a redirect to file:",
    "closed": "connection failed: ",
    "wrong": "another sha256: ",
}
TRIED = {"down": 4, "hang": 4, "drip": 4, "short": 4, "loop": 6, "good": 3, "closed": 4, "later": 2, "busy": 2}
WORKS = ("good", "later", "busy", "moved", "png")


def test_a_server_that_fails_in_many_ways(server, tmp_path):
    kinds = [*FAILS, *WORKS]
    rows = [
        (f"{kind}{k}", server.url("good" if kind == "wrong" else kind, k), "cat", "0" * 64 if kind == "wrong" else "")
        for k in range(2)
        for kind in kinds
    ]
    given = options(tmp_path, rows, user_agent="somebody (a@b.c)", timeout=3.0)
    text = fetch(given)
    found = reasons(given.data)
    assert text.startswith(f"{2 * len(WORKS)} of {len(rows)} images are in {given.data}; {2 * len(FAILS)} are not")
    for name, reason in found.items():
        assert reason.startswith(FAILS[name[:-1]]), name
    fetched = {row["id"]: row for row in read(given.data / "fetched.csv")}
    assert found.keys() | fetched.keys() == {row[0] for row in rows}
    assert not found.keys() & fetched.keys()
    for kind in WORKS:
        row = fetched[f"{kind}1"]
        data = (given.data / row["file"]).read_bytes()
        assert row["file"] == f"train/cat/{kind}1{'.png' if kind == 'png' else '.jpg'}"
        assert data == image(1, ".png" if kind == "png" else ".jpg")
        assert (row["sha256"], int(row["bytes"])) == (hashlib.sha256(data).hexdigest(), len(data))
    for kind in kinds:
        if kind != "wrong":
            assert server.asked[f"/{kind}/0"] == TRIED.get(kind, 1), kind
    assert server.agents == {"somebody (a@b.c)"}
    assert not [path for path in given.data.iterdir() if path.name.endswith(".part")]


def test_a_rerun_fetches_only_what_is_not_there_and_may_be(server, tmp_path):
    rows = [
        ("a", server.url("good", 1), "cat"),
        ("b", server.url("gone", 2), "cat"),
        ("c", server.url("down", 3), "cat"),
    ]
    given = options(tmp_path, rows)
    fetch(given)
    before = files(given.data)
    server.asked.clear()
    assert "--again" in fetch(given)
    assert server.asked.keys() == {"/down/3"}
    assert files(given.data) == before
    fetch(options(tmp_path, rows, again=True))
    assert server.asked.keys() == {"/down/3", "/gone/2"}
    next((given.data / "train/cat").iterdir()).write_bytes(b"shorter")
    fetch(given)
    assert server.asked["/good/1"] == 1
    assert files(given.data) == before


def test_a_change_of_the_list_is_followed(server, tmp_path):
    fetch(options(tmp_path, [("a", server.url("good", 1), "cat"), ("b", server.url("gone", 2), "cat")]))
    given = options(tmp_path, [("a", server.url("png", 1), "dog"), ("b", server.url("good", 2), "cat")])
    fetch(given)
    assert {name for name in files(given.data) if name.startswith("train")} == {"train/dog/a.png", "train/cat/b.jpg"}
    assert reasons(given.data) == {}


def test_other_lists_keep_their_missing_images(server, tmp_path):
    given = options(tmp_path, [("a", server.url("gone", 1), "cat")])
    with pytest.raises(NoseprintError, match=r"^0 of \d images are in"):
        fetch(given)
    test = write_list(tmp_path / "test.csv", [("a", server.url("good", 1), ""), ("b", server.url("gone", 1), "")])
    fetch(FetchOptions(data=given.data, test=test, allow_private=True, rate=1000))
    assert [(row["id"], row["split"]) for row in read(given.data / "missing.csv")] == [("a", "train"), ("b", "test")]
    assert (given.data / "test/a.jpg").is_file()


def test_a_host_is_asked_as_often_as_it_wants(server, tmp_path):
    start = time.monotonic()
    fetch(options(tmp_path, [(str(k), server.url("slow", k), "cat") for k in range(12)], rate=20, connections=2))
    assert time.monotonic() - start >= 11 / 20
    assert server.at_once[1] <= 2
    start = time.monotonic()
    fetch(options(tmp_path, [("busy", server.url("busy", 0), "cat"), ("good", server.url("good", 0), "cat")]))
    assert 1 <= time.monotonic() - start < 5  # Retry-After: 1


def test_a_log_gets_lines(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fetch_module, "_LINE_EVERY", 0.0)
    fetch(options(tmp_path, [(str(k), server.url("good", k), "cat") for k in range(3)]))
    assert capsys.readouterr().out.splitlines()[-1].startswith("3 of 3 images, ")


def test_private_addresses_and_files_are_refused(server, tmp_path, monkeypatch):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(image(5))
    hosts = ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0", "[::1]", "[::ffff:127.0.0.1]"]
    rows = [(f"host{k}", f"http://{host}:{server.port}/good/1", "cat") for k, host in enumerate(hosts)]
    given = options(tmp_path, [*rows, ("file", secret.as_uri(), "cat")], allow_private=False)
    with pytest.raises(NoseprintError, match=r"^0 of \d images are in"):
        fetch(given)
    assert not server.asked
    assert all(reason.startswith("refused: ") for reason in reasons(given.data).values())
    assert len(reasons(given.data)) == len(hosts) + 1
    # a public host redirects to the local network
    monkeypatch.setattr(fetch_network, "is_public", lambda address: address == "127.0.0.1")
    rows = [("inside", server.url("inside", 1), "cat"), ("good", server.url("good", 2), "cat")]
    fetch(options(tmp_path, rows, allow_private=False))
    assert server.asked == {"/inside/1": 1, "/good/2": 1}
    assert reasons(given.data) == {"inside": "refused: 127.0.0.2 has the address 127.0.0.2, which is not public"}
    fetch(options(tmp_path, [*rows, ("file", secret.as_uri(), "cat")]))  # refusals are tried again when they may pass
    assert reasons(given.data) == {}


def test_a_name_with_one_private_address_is_refused(server, tmp_path, monkeypatch):
    async def lookup(*_: object, **__: object) -> list:
        return [(2, 1, 6, "", ("93.184.216.34", 80)), (2, 1, 6, "", ("10.1.2.3", 80))]

    monkeypatch.setattr("asyncio.base_events.BaseEventLoop.getaddrinfo", lookup)
    given = options(tmp_path, [("a", "http://example.org/a.jpg", "cat")], allow_private=False)
    with pytest.raises(NoseprintError, match=r"^0 of \d images are in"):
        fetch(given)
    assert reasons(given.data) == {"a": "refused: example.org has the address 10.1.2.3, which is not public"}


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *[(address, False) for address in ("10.0.0.1", "127.0.0.1", "169.254.169.254", "192.168.0.1", "100.64.0.1")],
        *[(address, False) for address in ("0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0")],
        *[(address, False) for address in ("fc00::1", "fec0::1", "ff02::1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1")],
        *[(address, False) for address in ("2002:7f00:1::", "2001:0:7f00:1::")],
        *[(address, True) for address in ("8.8.8.8", "2606:4700::1111", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8")],
    ],
)
def test_which_addresses_are_public(address, public):
    assert fetch_network.is_public(address) == public


def test_offline_reads_files_only(server, tmp_path):
    (tmp_path / "a b.jpg").write_bytes(image(1))
    rows = [
        ("a", (tmp_path / "a b.jpg").as_uri(), "cat"),
        ("b", server.url("good", 1), "cat"),
        ("c", "file:///no", "cat"),
        ("d", "file:///dev/zero", "cat"),
    ]
    given = options(tmp_path, rows, offline=True)
    fetch(given)
    assert not server.asked
    assert reasons(given.data) == {"b": "offline", "c": "there is no such file", "d": "not a plain file"}
    fetch(options(tmp_path, rows))
    assert reasons(given.data) == {"c": "there is no such file", "d": "not a plain file"}


def test_every_fault_of_the_lists_comes_before_anything_is_fetched(server, tmp_path):
    with pytest.raises(NoseprintError, match="listed twice") as raised:
        fetch(
            options(
                tmp_path, [("a", server.url("good", 1), "cat"), ("a", "", "cat"), ("a", server.url("good", 2), "x")]
            )
        )
    assert "has no URL" in str(raised.value)
    assert not server.asked
    assert not (tmp_path / "data").exists()


def start(given: FetchOptions, *, in_background: bool = False, **environment: str) -> subprocess.Popen:
    """Fetch in a process of its own. in_background: as a shell starts it there, with SIGINT ignored."""
    command = [sys.executable, SCRIPT, "--data", given.data, "--train", given.train, "--allow-private"]
    command += ["--connections", "2", "--rate", "1000"]
    if in_background:
        command = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *command]
    return subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE)


def wait_for(folder: Path, number: int) -> None:
    for _ in range(6000):
        if sum(1 for _ in folder.glob("train/*/*.jpg")) >= number:
            return
        time.sleep(0.01)
    raise AssertionError("nothing was fetched")


def test_killed_and_started_again_the_bytes_are_the_same(server, tmp_path):
    rows = [(f"{k:03}", server.url("gone" if k % 20 == 7 else "slow", k), f"class {k % 3}") for k in range(80)]
    (tmp_path / "whole").mkdir()
    whole = options(tmp_path / "whole", rows)
    fetch(whole)
    given = options(tmp_path, rows)
    for number in (10, 40):
        process = start(given)
        wait_for(given.data, number)
        process.kill()
        process.communicate()
    with (given.data / "fetched.csv").open("a") as file:
        file.write("078,train,trai")  # a line that the kill cut off
    server.asked.clear()
    process = start(given)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert sum(server.asked.values()) <= 80 - 40 + 2 + 4  # those gone were asked before, too
    assert files(given.data) == files(whole.data)


@pytest.mark.parametrize("in_background", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_loses_nothing(server, tmp_path, number, in_background):
    rows = [(f"{k:02}", server.url("good" if k < 20 else "held", k), "cat") for k in range(60)]
    given = options(tmp_path, rows)
    process = start(given, in_background=in_background)
    wait_for(given.data, 20)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert b"interrupted" in errors
    assert b"Traceback" not in errors
    missing = reasons(given.data)
    assert set(missing.values()) == {"not tried yet"}
    fetched = {row["id"] for row in read(given.data / "fetched.csv")}
    assert len(fetched) == 20
    assert fetched | missing.keys() == {row[0] for row in rows}
    assert not list(given.data.glob(".*.part"))


def test_a_full_disk_is_one_message(server, tmp_path, monkeypatch):
    given = options(tmp_path, [(str(k), server.url("good", k), "cat") for k in range(9)])
    (given.data).mkdir()
    (given.data / "train").write_text("in the way")
    with pytest.raises(NoseprintError, match=r"train/cat"):
        fetch(given)
    assert len(reasons(given.data)) == 9
