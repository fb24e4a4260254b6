# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import bpy
from bpy.props import EnumProperty, StringProperty

from ..core.errors import BadRequest
from ..host.library import library
from .operator import WanOperator

NONE = "NONE"
# Part -> the role of the files that fit.
ROLES = {
    "transformer": "transformer",
    "transformer_2": "transformer",
    "vace": "vace",
    "vace_2": "vace",
    "text_encoder": "text_encoder",
    "vae": "vae",
    "image_encoder": "image_encoder",
}
NEEDED = ("transformer", "text_encoder", "vae")
_items: dict[str, list[tuple[str, str, str]]] = {}  # Blender does not keep the strings it is given


def _choice(part: str, name: str, about: str) -> Any:
    def items(self: bpy.types.Operator, context: bpy.types.Context | None):
        files = {f["path"]: f"{f['title']}: {f['path']}" for f in library().files(ROLES[part])}
        if part == "transformer" and self.file:
            files.setdefault(self.file, self.file)
        found = [(path, _label(Path(path)), words) for path, words in files.items()]
        none = (NONE, "None", "No file for this part")
        _items[part] = [none, *sorted(found, key=lambda item: item[1].lower())]
        return _items[part]

    return EnumProperty(name=name, description=about, items=items, options={"SKIP_SAVE"})


def _label(path: Path) -> str:
    """The folder of a model in shards is often called as all of them are."""
    is_file = path.suffix.lower() in (".safetensors", ".gguf")
    return path.name if is_file else f"{path.parent.name}/{path.name}"


class WAN_OT_compose_model(WanOperator, bpy.types.Operator):
    """Put a model together of single files; only a small description of it is written"""

    bl_idname = "wan.compose_model"
    bl_label = "Put Model Together"

    name: StringProperty(name="Name", description="What it is called", options={"SKIP_SAVE"})
    source: StringProperty(
        name="Source",
        description="Name of the listed model whose files are proposed",
        options={"SKIP_SAVE", "HIDDEN"},
    )
    file: StringProperty(
        name="File", description="Transformer to begin with", options={"SKIP_SAVE", "HIDDEN"}
    )
    transformer: _choice("transformer", "Transformer", "The model, or its high-noise expert")
    transformer_2: _choice("transformer_2", "Low-Noise Expert", "Of a pair of experts")
    vace: _choice("vace", "VACE Module", "What VACE adds to a text-to-video model")
    vace_2: _choice("vace_2", "VACE, Low Noise", "The VACE module of the low-noise expert")
    text_encoder: _choice("text_encoder", "Text Encoder", "UMT5-XXL")
    vae: _choice("vae", "VAE", "Wan 2.1's for 16 channels, Wan 2.2's for the 5B model")
    image_encoder: _choice("image_encoder", "CLIP", "Only for Wan 2.1 image to video")

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self._propose()
        return context.window_manager.invoke_props_dialog(self, width=480)

    def draw(self, context: bpy.types.Context) -> None:
        column = self.layout.column()
        column.use_property_split = True
        column.prop(self, "name")
        for part in ROLES:
            column.prop(self, part)
        for lack in self._source().get("missing", ()):
            row = self.layout.row()
            row.label(text=f"It lacks: {lack}", icon="ERROR")
            if key := library().part_for(lack):
                row.operator("wan.price_model", icon="IMPORT").key = key
        for note in self._source().get("notes", ()):
            self.layout.label(text=note, icon="INFO")

    def run(self, context: bpy.types.Context) -> None:
        chosen = {part: getattr(self, part) for part in ROLES if getattr(self, part) != NONE}
        absent = [part.replace("_", " ") for part in NEEDED if part not in chosen]
        if absent:
            raise BadRequest(
                f"No file is chosen for the {' and the '.join(absent)}.",
                "Choose one, or add the folder it is in to the preferences and find models again.",
            )
        if tokenizer := self._tokenizer():
            chosen["tokenizer"] = tokenizer
        name = self.name.strip() or Path(chosen["transformer"]).stem
        library().compose(name, list(chosen.items()))
        if bpy.app.background:
            library().wait()

    def _source(self) -> dict[str, Any]:
        found = (m for m in library().models if m["components"] and m["name"] == self.source)
        return next(found, {})

    def _propose(self) -> None:
        """The files of ``source``, or ``file`` with its own other parts and those that are the only
        ones of their kind."""
        source = self._source()
        files: dict[str, str] = {}
        for part, value in source.get("components", {}).items():
            one, *module = [value] if isinstance(value, str) else value
            files[part] = one
            if module:
                files["vace_2" if part == "transformer_2" else "vace"] = module[0]
        if self.file:
            files["transformer"] = self.file
        transformers = {f["path"]: f for f in library().files("transformer")}
        takes_clip = transformers.get(files.get("transformer"), {}).get("image_dim")
        for part in (*NEEDED[1:], "image_encoder") if takes_clip else NEEDED[1:]:
            fitting = library().files(part)
            fitting = [f for f in fitting if f["path"] == files.get("transformer")] or fitting
            if part not in files and len(fitting) == 1:
                files[part] = fitting[0]["path"]
        self.name = self.name or source.get("name", "") or Path(files.get("transformer", "")).stem
        for part, file in files.items():
            with contextlib.suppress(TypeError):  # the file is gone since it was found
                setattr(self, part, file)

    def _tokenizer(self) -> str:
        """For a text encoder's file that carries none."""
        files = library().files("text_encoder")
        carries = any(f["has_tokenizer"] for f in files if f["path"] == self.text_encoder)
        return "" if carries else next(iter(library().tokenizers), "")
