# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's environment with the real installer: small wheels made here, no network."""

from __future__ import annotations

import base64
import contextlib
import ensurepip
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from wan_blender import engine_env, installer, wheels
from wan_blender.engine_env import (
    Recipe,
    check,
    current_python,
    install,
    rollback,
    status,
    uninstall,
)
from wan_blender.errors import Cancelled, DiskFull, EngineMissing, UserError

ENGINE = Path(engine_env.__file__).with_name("engine")


def wheel(folder: Path, name: str, version: str, body: str, needs: str = "") -> str:
    """A pure wheel with one module that ``needs`` another; returns its line for a lock file."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": body,
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
        for inner, text in files.items():
            archive.writestr(inner, text.replace("sha256=", "sha256="))
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{name}=={version} --hash=sha256:{digest}\n"


@pytest.fixture(autouse=True)
def uv_beside(monkeypatch):
    """uv as installed beside the Python that runs the tests."""
    beside = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", beside + os.pathsep + os.environ["PATH"])
    assert shutil.which("uv"), "install tests/requirements.txt"


@pytest.fixture
def recipe(tmp_path):
    """A recipe of one locked package and a stand-in for torch, from a folder of wheels."""
    wheels = tmp_path / "wheels"
    lock = tmp_path / "small.lock"
    lock.write_text(wheel(wheels, "alpha", "1.0", "VALUE = 1\n"))
    wheel(wheels, "tinytorch", "2.0", "VALUE = 2\n")
    return Recipe(
        lock=lock, torch="tinytorch==2.0", backend="cpu", python=sys.executable,
        imports=("alpha", "tinytorch"), offline=wheels,
    )  # fmt: skip


def value_of(python: Path, module: str = "alpha") -> str:
    command = [str(python), "-c", f"import {module}; print({module}.VALUE)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def upgraded(recipe: Recipe, tmp_path: Path, body: str = "VALUE = 7\n") -> Recipe:
    lock = tmp_path / "next.lock"
    lock.write_text(wheel(recipe.offline, "alpha", "2.0", body))
    return replace(recipe, lock=lock)


def test_installs_into_a_fresh_folder(tmp_path, recipe):
    home, lines = tmp_path / "a home", []
    assert status(home, recipe).state == "missing"
    python = install(home, recipe, lines.append)
    assert value_of(python) == "1"
    assert value_of(python, "tinytorch") == "2"
    assert current_python(home) == python
    assert status(home, recipe).state == "ready"
    assert check(home, recipe).state == "ready"
    assert "Checking the environment" in lines


def test_broken_environment_is_seen_and_repaired(tmp_path, recipe):
    python = install(tmp_path / "home", recipe)
    module = next((python.parent.parent).rglob("alpha.py"))
    module.write_text("raise ImportError('damaged')\n")
    told = check(tmp_path / "home", recipe)
    assert (told.state, "damaged" in told.says) == ("broken", True)
    repaired = install(tmp_path / "home", recipe)
    assert repaired != python
    assert check(tmp_path / "home", recipe).state == "ready"
    shutil.rmtree(repaired.parent)
    assert status(tmp_path / "home", recipe).state == "broken"


def test_upgrade_stands_beside_and_rolls_back(tmp_path, recipe):
    home = tmp_path / "home"
    first = install(home, recipe)
    newer = upgraded(recipe, tmp_path)
    assert status(home, newer).state == "outdated"
    second = install(home, newer)
    assert (value_of(first), value_of(second)) == ("1", "7")
    assert rollback(home, recipe) == first == current_python(home)
    assert status(home, recipe).state == "ready"
    assert rollback(home, recipe) == second
    third = install(home, newer)
    assert not first.exists()
    assert second.exists()
    assert third.exists()


def damage(python: Path) -> None:
    next(python.parent.parent.rglob("alpha.py")).write_text("raise ImportError('damaged')\n")


def test_rollback_never_ends_in_a_broken_environment(tmp_path, recipe):
    home = tmp_path / "home"
    broken = install(home, recipe)
    damage(broken)
    repaired = install(home, recipe)
    with pytest.raises(EngineMissing, match="no earlier"):
        rollback(home, recipe)
    assert not broken.exists()
    second = install(home, recipe)
    damage(repaired)
    with pytest.raises(EngineMissing, match=r"does not work: .*damaged"):
        rollback(home, recipe)
    assert current_python(home) == second
    assert check(home, recipe).state == "ready"


def test_working_environment_outlasts_a_broken_one(tmp_path, recipe):
    home = tmp_path / "home"
    first = install(home, recipe)
    damage(install(home, recipe))
    third = install(home, recipe)
    damage(third)
    assert rollback(home, recipe) == first
    assert not third.exists()
    with pytest.raises(EngineMissing, match="no earlier"):
        rollback(home, recipe)
    assert check(home, recipe).state == "ready"


def test_upgrade_that_does_not_work_changes_nothing(tmp_path, recipe):
    home = tmp_path / "home"
    first = install(home, recipe)
    bad = upgraded(recipe, tmp_path, "raise ImportError('no good')\n")
    with pytest.raises(UserError, match="no good"):
        install(home, bad)
    assert current_python(home) == first
    assert status(home, recipe).state == "ready"
    assert [p.name for p in (home / "engines").iterdir() if (p / "pyvenv.cfg").exists()] == [
        first.parent.parent.name]  # fmt: skip


def test_bundle_installs_without_its_source(tmp_path, recipe, monkeypatch):
    """Whatever Python makes it, the bundle is for the recipe's."""
    source = recipe.offline
    wheel(source, "tinytorch", "3.0", "import tinydep\nVALUE = tinydep.VALUE\n", "tinydep")
    wheel(source, "tinydep", "1.0", "VALUE = 5\n")
    for path in Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"):
        shutil.copy(path, source)
    if not list(source.glob("pip-*")):
        pytest.skip("this Python brings no pip")
    monkeypatch.setattr(engine_env, "LOCK", recipe.lock)  # in place of uv, tens of MB
    recipe = replace(recipe, torch="tinytorch==3.0", backend="index")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/no/such/python")
        engine_env.bundle(tmp_path / "bundle", recipe)
    assert {p.name.split("-")[0] for p in (tmp_path / "bundle").iterdir()} == {
        "alpha", "tinydep", "tinytorch"}  # fmt: skip
    shutil.rmtree(source)
    home = tmp_path / "home"
    python = install(home, replace(recipe, offline=tmp_path / "bundle"))
    assert value_of(python, "tinytorch") == "5"


