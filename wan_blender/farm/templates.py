# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch as a job of somebody else's farm: OpenJD (AWS Deadline Cloud) and Flamenco 3. stdlib.

Formats: Open Job Description, job template 2023-09
(https://github.com/OpenJobDescription/openjd-specifications/wiki); Flamenco, custom job types
(https://flamenco.blender.org/usage/job-types/). Each task runs one list of chunks.py.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import from_os_error
from ..core.files import write_json
from ..core.moved_paths import VARIABLE
from .chunks import FOLDER, Chunk, write_chunks

OPENJD, FLAMENCO, FLAMENCO_TYPE = "openjd.json", "flamenco.json", "wan-blender-batch.js"
WAIT_S = 600  # for jobs that another worker holds: it may die, and give them back


@dataclass(frozen=True)
class Machine:
    """What a worker must offer. ``python`` is the engine's, ``paths`` a value of
    WAN_BLENDER_PATHS."""

    python: str = "python"
    package: str = ""  # the folder that holds wan_blender; "" where the Python finds it
    paths: str = ""
    gpus: int = 0
    gpu_gb: float = 0.0
    tags: tuple[tuple[float, str], ...] = ()  # of Flamenco's workers, by the memory of their cards

    def tag(self, gpu_gb: float) -> str:
        """Of the smallest cards that have ``gpu_gb``; of the largest where none has; "" where there
        are no tags or nothing is known of the jobs."""
        if not (self.tags and gpu_gb):
            return ""
        known = sorted(self.tags)
        return next((tag for card_gb, tag in known if card_gb >= gpu_gb), known[-1][1])


def write_template(
    batch: Path,
    kind: str,
    machine: Machine,
    jobs_each: int = 8,
    needs_gb: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Write the lists of the batch and the files that a farm of ``kind`` takes; which, and how many
    tasks. Jobs that want different cards by ``needs_gb`` are in different lists. Raises BadRequest
    where nothing is unfinished, DiskFull."""
    batch = batch.absolute()
    chunks = write_chunks(batch, jobs_each, needs_gb)
    try:
        files = KINDS[kind](batch, chunks, machine)
    except OSError as error:
        raise from_os_error(error, "writing the template") from error
    jobs = sum(len(chunk.jobs) for chunk in chunks)
    return {"files": [str(file) for file in files], "tasks": len(chunks), "jobs": jobs}


def _openjd(batch: Path, chunks: list[Chunk], machine: Machine) -> list[Path]:
    name = batch.name[:64] or "batch"
    variables = {"PYTHONUNBUFFERED": "1"}
    if machine.package:
        variables["PYTHONPATH"] = "{{Param.PackageDir}}"
    if machine.paths:
        variables[VARIABLE] = machine.paths
    cards = sorted({chunk.gpu_gb for chunk in chunks})
    steps = []
    for gpu_gb in cards:
        numbers = [n for n, chunk in enumerate(chunks, 1) if chunk.gpu_gb == gpu_gb]
        title = "Generate" if len(cards) == 1 else f"Generate on {gpu_gb:g} GB"
        wanted_gb = max(machine.gpu_gb, gpu_gb)
        steps.append(_openjd_step(title, numbers, variables, machine.gpus, wanted_gb))
    parameters = [
        {"name": "BatchDir", "type": "PATH", "objectType": "DIRECTORY", "dataFlow": "INOUT",
         "default": ".", "description": "Folder of the batch"},
        {"name": "EnginePython", "type": "STRING", "default": machine.python},
    ]  # fmt: skip
    if machine.package:
        parameters.append({"name": "PackageDir", "type": "STRING", "default": machine.package})
    write_json(
        batch / OPENJD,
        {
            "specificationVersion": "jobtemplate-2023-09",
            "name": f"wan_blender {name}",
            "parameterDefinitions": parameters,
            "steps": steps,
        },
    )
    return [batch / OPENJD]


def _openjd_step(
    name: str, numbers: list[int], variables: dict[str, str], gpus: int, gpu_gb: float
) -> dict[str, Any]:
    """Lists of jobs that want one kind of card."""
    chunk = {"name": "Chunk", "type": "INT", "range": ",".join(map(str, numbers))}
    step: dict[str, Any] = {
        "name": name,
        "parameterSpace": {"taskParameterDefinitions": [chunk]},
        "stepEnvironments": [{"name": "Engine", "variables": variables}],
        "script": {
            "actions": {
                "onRun": {
                    "command": "{{Param.EnginePython}}",
                    "args": ["{{Task.File.Run}}", "{{Param.BatchDir}}", "{{Task.Param.Chunk}}"],
                    "cancelation": {"mode": "NOTIFY_THEN_TERMINATE", "notifyPeriodInSeconds": 30},
                }
            },
            "embeddedFiles": [{"name": "Run", "type": "TEXT", "data": RUN_CHUNK}],
        },
    }
    if gpus:
        amounts: list[dict[str, Any]] = [{"name": "amount.worker.gpu", "min": gpus}]
        if gpu_gb:
            amounts.append({"name": "amount.worker.gpu.memory", "min": round(gpu_gb * 1024)})
        step["hostRequirements"] = {"amounts": amounts}
    return step


# Kept in the template, since its range gives plain numbers and the lists have names with zeros.
RUN_CHUNK = f'''\
import pathlib, runpy, sys
batch, chunk = pathlib.Path(sys.argv[1]), int(sys.argv[2])
listed = batch / "{FOLDER}" / f"{{chunk:05d}}.txt"
sys.argv = ["wan_blender.engine", "run", "--list", str(listed), "--wait", "{WAIT_S}"]
runpy.run_module("wan_blender.engine", run_name="__main__", alter_sys=True)
'''


def _flamenco(batch: Path, chunks: list[Chunk], machine: Machine) -> list[Path]:
    """The job type, to be copied into the manager's scripts, and for each kind of card a job as its
    API takes it at /api/v3/jobs: there a tag belongs to a job, not to a task."""
    shutil.copyfile(Path(__file__).with_name(FLAMENCO_TYPE), batch / FLAMENCO_TYPE)
    files = [batch / FLAMENCO_TYPE]
    tags = list(dict.fromkeys(machine.tag(chunk.gpu_gb) for chunk in chunks))
    for number, tag in enumerate(tags, 1):
        own = [chunk for chunk in chunks if machine.tag(chunk.gpu_gb) == tag]
        name = FLAMENCO if len(tags) == 1 else f"{Path(FLAMENCO).stem}-{number}.json"
        write_json(batch / name, _flamenco_job(batch, own, machine, tag))
        files.append(batch / name)
    return files


def _flamenco_job(batch: Path, chunks: list[Chunk], machine: Machine, tag: str) -> dict[str, Any]:
    settings = {
        "batch_dir": batch.as_posix(),
        "python": machine.python,
        "package_dir": machine.package,
        "paths": machine.paths,
        "wait_s": WAIT_S,
        "chunks": json.dumps([[chunk.file.name, len(chunk.jobs)] for chunk in chunks]),
    }
    return {
        "name": f"wan_blender {batch.name}",
        "type": Path(FLAMENCO_TYPE).stem,
        "priority": 50,
        "submitter_platform": "manager",
        "settings": settings,
        "metadata": {"jobs": str(sum(len(chunk.jobs) for chunk in chunks))},
        **({"worker_tag": tag} if tag else {}),
    }


KINDS: dict[str, Callable[[Path, list[Chunk], Machine], list[Path]]] = {
    "openjd": _openjd,
    "flamenco": _flamenco,
}
