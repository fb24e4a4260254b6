# SPDX-License-Identifier: GPL-3.0-or-later
"""A local server that speaks as much of the Hugging Face hub as downloads need, and misbehaves on
request: drops connections, sends wrong bytes, or answers as a test says."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLDER = "89abcdef0123456789abcdef0123456789abcdef"


@dataclass
class Hub:
    """``files`` maps "owner/name" to {path: bytes}, at COMMIT, which is main; ``older`` what was
    there at OLDER. ``drop_after`` cuts every answer short after
    that many bytes, ``drops`` times. ``odd`` may answer for a file in its place: it gets the
    handler, the file and where it is asked to begin, and says whether it did."""

    files: dict[str, dict[str, bytes]]
    older: dict[str, dict[str, bytes]] = field(default_factory=dict)
    drop_after: int = 0
    drops: int = 0
    corrupt: str = ""
    pause_s: float = 0.0  # between the pieces of a file
    odd: Callable[[Any, bytes, int], bool] = lambda *_: False
    ranges: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def at(self, revision: str) -> dict[str, dict[str, bytes]]:
        return {"main": self.files, COMMIT: self.files, OLDER: self.older}[revision]

    def listing(self, repository: str, revision: str) -> list[dict]:
        made = []
        for path, data in self.at(revision)[repository].items():
            item = {"type": "file", "path": path, "size": len(data), "oid": "x" * 40}
            if len(data) > 1000:
                item["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}
            made.append(item)
        return made


def serve(hub: Hub) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_args):
            pass

        def do_GET(self):
            hub.asked.append(self.path)
            hub.tokens.append(self.headers.get("Authorization", ""))
            if m := re.match(r"/api/models/([^/]+/[^/]+)/revision/(.*)", self.path):
                commit = COMMIT if m[2] == "main" else m[2]
                return self.answer(m[1], m[2], lambda: {"sha": commit})
            if m := re.match(r"/api/models/([^/]+/[^/]+)/tree/(\w+)", self.path):
                return self.answer(m[1], m[2], lambda: hub.listing(m[1], m[2]))
            m = re.match(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.*)", self.path)
            return self.send(hub.at(m[2])[m[1]], m[3])

        def answer(self, repository, revision, data):
            if repository not in hub.at(revision):
                return self.send_error(404)
            data = data()
            body = data if isinstance(data, bytes) else json.dumps(data).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            return self.wfile.write(body)

        def send(self, files, path):
            data = files[path]
            if path == hub.corrupt:
                data = bytes([data[0] ^ 1]) + data[1:]
            asked = self.headers.get("Range", "")
            start = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked else 0
            hub.ranges.append(asked)
            if hub.odd(self, data, start):
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            body = data[start:]
            if hub.drops and hub.drop_after:
                hub.drops -= 1
                body = body[: hub.drop_after]
                self.close_connection = True
            for start in range(0, len(body), 100_000):
                time.sleep(hub.pause_s)
                self.wfile.write(body[start : start + 100_000])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
