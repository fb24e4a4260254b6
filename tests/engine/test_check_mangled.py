# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is wrong with a job, ``check`` says ok only for what ``run`` will do.

WAN_BLENDER_MANGLED sets how many jobs are mangled; their numbers are the seeds.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.engine.folders import make_job, moving_square, noise_plate
from tests.engine.untrained import write_untrained
from wan_blender.core.errors import WanError
from wan_blender.core.result import find_result
from wan_blender.engine.check import check
from wan_blender.engine.pipeline import generate
from wan_blender.engine.watch import Watch
from wan_blender.light import exr

COUNT = int(os.environ.get("WAN_BLENDER_MANGLED", "60"))
ODD = [None, True, -1, 0, 1, 2, 3, 0.5, 1e9, -1e9, 2**40, "", "x", "7-", "2-3", "nan", "auto",
       "own", "box", "pixels", "start.png", "../start.png", "references",
       [], [1], {}, {"x": 1}]  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for kind in ("t2v", "i2v", "vace"):
        write_untrained(folder / kind, kind)
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path_factory.getbasetemp() / "tensors"))


def whole_job(folder: Path, models: Path, luck: random.Random) -> None:
    kind = luck.choice(["t2v", "i2v", "vace"])
    shutil.copytree(models / kind, folder / "model")
    plate, mask = noise_plate(5, 32, 32, luck.choice([np.uint8, np.uint16])), None
    if luck.random() < 0.3:
        plate = (plate.astype(np.float32) / np.iinfo(plate.dtype).max * 9).astype(np.float16)
    mask = moving_square(5, 32, 32, 12)
    make_job(folder / "job", plate, mask, model__path=str(folder / "model"), sampling__steps=1)
    job = folder / "job"
    (job / "references").mkdir()
    for name in ("start.png", "end.png", "references/a.jpg", "model_mask/000000.png"):
        if luck.random() < 0.6:
            (job / name).parent.mkdir(exist_ok=True)
            mode = "L" if "mask" in name else "RGB"
            Image.new(mode, (32, 32), 200 if mode == "L" else (200, 90, 30)).save(job / name)


def set_value(job: Path, luck: random.Random) -> str:
    """One value in job.json becomes an odd one, or one of its own kind."""
    if not (job / "job.json").is_file():
        return ""
    try:
        data = json.loads((job / "job.json").read_text())
    except ValueError:
        return ""
    group = luck.choice([name for name, value in data.items() if isinstance(value, dict)])
    field = luck.choice(list(data[group]))
    if (group, field) in {("sampling", "steps"), ("model", "path")}:
        return ""  # takes an hour, or another model
    value = luck.choice(ODD)
    if isinstance(data[group][field], (int, float)) and luck.random() < 0.5:
        value = data[group][field] + luck.choice([-1, 1, 7])
    data[group][field] = value
    (job / "job.json").write_text(json.dumps(data))
    return f"{group}.{field} = {value!r}"


def files(job: Path, luck: random.Random) -> Path:
    found = sorted(path for path in job.rglob("*") if path.is_file() and path.name != "state.jsonl")
    return luck.choice(found)


def flip(job: Path, luck: random.Random) -> str:
    path = files(job, luck)
    data = bytearray(path.read_bytes())
    for _ in range(luck.choice([1, 1, 3])):
        data[luck.randrange(len(data))] ^= 1 << luck.randrange(8)
    path.write_bytes(bytes(data))
    return f"flipped bits of {path.relative_to(job)}"


def cut(job: Path, luck: random.Random) -> str:
    path = files(job, luck)
    data = path.read_bytes()
    path.write_bytes(data[: luck.randrange(len(data))])
    return f"cut {path.relative_to(job)}"


def remove(job: Path, luck: random.Random) -> str:
    path = files(job, luck)
    path.unlink()
    return f"removed {path.relative_to(job)}"


def swap(job: Path, luck: random.Random) -> str:
    one, two = files(job, luck), files(job, luck)
    one.write_bytes(two.read_bytes())
    return f"{two.relative_to(job)} over {one.relative_to(job)}"


def make_folder(job: Path, luck: random.Random) -> str:
    path = files(job, luck)
    path.unlink()
    path.mkdir()
    return f"a folder for {path.relative_to(job)}"


def redraw(job: Path, luck: random.Random) -> str:
    path = files(job, luck)
    if path.suffix == ".exr":
        shape = luck.choice([(32, 32), (32, 31)])
        channels = luck.choice(["RGB", "RGBA", "Y"])
        exr.write(path, {name: np.full(shape, luck.choice([0.5, 7])) for name in channels})
        return f"another {path.relative_to(job)}"
    if path.suffix not in (".png", ".jpg"):
        return ""
    mode = luck.choice(["L", "LA", "P", "RGB", "RGBA", "I;16", "1"])
    mode = luck.choice(["L", "RGB"]) if path.suffix == ".jpg" else mode
    Image.new(mode, luck.choice([(32, 32), (32, 32), (31, 32)])).save(path)
    return f"{path.relative_to(job)} as {mode}"


def damage_model(job: Path, luck: random.Random) -> str:
    """Its files but the numbers in them, of which nobody can say that they are wrong."""
    model = job.parent / "model"
    found = sorted(path for path in model.rglob("*") if path.is_file())
    path = luck.choice(found)
    data = path.read_bytes()
    how = luck.choice(["cut", "remove", "flip"])
    if how == "remove":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data[: luck.randrange(len(data))])
    else:
        reach = min(len(data), 2000) if path.suffix == ".safetensors" else len(data)
        if path.suffix == ".safetensors":
            reach = min(reach, 8 + int.from_bytes(data[:8], "little"))
        at = luck.randrange(reach)
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << luck.randrange(8)]) + data[at + 1 :])
    return f"{how} {path.relative_to(model)}"


MANGLES: list[Callable[[Path, random.Random], str]] = [
    set_value, set_value, set_value, flip, cut, remove, swap, make_folder, redraw, damage_model
]  # fmt: skip


@pytest.mark.parametrize("seed", range(COUNT))
def test_check_says_ok_only_for_what_run_does(tmp_path, models, seed):
    luck = random.Random(seed)
    whole_job(tmp_path, models, luck)
    job = tmp_path / "job"
    said = [luck.choice(MANGLES)(job, luck) for _ in range(luck.choice([1, 1, 2]))]
    foretold, happened = outcome(lambda: check(job)), outcome(lambda: generate(job, Watch(job)))
    assert happened == foretold, said
    assert (find_result(job) is None) == bool(happened)


def outcome(act: Callable[[], Any]) -> str:
    """What it is refused for; empty where it is done."""
    try:
        act()
    except WanError as error:
        return f"{error.code}: {error}"
    return ""
