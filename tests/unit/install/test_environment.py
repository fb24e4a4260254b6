# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's environment with the real installer: small wheels made here, no network."""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.install.package_index import value_of, wheel
from wan_blender.core.errors import (
    BadRequest,
    Cancelled,
    DiskFull,
    EngineMissing,
    UserError,
    WrongPackage,
)
from wan_blender.install import environment, uv, wheels
from wan_blender.install.environment import (
    check,
    current_python,
    install,
    rollback,
    status,
    uninstall,
)
from wan_blender.install.offline import bundle
from wan_blender.install.recipe import Recipe

REPO = Path(__file__).parents[3]
ENGINE = Path(environment.__file__).parents[1] / "engine"


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


def test_all_packages_are_compiled(tmp_path, recipe):
    python = install(tmp_path / "home", recipe)
    compiled = {path.name.partition(".")[0] for path in python.parent.parent.rglob("*.pyc")}
    assert {"alpha", "tinytorch"} <= compiled


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
    assert any("uv fetches the packages; one that is interrupted starts over" in li for li in lines)


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


@pytest.mark.parametrize(
    ("backend", "asked"), [("pypi", False), ("cpu", True), ("auto", True), ("index", False)]
)
def test_torch_comes_from_the_users_index_on_request(tmp_path, recipe, monkeypatch, backend, asked):
    commands = []

    def stop(command):
        commands.append(command)
        if "install" in command:
            raise Cancelled

    monkeypatch.setattr(environment, "Runner", lambda *_: stop)
    monkeypatch.setattr(environment, "_NEEDED_GB_GPU", 0)
    with pytest.raises(Cancelled):
        install(tmp_path / "home", replace(recipe, backend=backend, unpinned=True, offline=None))
    assert ("--torch-backend" in commands[-1]) == asked
    assert ("--require-hashes" in commands[-1]) == (backend == "pypi")


def test_build_without_known_hashes_is_refused_unless_it_is_accepted(tmp_path, online):
    recipe, index = online
    recipe = replace(recipe, torch="tinytorch==2.0", backend="index")
    for make in (install, bundle):
        with pytest.raises(BadRequest, match="hashes of torch's build index are not known"):
            make(tmp_path / "home", recipe)
    assert not index.asked
    assert not (tmp_path / "home").exists()
    assert value_of(install(tmp_path / "home", replace(recipe, unpinned=True)), "tinytorch") == "2"
    (tmp_path / "torch-index.lock").write_text((tmp_path / "torch-pypi.lock").read_text())
    assert value_of(install(tmp_path / "home2", recipe), "tinytorch") == "2"


@pytest.mark.parametrize("name", ["alpha", "tinytorch"])
@pytest.mark.parametrize("way", ["other", "lied", "uv"])
def test_changed_package_is_refused_by_name_whatever_the_index(tmp_path, online, name, way):
    """The index tells the changed wheel's own hash, or the one that is wanted; or uv fetches it."""
    recipe, index = online
    (path,) = index.wheels.glob(f"{name}-*.whl")
    wanted = path.read_bytes()
    version = path.name.split("-")[1]
    wheel(index.wheels, name, version, "VALUE = 'changed'\n")
    if way == "lied":
        index.told[path.name] = hashlib.sha256(wanted).hexdigest()
    if way == "uv":
        index.refuse = "wan_blender"
    with pytest.raises(UserError, match=rf"{name}(-|==){version}") as refused:
        install(tmp_path / "home", recipe)
    assert isinstance(refused.value, WrongPackage) or "Hash mismatch" in str(refused.value)
    assert current_python(tmp_path / "home") is None
    assert not list((tmp_path / "home").rglob(f"{name}.py"))
    path.write_bytes(wanted)  # and an index that has the right one again is enough
    index.told.clear()
    assert value_of(install(tmp_path / "home", recipe), name) in "12"


def test_blenders_own_python_does_where_none_can_be_fetched(tmp_path, online, monkeypatch):
    recipe, lines = replace(online[0], python="3.99"), []
    python = install(tmp_path / "home", recipe, lines.append)
    assert value_of(python) == "1"
    own = platform.python_version()
    assert any(line.endswith(f"Blender's own Python {own} is used.") for line in lines)


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
    engines = tmp_path / "home" / "engines"
    for name in ("env-dead", "trash-1", "../trash-2"):
        (engines / name / "lib").mkdir(parents=True)
    install(tmp_path / "home", recipe)
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["engines"]
    assert len([*engines.glob("env-*")]) == 1
    assert not [*engines.glob("trash-*")]


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


def test_engine_in_use_is_not_half_removed(tmp_path, recipe, monkeypatch):
    """On Windows a folder with an open file cannot be renamed."""
    home = tmp_path / "home"
    install(home, recipe)

    def refuse(self, target):
        raise PermissionError(13, "in use", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(UserError, match="is in use"):
            uninstall(home)
    assert check(home, recipe).state == "ready"
    assert environment.is_there(home)
    uninstall(home)
    assert not environment.is_there(home)


def test_what_could_not_be_removed_can_be_removed_later(tmp_path, recipe, monkeypatch):
    home = tmp_path / "home"
    install(home, recipe)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_args, **_options: None)
        uninstall(home)
    assert status(home, recipe).state == "missing"
    assert environment.is_there(home)
    uninstall(home)
    assert not [*home.iterdir()]


