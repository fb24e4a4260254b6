# SPDX-License-Identifier: GPL-3.0-or-later
"""Models and LoRAs: find, choose, assemble, download."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import bpy
from bpy.props import EnumProperty, IntProperty, StringProperty

from ..core.errors import BadRequest
from ..host import preferences, properties
from ..host.state import host
from ..model_info.listing import FoundModel
from ..timeline import compat
from .base import WanOperator


class WAN_OT_scan_models(WanOperator, bpy.types.Operator):
    """Find Wan models in the folders of the preferences, the Hugging Face cache and ComfyUI's
    folders. Files are recognised by their contents, whatever they are called"""

    bl_idname = "wan.scan_models"
    bl_label = "Find Models"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("A search is already running")
        return host().library.progress("scan") is None

    def run(self, context: bpy.types.Context) -> None:
        host().library.scan()
        if bpy.app.background:
            host().library.wait()


WEIGHTS = (".safetensors", ".gguf")


class WAN_OT_open_model(WanOperator, bpy.types.Operator):
    """Choose a model folder, or a weight file to assemble a model from"""

    bl_idname = "wan.open_model"
    bl_label = "Open Model"

    filepath: StringProperty(name="Path", subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default="*.safetensors;*.gguf;*.json", options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: bpy.types.Context) -> None:
        path = Path(bpy.path.abspath(self.filepath))
        if path.suffix.lower() in WEIGHTS:
            bpy.ops.wan.compose_model("INVOKE_DEFAULT", file=str(path))
            return
        folder = path if path.is_dir() else path.parent
        if not folder.is_dir():
            raise BadRequest(f"There is no folder {folder}.", "Choose a model folder.")
        host().library.describe(folder)
        if bpy.app.background:
            host().library.wait()


class WAN_OT_use_model(WanOperator, bpy.types.Operator):
    """Generate with this model"""

    bl_idname = "wan.use_model"
    bl_label = "Use Model"
    bl_options = {"REGISTER", "UNDO"}

    path: StringProperty(
        name="Path",
        description="Model folder; empty and nano/... are bundled models",
        options={"SKIP_SAVE"},
    )
    stage: bpy.props.IntProperty(
        name="Stage",
        description="Stage that uses it; -1 is the whole run",
        default=-1,
        min=-1,
        options={"SKIP_SAVE"},
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties):
        model = host().library.model(properties.path)
        return ", ".join(model.tasks).capitalize() if model else cls.__doc__

    def run(self, context: bpy.types.Context) -> None:
        properties.use_model(compat.sequencer_scene(context), self.path, self.stage)


class WAN_OT_use_model_defaults(WanOperator, bpy.types.Operator):
    """Set steps, shift, guidance and stages to the values the model was released with"""

    bl_idname = "wan.use_model_defaults"
    bl_label = "Use Its Defaults"
    bl_options = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context)
        model = host().library.model(scene.wan.model.path)
        if not model or not model.defaults:
            raise BadRequest(
                "No defaults are known for this model.", "Set steps and shift yourself."
            )
        properties.assign(scene, model.defaults)


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
        found = host().library.files(ROLES[part])
        files = {str(file.path): f"{file.title}: {file.path}" for file in found}
        if part == "transformer" and self.file:
            files.setdefault(self.file, self.file)
        named = [(path, _label(Path(path)), words) for path, words in files.items()]
        none = (NONE, "None", "No file for this part")
        _items[part] = [none, *sorted(named, key=lambda item: item[1].lower())]
        return _items[part]

    return EnumProperty(name=name, description=about, items=items, options={"SKIP_SAVE"})


def _label(path: Path) -> str:
    """The folder of a model in shards is often called as all of them are."""
    is_file = path.suffix.lower() in (".safetensors", ".gguf")
    return path.name if is_file else f"{path.parent.name}/{path.name}"


class WAN_OT_compose_model(WanOperator, bpy.types.Operator):
    """Assemble a model from single files; only a small description of it is written"""

    bl_idname = "wan.compose_model"
    bl_label = "Assemble Model"

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
        for lack in self._source().missing:
            row = self.layout.row()
            row.label(text=f"It lacks: {lack}", icon="ERROR")
            if key := host().library.listing.part_for(lack):
                row.operator("wan.price_model", icon="IMPORT").key = key
        for note in self._source().notes:
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
        host().library.compose(name, list(chosen.items()))
        if bpy.app.background:
            host().library.wait()

    def _source(self) -> FoundModel:
        models = host().library.listing.models
        found = (m for m in models if m.components and m.name == self.source)
        return next(found, FoundModel("", ""))

    def _propose(self) -> None:
        """The files of ``source``, or ``file`` with its own other parts and those that are the only
        ones of their kind."""
        source = self._source()
        files: dict[str, str] = {}
        for part, (one, *module) in source.components.items():
            files[part] = one
            if module:
                files["vace_2" if part == "transformer_2" else "vace"] = module[0]
        if self.file:
            files["transformer"] = self.file
        chosen = files.get("transformer", "")
        transformers = host().library.files("transformer")
        takes_clip = any(f.image_dim for f in transformers if str(f.path) == chosen)
        for part in (*NEEDED[1:], "image_encoder") if takes_clip else NEEDED[1:]:
            fitting = host().library.files(part)
            fitting = [f for f in fitting if str(f.path) == chosen] or fitting
            if part not in files and len(fitting) == 1:
                files[part] = str(fitting[0].path)
        self.name = self.name or source.name or Path(files.get("transformer", "")).stem
        for part, file in files.items():
            with contextlib.suppress(TypeError):  # the file is gone since it was found
                setattr(self, part, file)

    def _tokenizer(self) -> str:
        """For a text encoder's file that carries none."""
        files = host().library.files("text_encoder")
        carries = any(f.has_tokenizer for f in files if str(f.path) == self.text_encoder)
        return "" if carries else next(iter(host().library.listing.tokenizers), "")


