# SPDX-License-Identifier: GPL-3.0-or-later
"""Which model generates, what it can do, and what else was found on this machine."""

from __future__ import annotations

from pathlib import Path

import bpy

from ..core.answers.progress import CallProgress
from ..host.interface import draw_wrapped
from ..host.state import host
from ..model_info.folder import is_bundled
from ..model_info.listing import FoundModel, Offer
from ..timeline import compat
from .base import WanPanel, duration, settings_column

PART_NAMES = {
    "transformer": "Transformer",
    "transformer_2": "Low-Noise Expert",
    "text_encoder": "Text Encoder",
    "vae": "VAE",
    "image_encoder": "CLIP",
}


class WAN_MT_models(bpy.types.Menu):
    bl_label = "Models"

    def draw(self, context: bpy.types.Context) -> None:
        path = compat.sequencer_scene(context).wan.model.path
        draw_models(self.layout, -1, path if is_bundled(path) else bpy.path.abspath(path))


class WAN_PT_model(WanPanel, bpy.types.Panel):
    bl_label = "Model"
    bl_order = 6
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout, shelf = self.layout, host().library
        shelf.scan_first()
        settings = compat.sequencer_scene(context).wan.model
        model = shelf.model(settings.path)
        row = layout.row(align=True)
        row.menu(
            "WAN_MT_models", text=_name(settings.path, model), icon="OUTLINER_OB_GROUP_INSTANCE"
        )
        row.operator("wan.open_model", text="", icon="FILE_FOLDER")
        row.operator("wan.scan_models", text="", icon="FILE_REFRESH")
        if (progress := shelf.progress("scan")) is not None:
            _draw_call(layout, "scan", f"Looking in {Path(progress.looking).name}")
        if shelf.progress("compose") is not None:
            layout.label(text="Reading the model", icon="SORTTIME")
        if model:
            _draw_abilities(layout, context, model)
        _draw_download(layout, context)
        if shelf.error:
            draw_wrapped(layout, context, str(shelf.error), "ERROR")
        column = settings_column(layout)
        column.prop(settings, "path")
        column.prop(settings, "device")
        column.prop(settings, "dtype")


class WAN_MT_catalogue(bpy.types.Menu):
    bl_label = "Download"

    def draw(self, context: bpy.types.Context) -> None:
        shelf, layout = host().library, self.layout
        for entry in shelf.listing.catalogue:
            text = f"{entry.title}: {', '.join(entry.tasks)}"
            layout.operator("wan.price_model", text=text).key = entry.key
        layout.separator()
        for lora in shelf.listing.loras:
            layout.operator("wan.price_model", text=f"LoRA: {lora.title}").key = lora.key
        layout.separator()
        for part in shelf.listing.parts:
            layout.operator("wan.price_model", text=f"Part: {part.title}").key = part.key


class WAN_PT_download(WanPanel, bpy.types.Panel):
    """Models, LoRAs and parts that can be fetched."""

    bl_label = "Download"
    bl_parent_id = "WAN_PT_model"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        shelf, layout = host().library, self.layout
        if not shelf.downloads:
            layout.menu("WAN_MT_catalogue", text="Choose What", icon="IMPORT")
            self._draw_recommended(context)
        if not bpy.app.online_access:
            text = "Blender is offline. Allow online access in Preferences > System > Network."
            draw_wrapped(layout, context, text, "INTERNET_OFFLINE")

    def _draw_recommended(self, context: bpy.types.Context) -> None:
        model = host().library.model(compat.sequencer_scene(context).wan.model.path)
        titles = {lora.key: lora.title for lora in host().library.listing.loras}
        for key in model.loras if model else ():
            text = f"LoRA: {titles.get(key, key)}"
            self.layout.operator("wan.price_model", text=text, icon="IMPORT").key = key


class WAN_PT_model_files(WanPanel, bpy.types.Panel):
    """The parts of a model of single files."""

    bl_label = "Files"
    bl_parent_id = "WAN_PT_model"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        shelf = host().library
        model = shelf.model(compat.sequencer_scene(context).wan.model.path)
        parts = model.parts if model else {}
        for part in sorted(parts, key=[*PART_NAMES].index):
            row = self.layout.row()
            row.label(text=PART_NAMES.get(part, part))
            row.label(text=" + ".join(_file_name(Path(file)) for file in parts[part]))
        self.layout.operator("wan.compose_model", icon="ADD")
        for path, why in shelf.listing.unusable.items():
            draw_wrapped(self.layout, context, f"{Path(path).name}: {why}", "ERROR")


def draw_models(layout: bpy.types.UILayout, stage: int, chosen: str) -> None:
    """Menu entries of all models that were found; ``stage`` is who takes the chosen one, ``chosen``
    the path it has now."""
    models = host().library.listing.models
    groups = [[*filter(group, models)] for group in (_is_bundled, _is_folder, _is_loose)]
    for index, group in enumerate(group for group in groups if group):
        if index:
            layout.separator()
        for model in group:
            _draw_choice(layout, model, stage, chosen)
    if not models:
        layout.label(text="No search yet")


def _is_bundled(model: FoundModel) -> bool:
    return not model.components and is_bundled(model.path)