def test_bundle_takes_the_chosen_build_of_torch(tmp_path, recipe, monkeypatch):
    commands = []
    monkeypatch.setattr(engine_env, "Runner", lambda *_: commands.append)
    engine_env.bundle(tmp_path, replace(recipe, backend="cu128"))
    assert "https://download.pytorch.org/whl/cu128" in commands[-1]
    engine_env.bundle(tmp_path, replace(recipe, backend="auto"))
    assert "--extra-index-url" not in commands[-1]


@dataclass
class Index:
    """A package index that serves a folder of wheels, and what it was asked for: (path, range,
    who asks). ``refuse`` is who gets no wheels from it."""

    wheels: Path
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    refuse: str = "nobody"
    pause_s: float = 0.0  # between the pieces of a wheel

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
                        f'<a href="/{p.name}#sha256={hashlib.sha256(p.read_bytes()).hexdigest()}">'
                        f"{p.name}</a>"
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


@pytest.fixture
def online(recipe, monkeypatch):
    """The recipe's packages from an index; the stand-in for torch has 4 MB."""
    filling = base64.b64encode(random.Random(0).randbytes(3_000_000)).decode()
    wheel(recipe.offline, "tinytorch", "2.0", f"VALUE = 2  # {filling}\n")
    index = Index(recipe.offline)
    server = index.serve()
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{server.server_port}/")
    yield replace(recipe, offline=None, backend="index"), index
    server.shutdown()
    server.server_close()


def test_wheel_that_was_stopped_goes_on_and_its_progress_is_told(tmp_path, online):
    recipe, index = online
    home, stop, lines = tmp_path / "home", threading.Event(), []
    index.pause_s = 0.03

    def tell(line: str) -> None:
        lines.append(line)
        if line.startswith("Fetching tinytorch"):
            stop.set()

    with pytest.raises(Cancelled):
        install(home, recipe, tell, stop)
    (part,) = (home / "engines" / "wheels" / "torch").glob("*.part")
    arrived = part.stat().st_size
    assert 0 < arrived < 4_000_000
    assert re.fullmatch(r"Fetching tinytorch: \d of 4 MB, [\d.]+ MB/s", lines[-1])
    index.pause_s = 0.0
    python = install(home, recipe, lines.append)
    assert (value_of(python), value_of(python, "tinytorch")) == ("1", "2")
    fetched = [
        asked for path, asked, who in index.asked if who == "wan_blender" and "torch" in path
    ]
    assert fetched[-1] == f"bytes={arrived}-"
    assert "4 of 4 MB" in " ".join(lines)
    assert not (home / "engines" / "cache").exists()
    count = len(index.asked)
    assert value_of(install(home, recipe), "tinytorch") == "2"
    assert "wan_blender" not in {who for _, _, who in index.asked[count:]}  # the wheels are kept


