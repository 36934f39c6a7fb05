"""A web server that fails in many ways."""

import os
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

from noseprint.importing import fetch as fetch_module


def image(number: int, suffix: str = ".jpg") -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
    return cv2.imencode(suffix, pixels)[1].tobytes()


class Handler(BaseHTTPRequestHandler):
    """Answers /KIND/NUMBER."""

    protocol_version = "HTTP/1.1"
    asked: Counter[str]
    agents: set[str]
    at_once: list[int]
    closing: threading.Event

    def do_GET(self) -> None:
        kind, number = self.path.split("/")[1:3]
        self.asked[self.path] += 1
        self.agents.add(self.headers["User-Agent"])
        self.at_once[0] += 1
        self.at_once[1] = max(self.at_once)
        try:
            getattr(self, kind)(int(number))
        finally:
            self.at_once[0] -= 1

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def good(self, number: int) -> None:
        self.answer(image(number))

    def png(self, number: int) -> None:
        self.answer(image(number, ".png"))

    def slow(self, number: int) -> None:
        time.sleep(0.02)
        self.answer(image(number))

    def held(self, _: int) -> None:
        self.closing.wait()

    def gone(self, _: int) -> None:
        self.answer(b"", 404)

    def later(self, number: int) -> None:
        self.answer(b"", 500) if self.asked[self.path] == 1 else self.good(number)

    def down(self, _: int) -> None:
        self.answer(b"", 503)

    def busy(self, number: int) -> None:
        self.answer(b"", 429, Retry_After="1") if self.asked[self.path] == 1 else self.good(number)

    def hang(self, _: int) -> None:
        time.sleep(2)

    def drip(self, _: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        for _ in range(20):
            self.wfile.write(b"\xff")
            time.sleep(0.1)

    def short(self, number: int) -> None:
        self.answer(image(number)[:-40], Content_Length="1000")
        self.close_connection = True

    def cut(self, number: int) -> None:
        self.answer(image(number)[:-40])

    def page(self, _: int) -> None:
        self.answer(b"<!DOCTYPE html><title>Sorry</title>", Content_Type="image/jpeg")

    def nothing(self, _: int) -> None:
        self.answer(b"")

    def large(self, number: int) -> None:
        self.answer(image(number) + bytes(300_000))

    def endless(self, _: int) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(image(0) + bytes(300_000))
        self.close_connection = True

    def loop(self, number: int) -> None:
        self.answer(b"", 302, Location=f"/loop/{number}")

    def moved(self, number: int) -> None:
        self.answer(b"", 301, Location=f"/good/{number}")

    def inside(self, number: int) -> None:
        self.answer(b"", 302, Location=f"http://127.0.0.2:{self.server.server_address[1]}/good/{number}")

    def file(self, _: int) -> None:
        self.answer(b"", 302, Location="file:///etc/hostname")

    def closed(self, _: int) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class Server:
    def __init__(self) -> None:
        self.asked, self.agents, self.at_once, self.closing = Counter(), set(), [0, 0], threading.Event()
        parts = {"asked": self.asked, "agents": self.agents, "at_once": self.at_once, "closing": self.closing}
        self._http = ThreadingHTTPServer(("", 0), type("OwnHandler", (Handler,), parts))
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, kind: str, number: int) -> str:
        return f"http://127.0.0.1:{self.port}/{kind}/{number}"

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()


def running_server(monkeypatch):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(fetch_module, "FIRST_PAUSE", 0.01)
    server = Server()
    yield server
    server.close()
