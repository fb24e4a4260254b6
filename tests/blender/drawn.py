# SPDX-License-Identifier: GPL-3.0-or-later
"""Panels drawn without a window: a layout that keeps what it is given.

Words, icons, operators and properties are checked against what this Blender has, so that a panel
that would raise in a window raises here.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import bpy

CHILDREN = {"row", "column", "box", "split", "grid_flow", "column_flow"}
DATA = {"prop": "property", "prop_search": "property", "template_list": "propname"}


class Operator:
    """What ``layout.operator`` gives: takes the operator's own properties and no others."""

    def __init__(self, idname: str) -> None:
        group, _, name = idname.partition(".")
        rna = getattr(getattr(bpy.ops, group), name).get_rna_type()
        object.__setattr__(self, "known", set(rna.properties.keys()))
        object.__setattr__(self, "idname", idname)

    def __setattr__(self, name: str, value: Any) -> None:
        assert name in self.known, f"{self.idname} has no {name}"
        object.__setattr__(self, name, value)


class Layout:
    """``calls`` are all (method, arguments by name, answer), of the parts of this layout too."""

    def __init__(self, calls: list[tuple[str, dict[str, Any], Any]] | None = None) -> None:
        object.__setattr__(self, "calls", [] if calls is None else calls)

    def __setattr__(self, name: str, value: Any) -> None:
        assert name in bpy.types.UILayout.bl_rna.properties, name

    def __getattr__(self, name: str) -> Any:
        function = bpy.types.UILayout.bl_rna.functions[name]
        order = [p.identifier for p in function.parameters if not p.is_output]

        def call(*values: Any, **named: Any) -> Any:
            given = dict(zip(order, values, strict=False)) | named
            for word, value in given.items():
                parameter = function.parameters[word]
                if parameter.type == "ENUM":
                    assert value in parameter.enum_items, (name, word, value)
            if name in DATA:
                assert given[DATA[name]] in given["data"].bl_rna.properties, given
            answer = Layout(self.calls) if name in CHILDREN else None
            if name in ("operator", "operator_menu_enum"):
                answer = Operator(given["operator"])
            self.calls.append((name, given, answer))
            return answer

        return call


class Drawn:
    """``texts``: what can be read, in order. ``operators``: the buttons by their words, or by their
    idnames where they have none."""

    def __init__(self, panel: type) -> None:
        context = SimpleNamespace(
            scene=bpy.context.scene,
            region=SimpleNamespace(width=1000),
            preferences=SimpleNamespace(system=SimpleNamespace(ui_scale=1)),  # 0 without a window
            window_manager=bpy.context.window_manager,
        )
        layout = Layout()
        panel.draw(SimpleNamespace(layout=layout), context)
        self.texts = [given["text"] for _, given, _ in layout.calls if given.get("text")]
        self.operators = {
            given.get("text") or given["operator"]: answer
            for name, given, answer in layout.calls
            if name == "operator"
        }
