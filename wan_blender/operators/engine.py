# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's process and its installation."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from .. import __version__
from ..core import protocol
from ..core.errors import BadRequest
from ..host import preferences, pump
from ..host.diagnosis import Diagnosis
from ..host.interface import redraw
from ..host.state import host
from ..install import environment, installation
from ..install.recipe import is_pinned
from ..process.engine import EngineState
from .base import WanOperator


class WAN_OT_start_engine(WanOperator, bpy.types.Operator):
    """Start the engine now, so that the first job does not have to wait for it"""

    bl_idname = "wan.start_engine"
    bl_label = "Start Engine"

    def run(self, context: bpy.types.Context) -> None:
        host().session.start_engine()


class WAN_OT_stop_engine(WanOperator, bpy.types.Operator):
    """Stop the engine and free its memory; its jobs can be run again"""

    bl_idname = "wan.stop_engine"
    bl_label = "Stop Engine"

    def run(self, context: bpy.types.Context) -> None:
        host().session.stop_engine()


class WAN_OT_free_memory(WanOperator, bpy.types.Operator):
    """Unload the models the engine keeps for the next job, which will have to load them again"""

    bl_idname = "wan.free_memory"
    bl_label = "Free Memory"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("The engine is not ready")
        return host().session.engine_state is EngineState.READY

    def run(self, context: bpy.types.Context) -> None:
        host().session.engine.send(protocol.FreeMemory())


class InstallationOperator(WanOperator):
    """Mixin: one such task at a time."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("An installation is running")
        task = host().installation
        return not (task and task.running)


def knows_hashes(cls: type[bpy.types.Operator]) -> bool:
    """For poll: whether the chosen build of torch is pinned, or the user takes it as it comes."""
    chosen = preferences.get()
    if chosen.unpinned or is_pinned(chosen.backend):
        return True
    cls.poll_message_set(
        "The hashes of this build of torch are not known: choose From PyPI, or accept that"
    )
    return False


def follow(task: installation.Installation) -> None:
    """Show how ``task`` goes on; scripts wait for its end, and get its error."""
    host().installation = task
    pump.follow(task, redraw_preferences)
    if bpy.app.background:
        task.wait()
        if task.error:
            raise task.error


def redraw_preferences() -> None:
    redraw("PREFERENCES")


class WAN_OT_install_engine(InstallationOperator, bpy.types.Operator):
    """Make the engine's own Python environment: several gigabytes are fetched, beside an older one
    that stays until the new one works"""

    bl_idname = "wan.install_engine"
    bl_label = "Install Engine"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        if not bpy.app.online_access and not preferences.get().wheels:
            cls.poll_message_set(
                "Allow online access in Preferences > System, or choose an offline folder"
            )
            return False
        return knows_hashes(cls)

    def run(self, context: bpy.types.Context) -> None:
        chosen = preferences.get()
        task = installation.start(
            preferences.home(), chosen.backend, chosen.unpinned, preferences.folder(chosen.wheels)
        )
        follow(task)


class WAN_OT_bundle_engine(InstallationOperator, bpy.types.Operator):
    """Fetch what an installation without a network needs, Python and packages, into a new folder
    inside the one you choose, for machines with this one's system and processor. Choose the build
    of torch for their card first: Automatic takes the one for the card in this machine"""

    bl_idname = "wan.bundle_engine"
    bl_label = "Make Offline Folder"

    directory: StringProperty(
        name="Inside", description="Where the folder is made", subtype="DIR_PATH",
        options={"SKIP_SAVE"},
    )  # fmt: skip
    filter_folder: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        cls.poll_message_set("Allow online access in Preferences > System > Network")
        return bpy.app.online_access and knows_hashes(cls)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: bpy.types.Context) -> None:
        if not self.directory:
            raise BadRequest("No folder is named.", "Give one as directory.")
        inside = Path(bpy.path.abspath(self.directory)).absolute()
        chosen = preferences.get()
        follow(installation.make_bundle(inside, chosen.backend, chosen.unpinned))


class WAN_OT_roll_back_engine(InstallationOperator, bpy.types.Operator):
    """Go back to the engine installed before this one. A running job ends and can be run again"""

    bl_idname = "wan.roll_back_engine"
    bl_label = "Roll Back"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        cls.poll_message_set("There is no earlier engine")
        return bool(environment.earlier(preferences.home()))

    def run(self, context: bpy.types.Context) -> None:
        host().session.stop_engine()
        follow(installation.roll_back(preferences.home()))


class WAN_OT_uninstall_engine(InstallationOperator, bpy.types.Operator):
    """Remove every installed engine and what its installer downloaded. A running job ends and can
    be run again; models and jobs stay"""

    bl_idname = "wan.uninstall_engine"
    bl_label = "Uninstall Engine"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        cls.poll_message_set("A search or download of models is running")
        return not host().library.running

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_confirm(self, event)

    def run(self, context: bpy.types.Context) -> None:
        ended = host().session.stop_engine()
        follow(installation.remove(preferences.home(), ended))


class WAN_OT_stop_installation(WanOperator, bpy.types.Operator):
    """Stop installing; what was downloaded is kept, and the engine in use stays as it is"""

    bl_idname = "wan.stop_installation"
    bl_label = "Stop"

    def run(self, context: bpy.types.Context) -> None:
        if running := host().installation:
            running.cancel()


class WAN_OT_examine_engine(WanOperator, bpy.types.Operator):
    """Find out what is wrong with the engine and copy a report that can be pasted"""

    bl_idname = "wan.examine_engine"
    bl_label = "Copy Report"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("The engine is being examined")
        running = host().diagnosis
        return not (running and running.running)

    def run(self, context: bpy.types.Context) -> None:
        task = Diagnosis(list(_facts()), preferences.engine_python)
        host().diagnosis = task
        pump.follow(task, copy_report)
        if bpy.app.background:
            task.wait()
            copy_report()


def _facts() -> Iterator[str]:
    """What Blender's side knows, also where there is no engine."""
    version = bpy.app.version_string
    yield f"wan_blender {__version__} in Blender {version} on {platform.platform()}"
    if not preferences.get().python:
        status = environment.status(preferences.home())
        yield f"{'ok' if status.state == 'ready' else '!!'}  {status.says} {status.remedy}".strip()
        task = host().installation
        if task and task.error:
            yield f"!!  Last installation: {task.error}"
    session = host().session
    yield f"ok  Log: {session.log}"
    if session.error:
        yield f"!!  Last error: {session.error}"


def copy_report() -> None:
    """To the clipboard, once it is there."""
    bpy.context.window_manager.clipboard = host().diagnosis.report()
    redraw_preferences()


CLASSES = (
    WAN_OT_start_engine,
    WAN_OT_stop_engine,
    WAN_OT_free_memory,
    WAN_OT_install_engine,
    WAN_OT_bundle_engine,
    WAN_OT_roll_back_engine,
    WAN_OT_uninstall_engine,
    WAN_OT_stop_installation,
    WAN_OT_examine_engine,
)
