# SPDX-License-Identifier: GPL-3.0-or-later
"""All registration, in one order and back."""

from __future__ import annotations

import bpy

from . import matrix_view, operators, panels
from .host import command_line, overlay, preferences, properties, state
from .panels import mask_overlay, matrix_overlay, schedule_plot, sketch_overlay

CLASSES = (*preferences.CLASSES, *operators.CLASSES, *panels.CLASSES)

_command: object = None


def register() -> None:
    global _command
    properties.register()
    matrix_view.register()
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    matrix_overlay.register()
    mask_overlay.register()
    sketch_overlay.register()
    schedule_plot.register()
    state.register(
        preferences.home(),
        preferences.engine_python,
        preferences.model_places,
        preferences.cache_gb,
    )
    overlay.register()
    for menu in _menus():
        menu.append(_draw_menu)
    _command = bpy.utils.register_cli_command("wan_blender", command_line.main)


def unregister() -> None:
    bpy.utils.unregister_cli_command(_command)
    for menu in _menus():
        menu.remove(_draw_menu)
    overlay.unregister()
    state.unregister()
    schedule_plot.unregister()
    sketch_overlay.unregister()
    mask_overlay.unregister()
    matrix_overlay.unregister()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
    matrix_view.unregister()
    properties.unregister()


def _menus() -> tuple[type, ...]:
    return bpy.types.SEQUENCER_MT_strip, bpy.types.SEQUENCER_MT_context_menu


def _draw_menu(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    menu.layout.separator()
    menu.layout.operator("wan.generate", text="Generate with Wan")
    menu.layout.operator("wan.write_batch", text="Wan Batch...")
