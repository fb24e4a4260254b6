# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGKILL at random and at every file operation, also with all lost that was not synced: no job and
no take is lost, nothing is half, nothing is left behind, and the next run is the same as any."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from tests.engine.folders import make_job, moving_square, noise_plate
from tests.engine.models import hub
from tests.engine.untrained import write_untrained
from tests.unit.install.package_index import value_of, wheel
from wan_blender.core.result import find_result, verify
from wan_blender.engine.models.find.catalogue import RemoteFile
from wan_blender.engine.models.find.download import fetch_files
from wan_blender.install import environment
from wan_blender.install.recipe import Recipe

from . import victim
from .tally import Attempt, Broken, Outcome

COUNT = 500
PROMISE = "0 lost, 0 half, 0 orphans, and the next run equal"
MEANS = (
    "processes that are really killed: by themselves before their n-th operation on a file, or "
    "from outside after a random time. Engine and downloads are forked with torch loaded, the "
    "installer runs the real uv on small wheels. After two thirds of the kills of engine and "
    "download the power goes as well: what was not synced comes back empty, and in half of these "
    "renames that were not synced are undone (a model of a journalling disk, laid over the folder "
    "afterwards). Export and Blender are not killed yet."
)
SHARES = {"engine": 0.6, "download": 0.32, "installer": 0.08}


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def frames_of(result: Path) -> dict[str, bytes]:
    return {name: data for name, data in files_below(result).items() if name.endswith(".png")}


class Engines:
    """Kills while a job runs, in a folder that may hold an earlier take."""

    def __init__(self, place: Path) -> None:
        from wan_blender.engine.pipeline import generate
        from wan_blender.engine.watch import Watch

        os.environ["WAN_BLENDER_CACHE"] = str(place / "cache")
        self._place = place
        self._run: Callable[[Path], object] = lambda folder: generate(folder, Watch(folder))
        model = write_untrained(place / "model", "t2v")
        plate, mask = noise_plate(5, 32, 24), moving_square(5, 32, 24, 8)
        self._whole = {}
        for seed in (0, 1):
            folder = make_job(
                place / f"seed {seed}", plate, mask, model__path=str(model), sampling__steps=2,
                sampling__seed=seed,
            )  # fmt: skip
            if seed == 0:
                shutil.copytree(folder, place / "fresh")
            end = victim.run(lambda folder=folder: self._run(folder), folder)
            if end.code:
                raise RuntimeError(end.said)
            self._operations = end.operations
            self._whole[seed] = frames_of(find_result(folder))
        self._names = set(files_below(place / "seed 0"))

    def __call__(self, number: int, chance: random.Random) -> Outcome:
        folder = self._place / f"job {number}"
        shutil.copytree(self._place / "fresh", folder)
        earlier = chance.random() < 0.5
        if earlier:
            shutil.copytree(self._place / "seed 1" / "result", folder / "result")
        cut = chance.choice(["", "contents", "names"])
        disk = victim.Disk(folder, self._place / f"shadow {number}") if cut else None
        at = chance.randint(1, self._operations + 5)
        when = {"kill_at": at} if chance.random() < 0.7 else {"kill_after_s": chance.random()}
        end = victim.run(lambda: self._run(folder), folder, disk=disk, **when)
        if end.said:
            raise Broken(f"{folder}: it failed: {end.said}")
        if disk:
            disk.cut(names=cut == "names")
        kept = self._take(folder)
        if kept not in ([1, 0] if earlier else [None, 0]) or (end.code == 0 and kept != 0):
            raise Broken(f"{folder} {when} {cut}: exit code {end.code}, and take {kept} is there")
        again = victim.run(lambda: self._run(folder), folder)
        if again.code or self._take(folder) != 0:
            raise Broken(f"{folder} {when} {cut}: the next run failed: {again.said}")
        if odd := set(files_below(folder)) ^ self._names:
            raise Broken(f"{folder} {when} {cut}: left behind or lost: {sorted(odd)}")
        shutil.rmtree(folder)
        shutil.rmtree(self._place / f"shadow {number}", ignore_errors=True)
        return Outcome(f"engine{', power cut' if cut else ''}")

    def _take(self, folder: Path) -> int | None:
        """Which seed's frames the folder holds, whole."""
        result = find_result(folder)
        if result is None:
            return None
        verify(result, hashes=True)
        frames = frames_of(result)
        return next((seed for seed, whole in self._whole.items() if whole == frames), -1)