def _is_folder(model: FoundModel) -> bool:
    return not model.components and not _is_bundled(model)


def _is_loose(model: FoundModel) -> bool:
    return bool(model.components)


def _draw_choice(layout: bpy.types.UILayout, model: FoundModel, stage: int, chosen: str) -> None:
    is_named = model.precision.partition(",")[0] in model.name  # of a pair of two precisions
    words = [model.kind.upper(), "" if is_named else model.precision]
    words = [word for word in words if word]
    text = f"{model.name}  ({', '.join(words)})" if words else model.name
    is_chosen = not model.components and model.path == chosen
    icon = "RADIOBUT_ON" if is_chosen else "RADIOBUT_OFF"
    if model.missing:
        icon = "ERROR"
    if model.components:
        choice = layout.operator("wan.compose_model", text=f"{text} …", icon=icon)
        choice.source = model.name
    else:
        choice = layout.operator("wan.use_model", text=text, icon=icon)
        # for a stage "" is the run's model
        choice.path = model.path if stage < 0 else model.path or "nano/vace"
        choice.stage = stage


def _file_name(path: Path) -> str:
    """In a diffusers folder all files have the same few names; their folder tells them apart."""
    generic = path.name.startswith(("diffusion_pytorch_model", "model"))
    return f"{path.parents[1].name}/{path.parent.name}" if generic else path.name


def _name(path: str, model: FoundModel | None) -> str:
    return model.name if model else Path(path).name or "Nano Wan VACE"


def _draw_abilities(
    layout: bpy.types.UILayout, context: bpy.types.Context, model: FoundModel
) -> None:
    for lack in model.missing:
        draw_wrapped(layout, context, f"It lacks: {lack}", "ERROR")
        if (key := host().library.listing.part_for(lack)) and not host().library.downloads:
            button = layout.operator("wan.price_model", text="Download It", icon="IMPORT")
            button.key, button.into = key, bpy.path.abspath(model.path)
    if model.tasks:
        words = ", ".join(model.tasks)
        experts = "; two experts" if model.boundary is not None else ""
        draw_wrapped(layout, context, f"For: {words}{experts}.", "CHECKMARK")
    facts = []
    if model.parameters_b:
        count = model.parameters_b
        size = f"{count:.3g} billion" if count >= 0.1 else f"{1000 * count:.0f} million"
        facts.append(f"{size} parameters, {model.precision}")
    if model.sizes:
        facts.append(f"made for {', '.join(model.sizes)}")
    if facts:
        draw_wrapped(layout, context, "; ".join(facts) + ".", "INFO")
    if model.defaults:
        layout.operator("wan.use_model_defaults", icon="LOOP_BACK")


def _draw_download(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """What is asked about, on offer or on its way, wherever it was asked for."""
    shelf = host().library
    if (progress := shelf.progress("fetch")) is not None:
        _draw_transfer(layout, shelf.offer, progress)
    elif shelf.progress("price") is not None:
        _draw_call(layout, "price", "Finding out how large it is")
    elif shelf.offer:
        _draw_offer(layout, context, shelf.offer)


def _draw_call(layout: bpy.types.UILayout, name: str, text: str) -> None:
    row = layout.row(align=True)
    row.label(text=text, icon="SORTTIME")
    row.operator("wan.stop_call", text="", icon="CANCEL").name = name


def _draw_offer(layout: bpy.types.UILayout, context: bpy.types.Context, offer: Offer) -> None:
    """Size, licence and free space, before anything is fetched."""
    column = layout.box().column()
    column.label(text=offer.title, icon="IMPORT")
    arrived = offer.total - offer.needed
    size = f"{_amount(offer.needed)} to fetch"
    if arrived > 0:
        size += f", {_amount(arrived)} are there"
    draw_wrapped(column, context, f"{size}; {offer.free / 1e9:.0f} GB free in {offer.to}")
    for path in offer.found:
        draw_wrapped(column, context, f"Already on this machine, verified before use: {path}")
    column.label(text=f"Licence: {offer.licence}")
    row = column.row()
    row.operator("wan.fetch_model", text="Go On" if arrived > 0 else "Download")
    row.operator("wan.decline_model")


def _amount(count: float) -> str:
    """Bytes in words."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _draw_transfer(layout: bpy.types.UILayout, offer: Offer | None, progress: CallProgress) -> None:
    done, total = progress.done, progress.total
    column = layout.column(align=True)
    column.label(text=offer.title if offer else "Download", icon="IMPORT")
    row = column.row(align=True)
    text = f"{_amount(done)} of {_amount(total)}" if total else "Connecting"
    row.progress(factor=done / total if total else 0.0, text=text)
    row.operator("wan.stop_call", text="", icon="CANCEL").name = "fetch"
    if progress.wait_s:
        again = duration(progress.wait_s)
        column.label(text=f"Waiting: the server is asked again in {again}", icon="TIME")
    elif total:
        left = f", about {duration(progress.eta_s)} left" if progress.eta_s >= 0 else ""
        column.label(text=f"{progress.speed_mb_s:.1f} MB/s{left}", icon="TIME")


CLASSES = (
    WAN_MT_models,
    WAN_MT_catalogue,
    WAN_PT_model,
    WAN_PT_download,
    WAN_PT_model_files,
)
