# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches from a script: plan, export, run, status and report, each alone and repeatable.

``export`` needs Blender with the extension enabled; the others run in any Python from 3.11. In
Blender: ``from bl_ext.user_default.wan_blender.wan_blender import batch``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..farm import driver
from ..farm.board import BoardWriter
from ..farm.engines import start_local
from ..farm.manifest import BatchPlan, read_manifest
from ..farm.status import count, list_jobs, read_status
from ..process.call import EngineCall
from ..process.engine import find_python

LOGS = ".logs"

OnFrame = Callable[[str, int, int], None]
OnJob = Callable[[str, str], None]


def plan(manifest: str | Path) -> BatchPlan:
    """What a batch.toml asks for: its ``shots`` and ``cells``. Raises InvalidBatch that names the
    line."""
    return read_manifest(Path(manifest))


def export(
    manifest: str | Path, folder: str | Path, on_frame: OnFrame = lambda shot, done, total: None
) -> dict[str, list[Any]]:
    """Write the job folders of a batch; the names of those that were made, kept and so on, and
    "failed" with a shot, its line and the error of each that could not be. ``on_frame`` hears a
    shot's name and how many of its frames are done. Raises WanError where nothing was exported."""
    from ..host.batch_export import BatchExport

    exporter = BatchExport(plan(manifest), Path(folder))
    told = exporter.run(
        exporter.read(), lambda shot, done, total: on_frame(shot.name, done, total), lambda: False
    )
    return vars(told)


def run(
    folder: str | Path,
    engines: int = 1,
    python: str = "",
    on_job: OnJob = lambda job, outcome: None,
    stop: threading.Event | None = None,
) -> dict[str, str]:
    """Run what is unfinished in a batch on ``engines`` of this machine; the outcome of each job by
    its folder's name: done, skipped, failed or cancelled. ``on_job`` hears each as it comes;
    ``stop`` ends the run when it is set. Raises JobBusy while another driver is at work,
    EngineMissing."""
    batch, outcomes = Path(folder).absolute(), {}

    def tell(job: str, outcome: str, error: dict[str, str]) -> None:
        outcomes[Path(job).name] = outcome
        on_job(Path(job).name, outcome)

    list_jobs(batch)
    with driver.hold_batch(batch):
        started = start_local(engines, find_python(python), batch / LOGS)
        try:
            drive = driver.Driver(batch, started, tell)
            with BoardWriter(batch, lambda: driver.read_board(drive)):
                drive.run(stop or threading.Event())
        finally:
            for engine in started:
                engine.stop()
    return outcomes


def status(folder: str | Path) -> dict[str, int]:
    """How many jobs of a batch are done, running, waiting, failed and cancelled."""
    return count([read_status(path) for path in list_jobs(Path(folder))])


def report(folder: str | Path, python: str = "") -> dict[str, Any]:
    """Write the report of a batch; its "page", "csv" and "lines", and "counts" of outcomes."""
    call = EngineCall(find_python(python), "report", str(Path(folder).absolute()))
    call.wait()
    answer: dict[str, Any] = call.result()
    return answer
