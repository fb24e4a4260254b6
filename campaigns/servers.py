# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that answer a download whatever they like: a sentence, cancellable, nothing elsewhere."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.engine.models.test_hostile_servers import ANSWERS, HEAD, body, drip, item, listing
from wan_blender.engine.models.find.catalogue import catalogue
from wan_blender.process.child import child_environment

from .tally import Attempt, Broken, Outcome

PROMISE = "0 tracebacks, none over 20 s that cannot be cancelled, 0 bytes outside the folder"
MEANS = (
    "`engine models fetch` as Blender starts it, against a server on 127.0.0.1, with the real "
    "waiting times. What still waits after 8 s is cancelled as Blender does, and has 20 s to end."
)
PATIENCE_S, CANCEL_S = 8.0, 20.0
NAME = "config.json"

Answer = Callable[[socket.socket, str], object]


def for_file(answer: Answer, size: int = 5000, **more: object) -> Answer:
    """A hub that lists one file of ``size`` and gives ``answer`` for it."""

    def reply(connection: socket.socket, asked: str) -> object:
        if "/resolve/" in asked:
            return answer(connection, asked)
        return listing([item(path=NAME, size=size, **more)])(connection, asked)

    return reply


def send(data: bytes) -> Answer:
    return lambda connection, asked: connection.sendall(data)


def endlessly(data: bytes, pause_s: float = 0.0) -> Answer:
    def reply(connection: socket.socket, asked: str) -> None:
        connection.sendall(HEAD + b"\r\n")
        while True:
            connection.sendall(data)
            time.sleep(pause_s)

    return reply


def status(code: int, *headers: str) -> Answer:
    lines = "".join(f"{line}\r\n" for line in headers)
    return send(f"HTTP/1.1 {code} X\r\nConnection: close\r\n{lines}\r\n".encode())


FILES: dict[str, Answer] = {
    "nothing": lambda c, asked: None,
    "silence": lambda c, asked: c.recv(1),
    "noise": send(bytes(range(256)) * 9),
    "endless": endlessly(b"x" * 65536),
    "drip": drip(HEAD + b"Content-Length: 5000\r\n\r\n"),
    "drip without end": endlessly(b"x", 0.2),
    "header that never ends": drip(b"HTTP/1.1 200 OK\r\nX: "),
    "short": send(body(b"x" * 100)),
    "long": send(body(b"x" * 9000)),
    "right size, wrong bytes": send(body(b"x" * 5000)),
    "length that lies": send(HEAD + b"Content-Length: 5000\r\n\r\nx"),
    "length below zero": send(HEAD + b"Content-Length: -5\r\n\r\nx"),
    "length twice": send(HEAD + b"Content-Length: 5\r\nContent-Length: 5000\r\n\r\nxxxxx"),
    "chunk that overflows": send(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n"
    ),
    "chunk that ends": send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"),
    "another range": send(
        b"HTTP/1.1 206 X\r\nContent-Range: bytes 100-200/5000\r\nContent-Length: 5\r\n\r\nhello"
    ),
    "range of another file": send(
        b"HTTP/1.1 206 X\r\nContent-Range: bytes 0-4/7\r\nContent-Length: 5\r\n\r\nhello"
    ),
    "range that is text": send(b"HTTP/1.1 206 X\r\nContent-Range: all\r\n\r\nhello"),
    "login page": send(body(b"<html>Sign in</html>")),
    "gzip bomb": send(
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 5000\r\n\r\n" + b"\x1f" * 5000
    ),
    "not found": status(404),
    "forbidden": status(403),
    "too many": status(429, "Retry-After: 99999999999"),
    "busy for ever": status(503, "Retry-After: 60"),
    "retry at no time": status(503, "Retry-After: yesterday"),
    "redirect to a file": status(302, "Location: file:///etc/hostname"),
    "redirect to itself": lambda c, asked: status(302, f"Location: {asked.split()[1]}")(c, asked),
    "redirect to a pipe": status(302, "Location: gopher://127.0.0.1/"),
    "code 999": status(999),
    "continue for ever": endlessly(b"HTTP/1.1 100 Continue\r\n\r\n", 0.1),
}
PATHS = [
    "../out.json", "/tmp/out.json", "a/../../out.json", "..\\out.json", "C:\\out.json", "a\0.json",
]  # fmt: skip
KINDS: dict[str, Answer] = {
    **{f"list: {name}": answer for name, answer in ANSWERS.items()},
    **{f"file: {name}": for_file(answer) for name, answer in FILES.items()},
    **{f"path: {path!r}": listing([item(path=path, size=5)]) for path in PATHS},
    "size: a terabyte": for_file(send(body(b"x")), size=1 << 40),
}
COUNT = len(KINDS)


def serve(answer: Answer) -> tuple[socket.socket, str]:
    listening = socket.create_server(("127.0.0.1", 0))

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            answer(connection, connection.recv(65536).decode("latin-1"))

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=one, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listening, f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def attempts(work: Path) -> Iterator[Attempt]:
    place = work / "servers"
    shutil.rmtree(place, ignore_errors=True)
    key = next(entry.key for entry in catalogue().values() if entry.repository)

    def attempt(number: int, chance: random.Random) -> Outcome:
        kind = list(KINDS)[number]
        folder = place / str(number) / "models"
        folder.mkdir(parents=True)
        listening, url = serve(KINDS[kind])
        before = _files_of(Path("/tmp"), "out.json")
        with listening:
            code, said, waited_s = _fetch(key, folder, url)
        if "Traceback" in said or code not in (0, 1, 2, 130):
            raise Broken(f"{kind}: exit code {code}: {said[-2000:]}")
        if waited_s > CANCEL_S:
            raise Broken(f"{kind}: {waited_s:.0f} s from Cancel to the end")
        if code == 1 and '"message"' not in said:
            raise Broken(f"{kind}: no sentence: {said[-500:]}")
        strays = [p for p in place.rglob("*") if p.is_file() and folder not in p.parents]
        if strays or _files_of(Path("/tmp"), "out.json") != before:
            raise Broken(f"{kind}: written outside: {strays}")
        shutil.rmtree(folder.parent)
        return Outcome({0: "fetched", 130: "cancelled"}.get(code, "refused"),
                       {"s to cancel": round(waited_s, 2)})  # fmt: skip

    yield attempt


def _files_of(folder: Path, name: str) -> bool:
    return (folder / name).exists()


def _fetch(key: str, folder: Path, url: str) -> tuple[int, str, float]:
    """Exit code, what it said, and how long it took from Cancel to its end."""
    child = subprocess.Popen(
        [sys.executable, "-m", "wan_blender.engine", "models", "fetch", key, "--to", str(folder)],
        env=child_environment() | {"HF_ENDPOINT": url, "HF_HOME": str(folder.parent / "none")},
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    heard: list[str] = []

    def listen() -> None:
        with child.stderr as pipe:
            heard.append(pipe.read())

    reader = threading.Thread(target=listen, daemon=True)
    reader.start()
    waited_s = 0.0
    try:
        child.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGTERM)
        began = time.monotonic()
        with suppress(subprocess.TimeoutExpired):
            child.wait(2 * CANCEL_S)
        waited_s = time.monotonic() - began
        child.kill()
    reader.join(5)
    return child.wait(), "".join(heard), waited_s
