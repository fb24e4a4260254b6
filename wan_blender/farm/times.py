# SPDX-License-Identifier: GPL-3.0-or-later
"""How long jobs take, learned from the reports of earlier ones. stdlib only."""

from __future__ import annotations

import contextlib
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..core import job as jobs
from ..core.answers.report import Report
from ..core.errors import WanError
from ..core.result import find_result, read_report
from ..core.settings import Job

READ_AT_MOST = 500  # reports: more would not make the median better
KEPT = 100  # of each model, the newest


def name_model(job: Job) -> str:
    """Two jobs of the same name use the same weights in the same way."""
    stages = [[stage.model, stage.dtype, _loras(stage.loras)] for stage in job.stages]
    return json.dumps(
        [job.model.path, job.model.device, job.model.dtype, _loras(job.loras), stages]
    )


def _loras(loras: list[Any]) -> list[list[Any]]:
    return [[lora.file, lora.weight, lora.expert] for lora in loras]


def guess_cost(job: Job) -> float:
    """Frames x pixels x steps, in millions: what jobs are compared by, not seconds."""
    steps = len(job.sampling.sigmas) - 1 if job.sampling.sigmas else job.sampling.steps
    pixels = job.region.pixels or job.shot.width * job.shot.height
    calls = 1 if job.sampling.guidance == 1 else 2
    return max(1e-3, job.shot.frame_count * pixels * max(steps, 1) * calls / 1e6)


class Times:
    """Seconds for each unit of ``guess_cost``, and for a load, of each model that was seen."""

    def __init__(self) -> None:
        self._rates: dict[str, list[float]] = defaultdict(list)
        self._loads_s: dict[str, list[float]] = defaultdict(list)

    def learn(self, model: str, cost: float, report: Report) -> None:
        """From a job of ``model``."""
        seconds = dict(report.seconds)
        if loading := seconds.pop("loading", 0.0):
            self._loads_s[model] = [*self._loads_s[model][-KEPT:], loading]
        if spent := sum(seconds.values()):
            self._rates[model] = [*self._rates[model][-KEPT:], spent / cost]

    def seconds(self, model: str, cost: float) -> float | None:
        """What a job takes without loading; None for a model that was never seen."""
        rates = self._rates.get(model)
        return cost * statistics.median(rates) if rates else None

    def load_s(self, model: str | None = None) -> float | None:
        """What loading takes, of all models by default; None where none was seen."""
        known = [self._loads_s.get(model, [])] if model is not None else self._loads_s.values()
        loads = [load for listed in known for load in listed]
        return statistics.median(loads) if loads else None

    def rate(self) -> float | None:
        """Seconds for a unit of cost, of all models."""
        rates = [rate for listed in self._rates.values() for rate in listed]
        return statistics.median(rates) if rates else None


def read_times(folders: Iterable[Path]) -> Times:
    """What the finished jobs in ``folders`` took; READ_AT_MOST are read."""
    times, read = Times(), 0
    for folder in folders:
        if read == READ_AT_MOST:
            break
        if result := find_result(folder):
            with contextlib.suppress(WanError, OSError):
                job = jobs.read(folder)
                times.learn(name_model(job), guess_cost(job), read_report(result))
                read += 1
    return times
