# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of every kind that somebody may send, with bytes, values and lengths changed: each ends in
a sentence, soon, and takes little memory."""

from __future__ import annotations

import copy
import json
import os
import random
import resource
import shutil
import signal
import struct
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import WanTransformer3DModel

from tests.engine.folders import make_job, moving_square, noise_plate
from tests.engine.models.layouts import save
from tests.engine.models.test_broken_models import JSONS, ODD, RAW, mangle
from tests.engine.untrained import write_untrained
from wan_blender.core import job as jobs
from wan_blender.core.errors import EngineError, WanError, from_os_error
from wan_blender.core.result import find_result, verify
from wan_blender.engine.check import check
from wan_blender.engine.models.bundle import open_model
from wan_blender.engine.models.files.lora_files import read_lora
from wan_blender.engine.models.find.catalogue import catalogue
from wan_blender.engine.models.find.identify import identify
from wan_blender.engine.models.find.scan import scan
from wan_blender.engine.models.find.shelf import describe
from wan_blender.engine.pipeline import generate
from wan_blender.engine.watch import Watch
from wan_blender.farm.manifest import parse
from wan_blender.farm.status import list_jobs

from . import victim
from .tally import Attempt, Broken, Outcome

COUNT = 3_000
PROMISE = "0 tracebacks, 0 over 10 s, memory under 1 GB above the job's"
MEANS = (
    "each try is a forked process with a limit of 10 s of its own processor time, whose memory is "
    "what the system says was its peak, less what it had when it began. Configurations get odd "
    "values, all files flipped, cut and filled bytes."
)
LIMIT_S = 10.0
WAIT_S = 60.0  # for those 10 s, on a machine with other things to do
MEMORY_GB = 1.0

Read = Callable[[Path], object]


def spoil_bytes(data: bytes, chance: random.Random) -> bytes:
    """``data`` with bytes flipped, cut off, filled, doubled, or replaced as a whole."""
    changed = bytearray(data)
    match chance.choice(["flip", "flip", "cut", "fill", "double", "raw", "length"]):
        case "flip":
            for _ in range(chance.randint(1, 12)):
                if changed:
                    changed[chance.randrange(min(len(changed), 4000))] = chance.randrange(256)
        case "cut":
            del changed[chance.randrange(len(changed) + 1) :]
        case "fill":
            start = chance.randrange(len(changed) + 1)
            changed[start : start + 64] = bytes([chance.choice([0, 255, 91])]) * 64
        case "double":
            changed *= 2
        case "raw":
            changed = bytearray(chance.choice(RAW))
        case "length":
            number = chance.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1])
            start = chance.choice([0, 8, 16, chance.randrange(len(changed) + 1)])
            changed[start : start + 8] = struct.pack(chance.choice("<>") + "Q", number)
    return bytes(changed)


def spoil_json(data: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.2:
        return spoil_bytes(data, chance)
    held = json.loads(data)
    if isinstance(held, dict) and held:
        return json.dumps(mangle(chance, held)).encode()
    return json.dumps(copy.deepcopy(chance.choice(ODD))).encode()


class Subjects:
    """What is spoilt: kind -> (folder to copy, files in it, what reads it)."""

    def __init__(self, place: Path) -> None:
        model = write_untrained(place / "model", "t2v")
        plate, mask = noise_plate(3, 32, 24), moving_square(3, 32, 24, 8)
        job = make_job(place / "job", plate, mask, model__path=str(model), sampling__steps=1)
        done = Path(shutil.copytree(job, place / "done"))
        victim.run(lambda: generate(done, Watch(done)), done)  # its threads would not be forked
        lora, layer = place / "lora", "blocks.0.attn1.to_q"
        lora.mkdir()
        save(lora / "l.safetensors", {
            f"{layer}.lora_A.weight": torch.zeros(4, 64), f"{layer}.alpha": torch.tensor(4.0),
            f"{layer}.lora_B.weight": torch.zeros(64, 4),
        })  # fmt: skip
        batch = place / "batch"
        batch.mkdir()
        shutil.copytree(done, batch / "one")
        (batch / "batch.toml").write_text('matrix.seeds = "1-3"\n[[shots]]\nstrip = "a"\n')
        small = WanTransformer3DModel(
            num_attention_heads=2, attention_head_dim=32, text_dim=32, freq_dim=64, ffn_dim=128,
            num_layers=1,
        )  # fmt: skip
        frames = ["plate/000000.png", "plate/000002.png", "mask/000001.png"]
        weights = [str(path.relative_to(model)) for path in sorted(model.rglob("*.safetensors"))]
        tokenizer = ["tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"]
        self.kinds: dict[str, tuple[Path, list[str], Read]] = {
            "job settings": (job, ["job.json"], check),
            "job frames": (job, frames, lambda folder: generate(folder, Watch(folder))),
            "journal": (done, ["state.jsonl"], jobs.read_events),
            "report": (done, ["result/report.json", "result/patch/000000.png"], _verify),
            "model": (model, JSONS, _open),
            "weights": (model, weights, _open),
            "tokenizer": (model, tokenizer, _read_tokenizer),
            "lora": (lora, ["l.safetensors"], lambda f: read_lora(f / "l.safetensors", small)),
            "batch": (batch, ["batch.toml", "one/job.json", "one/state.jsonl"], _read_batch),
        }


def _verify(folder: Path) -> object:
    return verify(find_result(folder) or folder / "result", hashes=True)


def _open(folder: Path) -> object:
    describe(str(folder))
    for path in folder.rglob("*.safetensors"):
        _told(lambda path=path: identify(path))
    scan([folder.parent])
    return open_model(folder, "cpu", "float32")


def _read_tokenizer(folder: Path) -> object:
    return open_model(folder, "cpu", "float32").encode_text(["a red ball"])


def _read_batch(folder: Path) -> object:
    list_jobs(folder)
    try:
        return parse((folder / "batch.toml").read_text("utf-8"), folder / "batch.toml")
    except UnicodeDecodeError:
        return None  # said by who reads the file


def _told(read: Callable[[], object]) -> str:
    """ "" or the code of the sentence that ``read`` ended in. Raises anything else."""
    try:
        read()
    except WanError as error:
        if isinstance(error, EngineError) or not error.message:
            raise
        return error.code
    except OSError as error:
        return from_os_error(error, "reading").code
    return ""


@contextmanager
def attempts(work: Path) -> Iterator[Attempt]:
    torch.set_num_threads(1)  # a process with more of them cannot be forked
    place = work / "mangled"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    os.environ["WAN_BLENDER_CACHE"] = str(place / "cache")
    catalogue()
    subjects = Subjects(place)

    def attempt(number: int, chance: random.Random) -> Outcome:
        kind = list(subjects.kinds)[number % len(subjects.kinds)]
        source, names, read = subjects.kinds[kind]
        folder = place / f"try {number}" / source.name
        shutil.copytree(source, folder)
        for name in chance.sample(names, chance.randint(1, min(2, len(names)))):
            path = folder / name
            spoil = spoil_json if name.endswith(".json") else spoil_bytes
            path.write_bytes(spoil(path.read_bytes(), chance))
        told, seconds, gigabytes = _apart(lambda: _told(lambda: read(folder)))
        fault = told if "Traceback" in told or "alone" in told else ""
        if fault or gigabytes > MEMORY_GB:
            raise Broken(f"{folder} ({kind}): {fault or f'{gigabytes:.2f} GB'}")
        shutil.rmtree(folder.parent)
        worst = {f"s, {kind}": round(seconds, 2), f"GB, {kind}": round(gigabytes, 3)}
        return Outcome(f"{kind} {'refused' if told else 'read'}", worst)

    yield attempt
    shutil.rmtree(place / "cache", ignore_errors=True)


def _apart(work: Callable[[], str]) -> tuple[str, float, float]:
    """What ``work()`` says in a forked process, its seconds of processor time, and the GB that it
    took at its peak."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        resource.setrlimit(resource.RLIMIT_CPU, (int(LIMIT_S), int(LIMIT_S)))
        signal.alarm(int(WAIT_S))
        with open("/proc/self/clear_refs", "w", encoding="ascii") as clear:
            clear.write("5")  # its peak begins now
        before = _status("VmRSS")
        try:
            told = work()
        except BaseException:  # noqa: BLE001 - it is told by the parent
            told = traceback.format_exc(limit=-6)
        spent = sum(os.times()[:2])
        os.write(write, json.dumps([told[-6000:], spent, _status("VmHWM") - before]).encode())
        os._exit(0)
    os.close(write)
    began = time.monotonic()
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not said:
        spent_s = time.monotonic() - began
        code = os.waitstatus_to_exitcode(status)
        return f"left alone: it was ended by {code} after {spent_s:.0f} s", spent_s, 0.0
    told, seconds, gigabytes = json.loads(said)
    return told, seconds, gigabytes


def _status(name: str) -> float:
    """GB of this process, as Linux tells."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1e6
    return 0.0
