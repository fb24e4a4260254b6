# SPDX-License-Identifier: GPL-3.0-or-later
"""Run inside the Blender under test: shows the Wan tab, writes what it sees to state.json every
tenth of a second, does what stands in command.txt, and times the main thread.

    blender FILE --python probe.py -- FOLDER [PANEL ...]      only these panels, open
"""

import json
import os
import sys
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import bpy

FOLDER, *PANELS = sys.argv[sys.argv.index("--") + 1 :]
FOLDER = Path(FOLDER)
ADDON = "bl_ext.user_default.wan_blender.wan_blender"
state, session, generate, panels = (
    import_module(f"{ADDON}.{name}")
    for name in (
        "host.state",
        "host.session",
        "operators.generate",
        "panels",
    )
)
longest_ms: dict[str, float] = {}
loop = {"last": time.perf_counter(), "gaps_ms": []}


def timed(owner: type, name: str, label: str) -> None:
    inner = getattr(owner, name)

    def outer(self, what=None, *more, **named):  # Blender counts the arguments of draw and run
        began = time.perf_counter()
        try:
            return inner(self, what, *more, **named) if what else inner(self)
        finally:
            spent = 1000 * (time.perf_counter() - began)
            longest_ms[label] = max(longest_ms.get(label, 0), round(spent, 1))

    setattr(owner, name, outer)


def sequencer_area() -> bpy.types.Area:
    screen = bpy.context.window_manager.windows[0].screen
    return next(area for area in screen.areas if area.type == "SEQUENCE_EDITOR")


def sidebar() -> list[int]:
    """Its left, top, right and bottom in pixels of the screen, from the top left corner."""
    window = bpy.context.window_manager.windows[0]
    region = next(region for region in sequencer_area().regions if region.type == "UI")
    top = window.height - region.y - region.height
    return [region.x, top, region.x + region.width, top + region.height]


def show_sequencer() -> None:
    screen = bpy.context.window_manager.windows[0].screen
    area = max(screen.areas, key=lambda area: area.width * area.height)
    area.type = "SEQUENCE_EDITOR"
    if PANELS:
        show_only(PANELS)
    area.spaces.active.view_type = "SEQUENCER"
    area.spaces.active.show_region_ui = True
    bpy.app.timers.register(show_tab, first_interval=1.0)


def show_tab() -> None:
    area = sequencer_area()
    region = next(region for region in area.regions if region.type == "UI")
    region.active_panel_category = "Wan"
    area.tag_redraw()
    bpy.app.timers.register(report, first_interval=0.5)
    bpy.app.timers.register(watch_loop)


def watch_loop() -> float:
    now = time.perf_counter()
    loop["gaps_ms"].append(1000 * (now - loop["last"]))
    loop["last"] = now
    return 0.0


def report() -> float:
    obey()
    host = state.host()
    current, estimate = host.session, host.estimate
    scene = bpy.data.scenes["Scene"]
    gaps = sorted(loop["gaps_ms"])
    jobs = [
        {
            "phase": local.phase.value,
            "fraction": local.progress.fraction if local.progress else 0.0,
            "doing": local.progress.phase if local.progress else "",
            "placed": local.placed,
        }
        for local in current.jobs
    ]
    told = {
        "jobs": jobs,
        "engine": current.engine_state.value,
        "engine_pid": current.engine.pid if current.engine else 0,
        "error": str(current.error or ""),
        "model": scene.wan.model.path,
        "sampling": {n: getattr(scene.wan.sampling, n) for n in ("steps", "shift", "guidance")},
        "stages": [stage.name for stage in scene.wan.stages],
        "memory": asdict(estimate.forecast.memory) if estimate.forecast else None,
        "findings": [f.rule for f in estimate.outlook(scene).findings],
        "found": [model.name for model in host.library.listing.models],
        "frame": scene.frame_current,
        "sidebar": sidebar(),
        "strips": {
            s.name: [s.channel, s.left_handle, s.duration] for s in scene.sequence_editor.strips
        },
        "longest_ms": longest_ms,
        "loop_gap_ms": {"median": gaps[len(gaps) // 2], "max": gaps[-1]} if gaps else {},
    }
    part = FOLDER / "state.part"
    part.write_text(json.dumps(told))
    os.replace(part, FOLDER / "state.json")
    return 0.1


def show_only(names: list[str]) -> None:
    """Only these panels, open, so that they fit the screen."""
    kinds = [cls for cls in panels.CLASSES if issubclass(cls, bpy.types.Panel)]
    ours = [cls for cls in kinds if getattr(cls, "bl_category", "") == "Wan"]
    for cls in reversed(ours):
        if cls.is_registered:
            bpy.utils.unregister_class(cls)
    for cls in ours:
        if cls.__name__ in names:
            cls.bl_options = {o for o in getattr(cls, "bl_options", ()) if o != "DEFAULT_CLOSED"}
            bpy.utils.register_class(cls)
    sequencer_area().tag_redraw()


def obey() -> None:
    path = FOLDER / "command.txt"
    if not path.exists():
        return
    command, _, value = path.read_text().strip().partition(" ")
    path.unlink()
    if command == "paint":  # buttons get a colour that a screenshot can be searched for
        theme = bpy.context.preferences.themes[0].user_interface
        for kind, colours in (("tool", theme.wcol_tool), ("menu", theme.wcol_menu)):
            colours.inner = (1, 0, 1, 1) if value == kind else (0.329, 0.329, 0.329, 1)
        sequencer_area().tag_redraw()
    elif command == "only":
        show_only(value.split())
    elif command == "shift":
        bpy.data.scenes["Scene"].wan.sampling.shift = float(value)
    elif command == "steps":
        bpy.data.scenes["Scene"].wan.sampling.steps = int(value)
    elif command == "python":
        os.environ["WAN_ENGINE_PYTHON"] = value
    elif command == "clock":
        loop["gaps_ms"].clear()
        longest_ms.clear()


timed(session.Session, "tick", "pump")
timed(session.Session, "place", "place the result")
timed(generate.WAN_OT_generate, "run", "press Generate")
timed(session.Session, "start_engine", "start the engine")
timed(session.BackgroundExport, "start", "save a copy, start the export")
for cls in panels.CLASSES:
    if issubclass(cls, bpy.types.Panel):
        timed(cls, "draw", f"draw {cls.bl_label}")
bpy.app.timers.register(show_sequencer, first_interval=1.0)
