# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's preferences, and the folders and the Python that follow from them."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    StringProperty,
)

from ..core.files import data_folder
from ..install import environment
from ..install.recipe import PYPI, is_pinned
from ..process import engine
from .interface import draw_wrapped
from .state import host

# "bl_ext.<repository>.wan_blender": what Blender calls the extension this package is in.
ADDON_ID = __package__.rsplit(".", 2)[0]


ICONS = {"missing": "INFO", "ready": "CHECKMARK", "outdated": "INFO", "broken": "ERROR"}
VERBS = {
    "missing": "Install Engine",
    "ready": "Reinstall",
    "outdated": "Upgrade",
    "broken": "Repair",
}


class WAN_PG_model_folder(bpy.types.PropertyGroup):
    """One folder that models are looked for in."""

    path: StringProperty(
        name="Folder",
        description="Searched for model folders and single files, including subfolders",
        subtype="DIR_PATH",
    )


class WanPreferences(bpy.types.AddonPreferences):
    bl_idname = ADDON_ID

    python: StringProperty(
        name="Engine Python",
        description="Python of the environment with torch and diffusers that runs the engine. "
        "Empty looks for one",
        subtype="FILE_PATH",
    )
    jobs: StringProperty(
        name="Job Folder",
        description="Where shots and results are kept. Empty is the folder wan_jobs beside the "
        "saved file, or one among your own data while the file is not saved",
        subtype="DIR_PATH",
    )

    models: StringProperty(
        name="Model Folder",
        description="Where downloaded models are kept. Empty is a folder among your own data that "
        "all versions of Blender share and that stays when the extension is removed",
        subtype="DIR_PATH",
    )
    model_folders: CollectionProperty(type=WAN_PG_model_folder, name="More Models")

    cache_gb: FloatProperty(
        name="Cache",
        description="How much of the disk prompts and pictures that models have read may take, so "
        "that the next take of a shot need not read them again. The oldest are dropped first; 0 "
        "keeps nothing",
        default=2.0,
        min=0.0,
        soft_max=100.0,
        precision=1,
    )

    backend: EnumProperty(
        name="Build of torch",
        description="Which build of torch the installer downloads",
        items=[
            (PYPI, "From PyPI", "For NVIDIA cards on Linux, Apple's on macOS, the processor else"),
            ("auto", "For My Card", "The one that fits the graphics card found"),
            ("cpu", "Processor", "Small, for machines without a suitable card"),
            ("cu128", "CUDA 12.8", "NVIDIA"),
            ("cu126", "CUDA 12.6", "NVIDIA, older drivers"),
            ("rocm6.4", "ROCm 6.4", "AMD, on Linux"),
            ("index", "From My Index", "The one in the package index of pip's or uv's settings"),
        ],
    )
    unpinned: BoolProperty(
        name="Accept Unknown Hashes",
        description="Install a build of torch whose files cannot be checked against hashes that "
        "this extension knows: whoever serves it could change it",
    )
    wheels: StringProperty(
        name="Offline Folder",
        description="Install from this folder without a network; Make Offline Folder makes one "
        "on a machine that has a network, for others of its kind",
        subtype="DIR_PATH",
    )

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "jobs")
        layout.prop(self, "cache_gb", text="Cache (GB)")
        self._draw_models(layout.box())
        box = layout.box()
        box.prop(self, "python")
        if not self.python:
            self._draw_installation(context, box)
        self._draw_diagnosis(box)

    def _draw_models(self, layout: bpy.types.UILayout) -> None:
        layout.prop(self, "models", placeholder=str(data_folder() / "models"))
        for index, folder in enumerate(self.model_folders):
            row = layout.row(align=True)
            row.prop(folder, "path", text="Look Also In" if index == 0 else " ")
            row.operator("wan.remove_model_folder", text="", icon="X").index = index
        row = layout.row()
        row.operator("wan.add_model_folder", icon="ADD")
        row.operator("wan.scan_models", icon="FILE_REFRESH")

    def _draw_installation(self, context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
        status = environment.status(home())
        task = host().installation
        layout.prop(self, "backend")
        if not is_pinned(self.backend):
            layout.label(text="Not pinned: the hashes of this build are not known", icon="ERROR")
            layout.prop(self, "unpinned")
        layout.prop(self, "wheels")
        layout.label(text=f"{status.says} {status.remedy}", icon=ICONS[status.state])
        if task and (task.running or task.error or task.outcome):
            icon = "ERROR" if task.error else "SORTTIME" if task.running else "CHECKMARK"
            draw_wrapped(layout, context, str(task.error or task.outcome or task.says), icon)
        if not bpy.app.online_access and not self.wheels:
            layout.label(
                text="Blender is offline: allow online access, or choose an offline folder",
                icon="INTERNET_OFFLINE",
            )
        row = layout.row()
        if task and task.running:
            if task.stoppable:
                row.operator("wan.stop_installation", icon="CANCEL")
            return
        row.operator("wan.install_engine", text=VERBS[status.state], icon="IMPORT")
        if environment.is_there(home()):
            row.operator("wan.roll_back_engine", icon="LOOP_BACK")
            row.operator("wan.uninstall_engine", text="Uninstall", icon="TRASH")
        row.operator("wan.bundle_engine", icon="PACKAGE")

    def _draw_diagnosis(self, layout: bpy.types.UILayout) -> None:
        task, row = host().diagnosis, layout.row()
        row.operator("wan.examine_engine", icon="COPYDOWN")
        if task:
            row.label(text="Looking" if task.running else "The report is in the clipboard")


CLASSES = (WAN_PG_model_folder, WanPreferences)


def get() -> WanPreferences:
    return bpy.context.preferences.addons[ADDON_ID].preferences


def home() -> Path:
    """The extension's own folder: log, engine, what was found. Blender removes it with the
    extension."""
    return Path(bpy.utils.extension_path_user(ADDON_ID, create=True))


def engine_python() -> Path:
    """Raises EngineMissing."""
    installed = environment.current_python(home())
    return engine.find_python(bpy.path.abspath(get().python), installed)


def cache_gb() -> float:
    """What engines may keep on the disk between jobs, in 2**30 bytes."""
    return get().cache_gb


def folder(path: str) -> Path | None:
    return Path(bpy.path.abspath(path)) if path else None


def model_places() -> list[Path]:
    """The folders to look for models in; the first is the one that downloads go to."""
    chosen = get()
    own = folder(chosen.models) or data_folder() / "models"
    return [own, *(folder(item.path) for item in chosen.model_folders if item.path)]


def jobs_root() -> Path:
    """The folder that new job folders are made in."""
    if get().jobs:
        return Path(bpy.path.abspath(get().jobs))
    if bpy.data.filepath:
        return Path(bpy.data.filepath).parent / "wan_jobs"
    return data_folder() / "jobs"


def jobs_roots() -> list[Path]:
    """The folders that may hold jobs of this file: it may not have been saved when they ran."""
    return list(dict.fromkeys([jobs_root(), data_folder() / "jobs"]))
