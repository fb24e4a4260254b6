# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that answer whatever they like: a sentence, in time, and nothing outside the folder."""

import contextlib
import hashlib
import json
import os
import socket
import threading
import time

import pytest

from wan_blender.core import http as asking
from wan_blender.core import transfer
from wan_blender.core.errors import UserError
from wan_blender.core.transfer import ByteCounter, RemoteSource
from wan_blender.engine.models.find.catalogue import RemoteFile
from wan_blender.engine.models.find.download import fetch_files, list_repository

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


@pytest.fixture(autouse=True)
def _in_little_time(monkeypatch):
    monkeypatch.setattr(asking, "TIMEOUT_S", 0.5)
    monkeypatch.setattr(asking, "ANSWER_S", 1.0)
    monkeypatch.setattr(asking, "JSON_BYTES", 100_000)
    monkeypatch.setattr(transfer, "UNKNOWN_BYTES", 100_000)
    monkeypatch.setattr(transfer.time, "sleep", lambda _s: None)


@pytest.fixture
def server(monkeypatch):
    """``server(answer)``: every connection gets ``answer(connection, request)``."""
    listening = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def start(answer):
        def one(connection):
            with connection, contextlib.suppress(OSError):
                answer(connection, connection.recv(65536).decode("latin-1"))

        def serve():
            while not stop.is_set():
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listening.getsockname()[1]}")

    yield start
    stop.set()
    listening.close()


def body(data):
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(data) + data


def listing(items):
    """A hub that has one commit and lists ``items``."""
    return lambda c, asked: c.sendall(
        body(json.dumps({"sha": COMMIT} if "/revision/" in asked else items).encode())
    )


def endless(c, asked):
    c.sendall(HEAD + b"\r\n")
    while True:
        c.sendall(b"[" * 65536)


def drip(head):
    def answer(c, asked):
        c.sendall(head)
        while True:
            c.sendall(b" ")
            time.sleep(0.05)

    return answer


def item(**changed):
    return {"type": "file", "path": "a.safetensors", "size": 5, "oid": "0" * 40, **changed}


ANSWERS = {
    "nothing": lambda c, asked: None,
    "noise": lambda c, asked: c.sendall(bytes(range(256)) * 9),
    "silence": lambda c, asked: c.recv(1) and None,
    "header that never ends": drip(b"HTTP/1.1 200 OK\r\nX: "),
    "status that never ends": drip(b"HTTP/1.1 2"),
    "body that drips": drip(HEAD + b"Content-Length: 1000000\r\n\r\n["),
    "endless body": endless,
    "many headers": lambda c, asked: c.sendall(HEAD + b"X: y\r\n" * 5000 + b"\r\n"),
    "long header": lambda c, asked: c.sendall(HEAD + b"X: " + b"y" * 1_000_000),
    "chunk size that overflows": lambda c, asked: c.sendall(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n"
    ),
    "chunk size below zero": lambda c, asked: c.sendall(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello"
    ),
    "length below zero": lambda c, asked: c.sendall(HEAD + b"Content-Length: -5\r\n\r\n{}"),
    "length that lies": lambda c, asked: c.sendall(HEAD + b"Content-Length: 99999999999\r\n\r\n{}"),
    "deep JSON": lambda c, asked: c.sendall(body(b"[" * 90_000)),
    "number of a million digits": lambda c, asked: c.sendall(body(b"9" * 90_000)),
    "redirects to itself": lambda c, asked: c.sendall(
        b"HTTP/1.1 302 Found\r\nLocation: " + asked.split()[1].encode() + b"\r\n\r\n"
    ),
    "redirect to a file": lambda c, asked: c.sendall(
        b"HTTP/1.1 302 Found\r\nLocation: file:///etc/hostname\r\n\r\n"
    ),
    "HTML": lambda c, asked: c.sendall(body(b"<html>Sign in</html>")),
    "binary JSON": lambda c, asked: c.sendall(body(b"\xff\xfe{")),
    "null": lambda c, asked: c.sendall(body(b"null")),
    "a list for the commit": lambda c, asked: c.sendall(body(b"[1]")),
    "a commit that is a path": lambda c, asked: c.sendall(body(b'{"sha": "../../x"}')),
    "list is a number": listing(7),
    "items are text": listing(["a", "b"]),
    "size is text": listing([item(size="x")]),
    "size is a list": listing([item(size=[])]),
    "size is infinite": listing([item(size=float("inf"))]),
    "path is a number": listing([item(path=5)]),
    "hash is no hash": listing([item(lfs={"oid": "../x", "size": 5})]),
    "many files": listing([item(path=str(n))["path"] for n in range(9000)]),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_list_from_a_hostile_server_is_one_sentence_in_time(server, answer):
    server(answer)
    began = time.monotonic()
    with pytest.raises(UserError) as told:
        list_repository("a/b")
    assert told.value.hint
    assert time.monotonic() - began < 30  # a guard against waiting for ever, not a timing


@pytest.mark.parametrize(
    "path",
    ["../x.json", "/etc/x.json", "a/../../x.json", "C:\\x.json", "a\\..\\..\\x.json", "x\0.json",
     "a:b.json", "n" * 2000 + ".json", "a\nb.json"],
)  # fmt: skip
def test_names_that_leave_the_folder_are_passed_over(server, path):
    server(listing([item(path=path), item(path="ok.json")]))
    assert [file.path for file in list_repository("a/b")] == ["ok.json"]


@pytest.mark.parametrize("size", [0, -1, 1 << 60])
def test_sizes_that_no_file_has_are_passed_over(server, size):
    server(listing([item(size=size), item(path="ok.json")]))
    assert [file.path for file in list_repository("a/b")] == ["ok.json"]


def test_endless_file_of_unknown_size_is_cut_off(server, tmp_path):
    server(endless)
    url = os.environ["HF_ENDPOINT"] + "/x"
    with pytest.raises(UserError):
        transfer.fetch(RemoteSource("x", url), tmp_path / "x", ByteCounter(0, lambda _: None))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 100_000


def test_file_without_sha256_is_checked_by_gits_name(server, tmp_path):
    data = b'{"a": 1}'
    server(lambda c, asked: c.sendall(body(data)))
    for oid, there in (("0" * 40, False), (_git_name(data), True)):
        file = RemoteFile("a/b", "config.json", COMMIT, len(data), git_oid=oid)
        place = tmp_path / oid / "config.json"
        if there:
            fetch_files({file: place})
        else:
            with pytest.raises(UserError, match="arrived damaged: it is not the file"):
                fetch_files({file: place})
        assert place.exists() == there


def _git_name(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
