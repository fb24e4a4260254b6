# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy

from ..core.errors import BadRequest
from ..core.files import read_json
from ..core.result import REPORT, REPORT_BYTES
from .on_job import OnJob
from .operator import WanOperator


class WAN_OT_show_report(OnJob, WanOperator, bpy.types.Operator):
    """What was run, on what, how long it took, and what was measured"""

    bl_idname = "wan.show_report"
    bl_label = "Report"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        done = self.execute(context)
        return context.window_manager.invoke_popup(self, width=460) if "FINISHED" in done else done

    def run(self, context: bpy.types.Context) -> None:
        _, result = self.finished_job()
        try:
            told = read_json(result / REPORT, REPORT_BYTES)
        except (OSError, ValueError) as error:
            raise BadRequest(f"The report in {result} cannot be read: {error}.") from error
        self.lines = list(describe(told))
        self.report({"INFO"}, "; ".join(self.lines))

    def draw(self, context: bpy.types.Context) -> None:
        column = self.layout.column(align=True)
        for line in self.lines:
            column.label(text=line)


def describe(report: dict[str, Any]) -> Iterator[str]:
    """A report in words, one line each."""
    if "borrow" in report:
        yield f"{report['borrow']['share']:.0%} of the mask is borrowed from other frames"
        yield from report["borrow"]["notes"]
    if "model" in report:
        yield from _describe_model(report)
    seconds = report["seconds"]
    phases = ", ".join(f"{name} {spent:.1f}" for name, spent in seconds.items() if spent >= 0.1)
    yield f"Time: {sum(seconds.values()):.1f} s ({phases})"
    yield f"Largest difference outside the patch: {report['max_diff_outside']:g}"
    for file, layers in report.get("loras_skipped", {}).items():
        yield f"{Path(file).name} changes {len(layers)} layers that this model does not have"
    for finding in report.get("schedule", {}).get("findings", []):
        yield finding["message"]


def _describe_model(report: dict[str, Any]) -> Iterator[str]:
    model, size, memory = report["model"], report["size"], report["memory"]
    yield f"Model: {model['name']} ({model['kind']}), {report['dtype']} on {report['device']}"
    width, height = size["model_pixels"]
    windows = f" in {len(size['windows'])} windows" if len(size["windows"]) > 1 else ""
    yield f"The model saw {width} x {height} px, {size['model_frames']} frames{windows}"
    taken = memory.get("measured_gb")
    measured = f"{taken:.2f} GB measured" if taken else "not measured"
    yield f"Memory: {memory['predicted_gb']:.2f} GB predicted, {measured}"
    if steps := memory.get("measures_taken"):
        yield f"Memory ran short: {steps} more measures were taken on the way"