def test_uv_fetches_what_cannot_be_fetched_here_and_that_is_told(tmp_path, online):
    recipe, index = online
    index.refuse, lines = "wan_blender", []
    python = install(tmp_path / "home", recipe, lines.append)
    assert value_of(python, "tinytorch") == "2"
    assert any("uv fetches the packages; one that is stopped begins anew" in li for li in lines)


def test_damaged_wheel_is_not_installed_from_the_folder(tmp_path, online):
    recipe, _ = online
    lines, wheels = [], tmp_path / "home" / "engines" / "wheels" / "torch"
    wheels.mkdir(parents=True)
    (wheels / "tinytorch-2.0-py3-none-any.whl.part").write_bytes(bytes(1000))
    (wheels / "tinytorch-1.0-py3-none-any.whl").write_bytes(b"an earlier one")
    python = install(tmp_path / "home", recipe, lines.append)
    assert value_of(python, "tinytorch") == "2"
    assert any("arrived damaged" in line for line in lines)
    assert value_of(install(tmp_path / "home", recipe), "tinytorch") == "2"
    assert [path.name for path in wheels.glob("*.whl*")] == ["tinytorch-2.0-py3-none-any.whl"]


def test_best_of_several_wheels_is_fetched(tmp_path):
    names = ("py3-none-any", "cp312-abi3-linux_x86_64", "cp312-cp312-manylinux_2_17_x86_64",
             "cp312-cp312-manylinux_2_28_x86_64")  # fmt: skip
    rows = ", ".join(
        f'{{url = "http://x/a%2Bb-1-{n}.whl", hashes = {{sha256 = "{n}"}}}}' for n in names
    )
    lock = tmp_path / "pylock.toml"
    lock.write_text(f'[[packages]]\nname = "a"\nwheels = [{rows}]\n')
    (source,) = wheels._sources(lock)
    assert (source.name, source.sha256) == (f"a+b-1-{names[-1]}.whl", names[-1])
    lock.write_text('[[packages]]\nname = "a"\nsdist = {url = "http://x/a.tar.gz"}\n')
    with pytest.raises(UserError, match="wheels"):
        wheels._sources(lock)


def test_python_of_the_wheels_is_asked_for_when_it_is_not_there(tmp_path, recipe):
    with pytest.raises(EngineMissing, match=r"wheels .* for Python 3\.99, which is not"):
        install(tmp_path / "home", replace(recipe, python="3.99"))
    assert status(tmp_path / "home", recipe).state == "missing"


@pytest.mark.parametrize(("backend", "asked"), [("cpu", True), ("auto", True), ("index", False)])
def test_torch_comes_from_the_users_index_on_request(tmp_path, recipe, monkeypatch, backend, asked):
    commands = []

    def stop(command):
        commands.append(command)
        if recipe.torch in command:
            raise Cancelled

    monkeypatch.setattr(engine_env, "Runner", lambda *_: stop)
    monkeypatch.setattr(engine_env, "_NEEDED_GB_GPU", 0)
    with pytest.raises(Cancelled):
        install(tmp_path / "home", replace(recipe, backend=backend, offline=None))
    assert ("--torch-backend" in commands[-1]) == asked


def test_package_with_another_hash_is_refused(tmp_path, recipe):
    text = recipe.lock.read_text()
    recipe.lock.write_text(re.sub(r"sha256:\w{8}", "sha256:00000000", text))
    with pytest.raises(UserError, match=r"(?i)hash"):
        install(tmp_path / "home", recipe)
    assert current_python(tmp_path / "home") is None


def test_cancel_ends_the_installer_and_leaves_no_environment(tmp_path, recipe):
    stop = threading.Event()

    def tell(line: str) -> None:
        if line.startswith("Installing"):
            stop.set()

    with pytest.raises(Cancelled):
        install(tmp_path / "home", recipe, tell, stop)
    assert status(tmp_path / "home", recipe).state == "missing"
    assert not [p for p in (tmp_path / "home" / "engines").iterdir() if (p / "bin").exists()]
    assert value_of(install(tmp_path / "home", recipe)) == "1"


