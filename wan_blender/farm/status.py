# SPDX-License-Identifier: GPL-3.0-or-later
"""How each job of a batch is, read from its folder: there the truth is, whoever drives. stdlib."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core import job as jobs
from ..core.answers.report import Report
from ..core.errors import BadRequest, UserError
from ..core.files import JOURNAL_BYTES, read_bytes
from ..core.lock import is_claimed
from ..core.result import find_result, read_report
from .exports import CellNote, read_note

JOBS_AT_MOST = 100_000  # of a batch; a folder with more is none of ours
OUTCOMES = ("done", "running", "waiting", "failed", "cancelled")


@dataclass
class JobStatus:
    """``outcome`` is one of OUTCOMES; ``error`` what stopped a job that failed or was cancelled:
    code, message, hint. ``report`` is None unless it is done."""

    folder: Path
    outcome: str
    note: CellNote | None = None
    error: dict[str, str] = field(default_factory=dict)
    report: Report | None = None
    phase: str = ""  # the last that ended, of one that is running

    @property
    def shot(self) -> str:
        return self.note.shot if self.note else self.folder.name


def list_jobs(folder: Path) -> list[Path]:
    """The job folders of a batch. Raises BadRequest where there are none."""
    found = sorted(path.parent for path in folder.glob("*/job.json"))
    if not found:
        raise BadRequest(f"{folder} holds no jobs.", "Export a batch into it first.")
    return found


def read_status(folder: Path) -> JobStatus:
    """What became of one job. A result that cannot be read is a failure."""
    note = read_note(folder)
    if result := find_result(folder):
        try:
            return JobStatus(folder, "done", note, report=read_report(result))
        except UserError as error:
            return JobStatus(folder, "failed", note, error.to_dict())
    last = _last_event(folder)
    event = last.get("event")
    if is_claimed(folder):
        return JobStatus(folder, "running", note, phase=str(event or ""))
    if event in ("failed", "cancelled"):
        told = {key: str(last.get(key, "")) for key in ("code", "message", "hint")}
        return JobStatus(folder, event, note, told)
    return JobStatus(folder, "waiting", note)


def count(statuses: list[JobStatus]) -> dict[str, int]:
    """How many of each outcome there are, in the order of OUTCOMES; all that occur."""
    counted = Counter(status.outcome for status in statuses)
    return {outcome: counted[outcome] for outcome in OUTCOMES if counted[outcome]}


class StatusReader:
    """Reads the jobs of a batch again and again. A job that is done stays so, and is not read a
    second time; of others nothing is remembered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._done: dict[Path, JobStatus] = {}

    def read(self, on_job: Callable[[], None] = lambda: None) -> list[JobStatus]:
        """How each job is now. ``on_job`` is called after each that was read. Raises BadRequest
        where there are none, OSError."""
        listed = list_jobs(self.folder)
        statuses = []
        for path in listed[:JOBS_AT_MOST]:
            status = self._done.get(path) or read_status(path)
            if status.outcome == "done" and path not in self._done:
                self._done[path] = replace(status, report=None)  # 10,000 of them take memory
            statuses.append(status)
            on_job()
        return statuses


def _last_event(folder: Path) -> dict[str, Any]:
    try:
        lines = read_bytes(folder / jobs.JOURNAL, JOURNAL_BYTES).splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        with contextlib.suppress(ValueError, RecursionError):
            data = json.loads(line)
            if isinstance(data, dict) and isinstance(data.get("event"), str):
                return data
    return {}