class Downloads:
    """Kills while files are fetched from a server that pauses."""

    def __init__(self, place: Path) -> None:
        rng = random.Random(0)
        self._place = place
        self._contents = {"a.safetensors": rng.randbytes(900_000), "b.json": b'{"a": 1}'}
        files = {"o/n": self._contents}
        self._server = hub.serve(hub.Hub(files, pause_s=0.005))
        self._files = {
            RemoteFile("o/n", name, hub.COMMIT, len(data), hashlib.sha256(data).hexdigest()): name
            for name, data in self._contents.items()
        }
        self._operations = victim.run(lambda: self._fetch(place / "a"), place / "a").operations

    def _fetch(self, folder: Path) -> None:
        os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{self._server.server_port}"
        fetch_files({file: folder / name for file, name in self._files.items()})

    def __call__(self, number: int, chance: random.Random) -> Outcome:
        folder = self._place / f"models {number}"
        folder.mkdir()
        cut = chance.choice(["", "contents", "names"])
        disk = victim.Disk(folder, self._place / f"shadow {number}") if cut else None
        at = chance.randint(1, self._operations + 3)
        when = {"kill_at": at} if chance.random() < 0.7 else {"kill_after_s": chance.random() / 8}
        end = victim.run(lambda: self._fetch(folder), folder, disk=disk, **when)
        if end.said:
            raise Broken(f"{folder}: it failed: {end.said}")
        if disk:
            disk.cut(names=cut == "names")
        for name, data in self._contents.items():
            there = (folder / name).read_bytes() if (folder / name).exists() else None
            if there != data and (there is not None or end.code == 0):
                size = -1 if there is None else len(there)
                raise Broken(f"{folder} {when} {cut}: {name} has {size} bytes of {len(data)}")
        again = victim.run(lambda: self._fetch(folder), folder)
        left = {name: data for name, data in files_below(folder).items() if name[0] != "."}
        if again.code or left != self._contents:
            raise Broken(f"{folder} {when} {cut}: again: {again.said}; there is {sorted(left)}")
        shutil.rmtree(folder)
        shutil.rmtree(self._place / f"shadow {number}", ignore_errors=True)
        return Outcome(f"download{', power cut' if cut else ''}")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Installers:
    """Kills while the engine's environment is made, in half of the tries beside an earlier one."""

    def __init__(self, place: Path) -> None:
        self._place = place
        place.mkdir()
        beside = str(Path(sys.executable).parent)
        os.environ["PATH"] = f"{beside}{os.pathsep}{os.environ['PATH']}"
        self._recipes = [self._recipe(version) for version in ("1.0", "2.0")]
        self._made = place / "made"
        environment.install(self._made, self._recipes[0])

    def _recipe(self, version: str) -> Recipe:
        wheels = self._place / f"wheels {version}"
        lock = self._place / f"{version}.lock"
        lock.write_text(wheel(wheels, "alpha", version, f"VALUE = {version[0]}\n"))
        wheel(wheels, "tinytorch", "2.0", "VALUE = 2\n")
        return Recipe(
            lock=lock, torch="tinytorch==2.0", backend="cpu", python=sys.executable,
            imports=("alpha", "tinytorch"), offline=wheels, unpinned=True,
        )  # fmt: skip

    def __call__(self, number: int, chance: random.Random) -> Outcome:
        home, recipe = self._place / f"home {number}", self._recipes[1]
        home.mkdir()
        earlier = chance.random() < 0.5
        if earlier:
            environment.install(home, self._recipes[0])
        when = (
            {"kill_at": chance.randint(1, 60)}
            if chance.random() < 0.4
            else {"kill_after_s": 4 * chance.random()}
        )
        end = victim.run(lambda: environment.install(home, recipe), home, **when)
        if end.said:
            raise Broken(f"{home}: it failed: {end.said}")
        python = environment.current_python(home)
        values = {"": "0"} if python is None else {"": value_of(python)}
        if values[""] not in (("1", "2") if earlier else ("0", "2")):
            raise Broken(f"{home} {when}: the engine in use has value {values['']}")
        python = environment.install(home, recipe)
        if value_of(python) != "2" or environment.status(home, recipe).state != "ready":
            raise Broken(f"{home} {when}: the next installation is {environment.status(home)}")
        made = sorted(path.name for path in (home / "engines").glob("env-*"))
        used = environment._read(home).values()
        if odd := [name for name in made if name not in used]:
            raise Broken(f"{home} {when}: left behind: {odd}")
        shutil.rmtree(home)
        return Outcome("installer")


@contextmanager
def attempts(work: Path) -> Iterator[Attempt]:
    torch.set_num_threads(1)  # a process with more of them cannot be forked
    place = work / "kills"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    kinds = {
        "engine": Engines(place / "engine"),
        "download": Downloads(place / "download"),
        "installer": Installers(place / "installer"),
    }

    def attempt(number: int, chance: random.Random) -> Outcome:
        (chosen,) = chance.choices(list(SHARES), list(SHARES.values()))
        return kinds[chosen](number, chance)

    try:
        yield attempt
    finally:
        kinds["download"].close()