def test_leftover_of_a_killed_install_is_removed(tmp_path, recipe):
    left = tmp_path / "home" / "engines" / "20200101-000000-dead"
    left.mkdir(parents=True)
    (left / "pyvenv.cfg").touch()
    install(tmp_path / "home", recipe)
    assert not left.exists()


def test_rollback_without_an_earlier_environment_is_told(tmp_path, recipe):
    with pytest.raises(EngineMissing):
        rollback(tmp_path / "home", recipe)
    install(tmp_path / "home", recipe)
    with pytest.raises(EngineMissing):
        rollback(tmp_path / "home", recipe)


def test_uninstall_leaves_the_rest_of_the_home(tmp_path, recipe):
    home = tmp_path / "home"
    install(home, recipe)
    (home / "jobs").mkdir()
    uninstall(home)
    assert [p.name for p in home.iterdir()] == ["jobs"]
    assert status(home, recipe).state == "missing"


def test_small_disk_is_told_before_anything_is_made(tmp_path, recipe, monkeypatch):
    monkeypatch.setitem(engine_env._NEEDED_GB, "cpu", 10**9)
    with pytest.raises(DiskFull, match="1000000000 GB"):
        install(tmp_path / "home", recipe)
    assert not (tmp_path / "home").exists()


def test_wheels_that_have_arrived_need_no_room(tmp_path, recipe, monkeypatch):
    monkeypatch.setitem(engine_env._NEEDED_GB, "cpu", 10**6)
    arrived = tmp_path / "home" / "engines" / "wheels" / "torch" / "t.whl.part"
    arrived.parent.mkdir(parents=True)
    with open(arrived, "wb") as file:
        file.truncate(10**12)
    with pytest.raises(DiskFull, match="about 999000 GB"):
        install(tmp_path / "home", recipe)


def test_index_settings_of_pip_are_honoured(tmp_path, monkeypatch):
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://mirror.example/simple\n")
    for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    told = installer.tool_environment(tmp_path, None)
    assert told["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://mine.example/simple")
    assert installer.tool_environment(tmp_path, None)["UV_DEFAULT_INDEX"] == (
        "https://mine.example/simple")  # fmt: skip
    offline = installer.tool_environment(tmp_path, tmp_path)
    assert offline["UV_NO_INDEX"] == "1"


def test_certificate_trusted_hosts_and_proxy_of_pip_are_honoured(tmp_path, monkeypatch):
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\ncert = /my ca/root.pem\ntrusted-host = a.example\n  b.example:8443\n"
        "proxy = proxy.example:3128\n"
    )
    known = ("SSL_CERT_FILE", "UV_INSECURE_HOST", "PIP_CERT", "PIP_TRUSTED_HOST", "PIP_PROXY")
    for name in (*known, *installer._PROXIES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    told = installer.tool_environment(tmp_path, None)
    assert told["SSL_CERT_FILE"] == "/my ca/root.pem"
    assert told["UV_INSECURE_HOST"] == "a.example b.example:8443"
    assert told["ALL_PROXY"] == "http://proxy.example:3128"
    monkeypatch.setenv("https_proxy", "http://mine.example")
    assert "ALL_PROXY" not in installer.tool_environment(tmp_path, None)


def test_lock_has_every_pinned_package_with_hashes():
    pins = re.findall(r"^([\w-]+)==(\S+)", (ENGINE / "requirements.txt").read_text(), re.M)
    lock = (ENGINE / "requirements.lock").read_text()
    assert len(pins) > 10
    for name, version in pins:
        if name == "torch":
            assert "\ntorch==" not in lock
            continue
        start = rf"^{re.escape(name.replace('_', '-'))}=={re.escape(version)}\b"
        entry = re.search(rf"{start}.*?(?=^\w)", lock + "\nz", re.M | re.S)
        assert entry, f"{name}=={version} is not in requirements.lock"
        assert "--hash=sha256:" in entry[0]
    assert Recipe().packages.startswith("torch==")
    assert "uv==" in (ENGINE / "installer.lock").read_text()


def test_a_proxy_in_pips_settings_alone_is_left_to_uv(monkeypatch):
    for name in (*installer._PROXIES, "PIP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(installer, "_pip_setting", lambda name: "")
    assert not installer.proxy_is_pips_alone()
    monkeypatch.setenv("PIP_PROXY", "proxy.example:3128")
    assert installer.proxy_is_pips_alone()
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")  # for all programs, also this one
    assert not installer.proxy_is_pips_alone()
