# SPDX-License-Identifier: GPL-3.0-or-later
"""The button, what runs, what went wrong, and how the engine is."""

from __future__ import annotations

import contextlib

import bpy

from ..core.answers.report import Compute, Memory
from ..core.errors import EngineMissing, WanError
from ..host import preferences
from ..host.estimate import Outlook, computes_rows
from ..host.interface import draw_wrapped
from ..host.jobs import LocalJob, Phase
from ..host.session import Session
from ..host.state import host
from ..process.engine import EngineState
from ..timeline import compat
from .base import WanPanel, duration
from .results import draw_waiting
from .schedule import draw_findings

# Each state of the engine: one sentence, one button.
ENGINE = {
    EngineState.STOPPED: ("Engine starts with the first job", "wan.start_engine", "Start"),
    EngineState.MISSING: ("No Python to run the engine", "preferences.addon_show", "Choose"),
    EngineState.STARTING: ("Engine is starting", "wan.stop_engine", "Stop"),
    EngineState.READY: ("Engine is ready", "wan.stop_engine", "Stop"),
    EngineState.BUSY: ("Engine is working", "wan.stop_engine", "Stop"),
    EngineState.FAILED: ("Engine failed", "wan.start_engine", "Restart"),
}


class WAN_PT_generate(WanPanel, bpy.types.Panel):
    bl_label = "Generate"
    bl_order = 2

    def draw(self, context: bpy.types.Context) -> None:
        layout, session = self.layout, host().session
        session.look_first(preferences.jobs_roots)
        row = layout.row()
        row.scale_y = 1.4
        row.operator("wan.generate", icon="RENDER_ANIMATION")
        batch = row.row()
        batch.ui_units_x = 4
        batch.operator("wan.write_batch")
        _draw_advice(layout, context)
        for local in session.active:
            _draw_job(layout, local)
        if session.error:
            _draw_error(layout, context, session)
        draw_waiting(layout, session)
        _draw_engine(layout, session)


def _draw_advice(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    host().library.scan_first()
    with contextlib.suppress(WanError):  # Generate says it when it is pressed
        view = host().estimate.outlook(compat.sequencer_scene(context))
        _draw_memory(layout, context, view)
        draw_findings(layout, context, view)


def _draw_memory(layout: bpy.types.UILayout, context: bpy.types.Context, view: Outlook) -> None:
    """The predicted peak; while something runs, what is free says nothing of the next run."""
    if host().session.active:
        return
    estimate = host().estimate
    estimate.ask(view)
    forecast, error = estimate.forecast, estimate.error
    if forecast:
        memory = forecast.memory
        text = ", ".join([_memory_words(memory), *memory.measures])
        draw_wrapped(layout, context, text, "MEMORY" if memory.fits else "ERROR")
        if memory.remedy:
            draw_wrapped(layout, context, memory.remedy, "BLANK1")
        if computes_rows(view.settings):
            draw_wrapped(layout, context, _saving_words(forecast.compute), "TIME")
    elif error and not isinstance(error, EngineMissing):
        draw_wrapped(layout, context, str(error), "ERROR")
    else:
        layout.label(text="Memory: –", icon="MEMORY")  # noqa: RUF001


def _memory_words(memory: Memory) -> str:
    needed, free = memory.predicted_gb, memory.free_gb
    return f"Memory: about {max(needed, 0.1):.1f} of {free:.1f} GB on {memory.device}"


def _saving_words(compute: Compute | None) -> str:
    """What passes over rows are predicted to save; None until the mask was analysed."""
    if compute is None:
        return "Time: show the mask's cells to see what would be saved"
    if compute.used == "dense" and compute.why:
        return f"Time: all is computed. {compute.why}"
    left, share = compute.predicted_ratio, compute.active_share
    return f"Time: about {left:.0%} of a dense run's steps; {share:.0%} of it is generated"


def _draw_job(layout: bpy.types.UILayout, local: LocalJob) -> None:
    column = layout.column(align=True)
    column.label(text=local.name, icon="SEQUENCE")
    row = column.row(align=True)
    progress = local.progress
    row.progress(factor=progress.fraction if progress else 0.0, text=_progress_text(local))
    cancel = row.row(align=True)
    cancel.enabled = not local.cancelling
    cancel.operator("wan.cancel", text="", icon="CANCEL").folder = str(local.folder)
    if progress and progress.eta_s >= 0 and not local.cancelling:
        column.label(text=f"About {duration(progress.eta_s)} left", icon="TIME")


def _progress_text(local: LocalJob) -> str:
    progress = local.progress
    if local.cancelling:
        return "Stopping after this step"
    if local.phase is Phase.QUEUED:
        return "Waiting for the engine"
    if progress is None:
        return "Preparing"
    step = f" {progress.step}/{progress.steps}" if progress.steps else ""
    return f"{progress.phase.capitalize()}{step}"


def _draw_error(layout: bpy.types.UILayout, context: bpy.types.Context, session: Session) -> None:
    box = layout.box()
    draw_wrapped(box, context, session.error.message, "ERROR")
    if session.error.hint:
        draw_wrapped(box, context, session.error.hint, "BLANK1")
    row = box.row()
    row.operator("wan.open_log")
    row.operator("wan.dismiss_error")


def _draw_engine(layout: bpy.types.UILayout, session: Session) -> None:
    sentence, operator, text = ENGINE[session.engine_state]
    engine = session.engine
    if session.engine_state in (EngineState.READY, EngineState.BUSY) and engine.ready:
        sentence += f" ({engine.ready.device}, {engine.memory_gb:.1f} GB)"
    row = layout.row()
    row.label(text=sentence)
    button = row.row()
    button.ui_units_x = 3
    properties = button.operator(operator, text=text)
    if operator == "preferences.addon_show":
        properties.module = preferences.ADDON_ID
    if session.engine_state is EngineState.READY:
        layout.row().operator("wan.free_memory")
