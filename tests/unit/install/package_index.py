# SPDX-License-Identifier: GPL-3.0-or-later
"""Small wheels, a package index that serves them, and an archive of the Python that runs this."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import platform
import re
import subprocess
import sys
import sysconfig
import tarfile
import threading
import time
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def wheel(folder: Path, name: str, version: str, body: str, needs: str = "") -> str:
    """A pure wheel with one module that ``needs`` another; returns its line for a lock file."""
    return pack(folder, name, version, {f"{name}.py": body}, needs)


def pack(folder: Path, name: str, version: str, files: dict[str, str], needs: str = "") -> str:
    """A wheel of ``files``, which may all be run; returns its line for a lock file."""
    info = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + (f"Requires-Dist: {needs}\n" if needs else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(t.encode()).digest()).decode()},"
        f"{len(t)}\n"
        for path, t in files.items()
    )
    path = folder / f"{name}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in {**files, f"{info}/RECORD": record + f"{info}/RECORD,,\n"}.items():
            entry = zipfile.ZipInfo(inner)
            entry.external_attr = 0o100755 << 16
            archive.writestr(entry, text)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{name}=={version} --hash=sha256:{digest}\n"


def value_of(python: Path, module: str = "alpha") -> str:
    command = [str(python), "-c", f"import {module}; print({module}.VALUE)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@dataclass
class Index:
    """A package index that serves a folder of wheels, and what it was asked for: (path, range,
    who asks). ``refuse`` is who gets no wheels from it."""

    wheels: Path
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    refuse: str = "nobody"
    pause_s: float = 0.0  # between the pieces of a wheel
    told: dict[str, str] = field(default_factory=dict)  # wheel -> SHA-256 that is not its own

    def hash_of(self, wheel: Path) -> str:
        own = hashlib.sha256(wheel.read_bytes()).hexdigest()
        return self.told.get(wheel.name, own)

    def serve(self) -> ThreadingHTTPServer:
        index = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_args):
                pass

            def do_HEAD(self):
                self.answer(head=True)

            def do_GET(self):
                self.answer(head=False)

            def answer(self, head):
                asked, agent = self.headers.get("Range", ""), self.headers.get("User-Agent", "")
                index.asked.append((self.path, asked, agent))
                if not self.path.endswith(".whl"):
                    name = self.path.strip("/").rpartition("/")[2]
                    links = [
                        f'<a href="/{p.name}#sha256={index.hash_of(p)}">{p.name}</a>'
                        for p in index.wheels.glob(f"{name}-*.whl")
                    ]
                    return self.send("".join(links).encode(), 0, head, "text/html")
                if agent.startswith(index.refuse):
                    return self.send_error(403)
                start = (
                    int(re.match(r"bytes=(\d+)-", asked)[1])
                    if agent == "wan_blender" and asked
                    else 0
                )
                data = (index.wheels / self.path.strip("/")).read_bytes()
                return self.send(data[start:], start, head, "application/octet-stream")

            def send(self, data, start, head, kind):
                self.send_response(206 if start else 200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # uv goes when it has read enough
                    for at in range(0, 0 if head else len(data), 100_000):
                        time.sleep(index.pause_s)
                        self.wfile.write(data[at : at + 100_000])

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server


def python_archive(folder: Path) -> Path:
    """The Python that runs this, packed as those that uv fetches are; returns uv's list of what
    there is to fetch, which names it alone."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base, full = Path(sys.base_prefix), platform.python_version()
    archive = folder / f"cpython-{full}-install_only_stripped.tar.gz"
    left_out = {"site-packages", "test", "idlelib", "lib2to3", "__pycache__"}

    def slim(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = Path(entry.name).parts
        large = left_out & {*parts} or any(part.startswith("config-") for part in parts)
        return None if large else entry

    with tarfile.open(archive, "w:gz", compresslevel=1) as files:
        files.add(base / "bin" / version, f"python/bin/{version}")
        for name in ("python3", "python"):
            link = tarfile.TarInfo(f"python/bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, version
            files.addfile(link)
        for library in (base / "lib").glob("libpython*"):
            files.add(library, f"python/lib/{library.name}")
        files.add(sysconfig.get_path("stdlib"), f"python/lib/{version}", filter=slim)
    major, minor, patch = sys.version_info[:3]
    machine = platform.machine()
    download = {
        "name": "cpython", "arch": {"family": machine, "variant": None}, "os": "linux",
        "libc": "gnu", "major": major, "minor": minor, "patch": patch, "prerelease": "",
        "url": archive.as_uri(), "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "variant": None, "build": "20260101",
    }  # fmt: skip
    downloads = folder / "downloads.json"
    downloads.write_text(json.dumps({f"cpython-{full}-linux-{machine}-gnu": download}))
    return downloads