def test_small_disk_is_told_before_anything_is_made(tmp_path, recipe, monkeypatch):
    monkeypatch.setattr(environment, "_NEEDED_GB_GPU", 10**9)
    with pytest.raises(DiskFull, match="1000000000 GB"):
        install(tmp_path / "home", replace(recipe, offline=None))
    assert not (tmp_path / "home").exists()


def test_room_is_asked_for_what_may_be_installed(tmp_path, recipe, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(environment, "_AMD", tmp_path / "kfd")
    monkeypatch.setattr(environment.sys, "platform", "linux")

    def asked(backend, offline=None):
        return environment._needed_gb(replace(recipe, backend=backend, offline=offline))

    names = ("auto", "cpu", "cu128", "index", "pypi")
    assert [asked(name) for name in names] == [5, 5, 17, 17, 17]
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert asked("auto") == 17
    assert 0 < asked("cu128", recipe.offline) < 0.1
    for system, gb in (("darwin", 5), ("win32", 5)):
        monkeypatch.setattr(environment.sys, "platform", system)
        assert asked("index") == asked("pypi") == gb


def test_wheels_that_have_arrived_need_no_room(tmp_path, recipe, monkeypatch):
    monkeypatch.setattr(environment, "_NEEDED_GB_GPU", 10**6)
    arrived = tmp_path / "home" / "engines" / "wheels" / "torch" / "t.whl.part"
    arrived.parent.mkdir(parents=True)
    with open(arrived, "wb") as file:
        file.truncate(10**12)
    with pytest.raises(DiskFull, match="about 999000 GB"):
        install(tmp_path / "home", replace(recipe, offline=None))


def test_index_settings_of_pip_are_honoured(tmp_path, monkeypatch):
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://mirror.example/simple\n")
    for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    told = uv.tool_environment(tmp_path, None)
    assert told["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://mine.example/simple")
    assert uv.tool_environment(tmp_path, None)["UV_DEFAULT_INDEX"] == (
        "https://mine.example/simple")  # fmt: skip
    offline = uv.tool_environment(tmp_path, tmp_path)
    assert offline["UV_NO_INDEX"] == "1"


def test_certificate_trusted_hosts_and_proxy_of_pip_are_honoured(tmp_path, monkeypatch):
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\ncert = /my ca/root.pem\ntrusted-host = a.example\n  b.example:8443\n"
        "proxy = proxy.example:3128\n"
    )
    known = ("SSL_CERT_FILE", "UV_INSECURE_HOST", "PIP_CERT", "PIP_TRUSTED_HOST", "PIP_PROXY")
    for name in (*known, *uv._PROXIES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    told = uv.tool_environment(tmp_path, None)
    assert told["SSL_CERT_FILE"] == "/my ca/root.pem"
    assert told["UV_INSECURE_HOST"] == "a.example b.example:8443"
    assert told["ALL_PROXY"] == "http://proxy.example:3128"
    monkeypatch.setenv("https_proxy", "http://mine.example")
    assert "ALL_PROXY" not in uv.tool_environment(tmp_path, None)


def test_lock_has_every_pinned_package_with_hashes():
    pins = re.findall(r"^([\w-]+)==(\S+)", (ENGINE / "requirements.txt").read_text(), re.M)
    locks = [(ENGINE / name).read_text() for name in ("requirements.lock", "torch-pypi.lock")]
    assert len(pins) > 10
    assert "\ntorch==" not in locks[0]
    ours, torchs = (set(re.findall(r"^(\S+?)==", lock, re.M)) for lock in locks)
    assert not ours & torchs
    lock = "".join(locks)
    for name, version in pins:
        start = rf"^{re.escape(name.replace('_', '-'))}=={re.escape(version)}\b"
        entry = re.search(rf"{start}.*?(?=^\w)", lock + "\nz", re.M | re.S)
        assert entry, f"{name}=={version} is in no lock"
        assert "--hash=sha256:" in entry[0]
    for packages in Recipe().packages:
        for entry in re.split(r"\n(?=\w)", packages.lines):
            assert entry.startswith("#") or "--hash=sha256:" in entry
    assert "uv==" in (ENGINE / "installer.lock").read_text()


MODULES = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
}
PROGRAMS = {"pytest-timeout", "pytest-xdist", "openjd-cli", "ruff", "mypy", "uv"}


@pytest.mark.parametrize(
    ("pins", "sources"),
    [
        (ENGINE / "requirements.txt", [ENGINE]),
        *((file, [REPO / "tests", REPO / "tools"]) for file in (REPO / "tests").glob("*.txt")),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_every_pin_is_imported_or_run(pins, sources):
    text = "".join(path.read_text("utf-8") for top in sources for path in top.rglob("*.py"))
    for name in re.findall(r"^([\w-]+)==", pins.read_text(), re.M):
        module = MODULES.get(name, name)
        assert name in PROGRAMS or re.search(
            rf"(import|from) {module}\b|\"{module}\b", text, re.M
        ), name


def test_a_proxy_in_pips_settings_alone_is_left_to_uv(monkeypatch):
    for name in (*uv._PROXIES, "PIP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(uv, "_pip_setting", lambda name: "")
    assert not uv.proxy_is_pips_alone()
    monkeypatch.setenv("PIP_PROXY", "proxy.example:3128")
    assert uv.proxy_is_pips_alone()
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")  # for all programs, also this one
    assert not uv.proxy_is_pips_alone()
