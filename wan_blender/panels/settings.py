# SPDX-License-Identifier: GPL-3.0-or-later
"""A panel for each group of settings, drawn from its schema: new settings appear by themselves."""

from __future__ import annotations

from typing import Any

import bpy

from ..core import schema
from ..host import properties
from ..timeline import compat
from .base import WanPanel, settings_column
from .presets import draw_in_header

OWN_PANELS = ("model", "loras", "stages")
PROMPT, SAMPLING, FIRST_ORDER = "prompt", "sampling", 10


class SettingsPanel(WanPanel):
    """Mixin: draws the group ``scene.wan.<name>``."""

    name = ""
    settings: type | None = None

    def draw(self, context: bpy.types.Context) -> None:
        wan = compat.sequencer_scene(context).wan
        column = settings_column(self.layout)
        draw_settings(column, getattr(wan, self.name), self.settings, f"{self.name}.")


def draw_settings(
    layout: bpy.types.UILayout,
    owner: bpy.types.PropertyGroup,
    cls: type,
    path: str,
    leave_out: tuple[str, ...] = (),
) -> None:
    """``path``: where ``owner`` is in scene.wan, with its dot."""
    for name, rules in schema.settings(cls):
        if name in leave_out:
            continue
        if rules.get("subtype") == "multiline":
            layout.prop(owner, name, text="", placeholder=rules["about"])
        elif rules["kind"] == "many" and not properties.is_number_list(rules):
            draw_list(layout, owner, name, rules, path)
        else:
            layout.prop(owner, name)


def draw_list(
    layout: bpy.types.UILayout,
    owner: bpy.types.PropertyGroup,
    name: str,
    rules: dict[str, Any],
    path: str,
    menu: str = "",
) -> None:
    """Its items in boxes; ``menu`` takes the place of the button that adds an empty one."""
    row = layout.row()
    row.label(text=properties.label(name))
    if menu:
        row.menu(menu, text="", icon="ADD")
    else:
        row.operator("wan.add_item", text="", icon="ADD", emboss=False).path = path + name
    for index, item in enumerate(getattr(owner, name)):
        row = layout.box().row()
        column = row.column()
        if rules["item"] is str:
            column.prop(item, "text", text="")
        else:
            draw_settings(column, item, rules["item"], f"{path}{name}[{index}].")
        remove = row.operator("wan.remove_item", text="", icon="X", emboss=False)
        remove.path, remove.index = path + name, index


def _panel(order: int, name: str, **body: Any) -> type:
    first = name == PROMPT
    body |= {
        "bl_label": properties.label(name),
        "bl_idname": f"WAN_PT_{name}",
        "bl_order": 1 if first else order,
        "bl_options": set() if first else {"DEFAULT_CLOSED"},
        "name": name,
    }
    if name == SAMPLING:
        body["draw_header_preset"] = draw_in_header
    return type(f"WAN_PT_{name}", (SettingsPanel, bpy.types.Panel), body)


def _panels() -> list[type]:
    shown = [(n, {"settings": cls}) for n, cls in properties.groups() if n not in OWN_PANELS]
    return [_panel(order, name, **body) for order, (name, body) in enumerate(shown, FIRST_ORDER)]


CLASSES = tuple(_panels())