class Online:
    """Mixin: only where Blender may go online, and one download at a time."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not bpy.app.online_access:
            cls.poll_message_set("Allow online access in Preferences > System > Network")
            return False
        cls.poll_message_set("A download is running")
        return host().library.progress("fetch") is None and host().library.progress("price") is None


class WAN_OT_price_model(Online, WanOperator, bpy.types.Operator):
    """Find out how large this download is. Nothing is downloaded yet"""

    bl_idname = "wan.price_model"
    bl_label = "Download"

    key: StringProperty(
        name="Key", description="What to download, as the catalogue calls it", options={"SKIP_SAVE"}
    )
    into: StringProperty(
        name="Into", description="Model folder that lacks this part", options={"SKIP_SAVE"}
    )

    def run(self, context: bpy.types.Context) -> None:
        host().library.price(self.key, self.into)
        if bpy.app.background:
            host().library.wait()


class WAN_OT_fetch_model(Online, WanOperator, bpy.types.Operator):
    """Download this. A download that was stopped resumes where it left off"""

    bl_idname = "wan.fetch_model"
    bl_label = "Download"

    def run(self, context: bpy.types.Context) -> None:
        if host().library.offer is None:
            raise BadRequest("No download was chosen.", "Choose a model or a LoRA first.")
        host().library.fetch()
        if bpy.app.background:
            host().library.wait()


class WAN_OT_decline_model(WanOperator, bpy.types.Operator):
    """Do not download this; what has already arrived is kept"""

    bl_idname = "wan.decline_model"
    bl_label = "Not Now"

    def run(self, context: bpy.types.Context) -> None:
        host().library.decline()


class WAN_OT_stop_call(WanOperator, bpy.types.Operator):
    """Stop this; what has been done so far is kept"""

    bl_idname = "wan.stop_call"
    bl_label = "Stop"

    name: StringProperty(
        name="Name", description="What to stop: scan, fetch", options={"SKIP_SAVE"}
    )

    def run(self, context: bpy.types.Context) -> None:
        host().library.cancel(self.name)


class WAN_OT_add_model_folder(WanOperator, bpy.types.Operator):
    """Look for models in another folder, for example ComfyUI's models"""

    bl_idname = "wan.add_model_folder"
    bl_label = "Add Folder"

    directory: StringProperty(name="Folder", subtype="DIR_PATH", options={"SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: bpy.types.Context) -> None:
        preferences.get().model_folders.add().path = self.directory
        context.preferences.is_dirty = True


class WAN_OT_remove_model_folder(WanOperator, bpy.types.Operator):
    """Take this folder off the list; nothing in it is touched"""

    bl_idname = "wan.remove_model_folder"
    bl_label = "Remove Folder"

    index: IntProperty(name="Index", description="Which folder of the list", min=0)

    def run(self, context: bpy.types.Context) -> None:
        preferences.get().model_folders.remove(self.index)
        context.preferences.is_dirty = True


CLASSES = (
    WAN_OT_scan_models,
    WAN_OT_open_model,
    WAN_OT_use_model,
    WAN_OT_use_model_defaults,
    WAN_OT_compose_model,
    WAN_OT_price_model,
    WAN_OT_fetch_model,
    WAN_OT_decline_model,
    WAN_OT_stop_call,
    WAN_OT_add_model_folder,
    WAN_OT_remove_model_folder,
)
