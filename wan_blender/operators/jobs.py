# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that run or have ended, their results and reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from ..core.answers.report import Report
from ..core.errors import BadRequest
from ..core.result import read_report
from ..host import preferences
from ..host.jobs import LocalJob, print_progress, read_folder
from ..host.placing import place_result, require_result
from ..host.state import host
from ..timeline import compat
from ..timeline.compositor import place_in_compositor
from ..timeline.place import find_place
from .base import WanOperator


class OnJob:
    """Mixin: the operator works on the job in ``folder``."""

    folder: StringProperty(
        name="Job Folder",
        description="Folder of the job",
        subtype="DIR_PATH",
        options={"SKIP_SAVE", "HIDDEN"},
    )

    def local_job(self) -> LocalJob:
        """Raises BadRequest when the session does not know the job."""
        local = host().session.find(Path(self.folder))
        if local is None:
            raise BadRequest(f"There is no job {self.folder!r} on the list.", "It has ended.")
        return local

    def finished_job(self) -> tuple[LocalJob, Path]:
        """The job, listed or not, and its result folder. Raises BadRequest, InvalidJob,
        DamagedResult."""
        folder = Path(self.folder)
        result = require_result(folder)
        return host().session.find(folder) or read_folder(folder), result


class WAN_OT_run_job(OnJob, WanOperator, bpy.types.Operator):
    """Run a failed or interrupted job again, from the frames that were already exported"""

    bl_idname = "wan.run_job"
    bl_label = "Run Again"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        local = host().session.find(Path(self.folder))
        if local is None or not local.foreign:
            return self.execute(context)
        return context.window_manager.invoke_confirm(
            self, event, title="A job from elsewhere", message=local.reach, confirm_text="Run"
        )

    def run(self, context: bpy.types.Context) -> None:
        session = host().session
        local = session.run_folder(Path(self.folder))
        if bpy.app.background:
            session.run_to_end(local, print_progress())


class WAN_OT_cancel(OnJob, WanOperator, bpy.types.Operator):
    """Stop this job; a running one stops after the current step"""

    bl_idname = "wan.cancel"
    bl_label = "Cancel"

    def run(self, context: bpy.types.Context) -> None:
        host().session.cancel(self.local_job())


class WAN_OT_dismiss_job(OnJob, WanOperator, bpy.types.Operator):
    """Remove this job from the list; its folder stays on disk"""

    bl_idname = "wan.dismiss_job"
    bl_label = "Dismiss"

    def run(self, context: bpy.types.Context) -> None:
        host().session.dismiss(self.local_job())


class WAN_OT_dismiss_error(WanOperator, bpy.types.Operator):
    """Hide this message"""

    bl_idname = "wan.dismiss_error"
    bl_label = "Dismiss"

    def run(self, context: bpy.types.Context) -> None:
        host().session.error = None


class WAN_OT_find_results(WanOperator, bpy.types.Operator):
    """Search the job folder, and the one for unsaved files, for results that were never placed and
    jobs that never finished"""

    bl_idname = "wan.find_results"
    bl_label = "Find Earlier Results"

    def run(self, context: bpy.types.Context) -> None:
        roots = preferences.jobs_roots()
        looking = host().session.find_results(roots)
        places = " and ".join(map(str, roots))
        if not bpy.app.background:
            self.report({"INFO"}, f"Looking in {places}.")
            return
        looking.wait()
        self.report({"INFO"}, f"{looking.count} found in {places}.")


class WAN_OT_open_job_folder(OnJob, WanOperator, bpy.types.Operator):
    """Show the job's folder: its frames, its log and its report"""

    bl_idname = "wan.open_job_folder"
    bl_label = "Open Job Folder"

    def run(self, context: bpy.types.Context) -> None:
        bpy.ops.wm.path_open(filepath=str(self.local_job().folder))


class WAN_OT_open_log(WanOperator, bpy.types.Operator):
    """Open the engine's log"""

    bl_idname = "wan.open_log"
    bl_label = "Open Log"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        cls.poll_message_set("The engine has not run yet")
        return host().session.log.is_file()

    def run(self, context: bpy.types.Context) -> None:
        bpy.ops.wm.path_open(filepath=str(host().session.log))


class WAN_OT_place_result(OnJob, WanOperator, bpy.types.Operator):
    """Place the result as a strip over its shot"""

    bl_idname = "wan.place_result"
    bl_label = "Place Result"
    bl_options = {"REGISTER", "UNDO"}

    here: BoolProperty(
        name="Here",
        description="Place it in this scene, starting at the current frame",
        options={"SKIP_SAVE"},
    )

    def run(self, context: bpy.types.Context) -> None:
        scene = compat.sequencer_scene(context) if self.here else None
        place_result(*self.finished_job(), scene)


class WAN_OT_place_in_compositor(OnJob, WanOperator, bpy.types.Operator):
    """Lay the result over what the compositor of its scene shows, on the frames of its shot"""

    bl_idname = "wan.place_in_compositor"
    bl_label = "Place in Compositor"
    bl_options = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        local, result = self.finished_job()
        # Where the shot is gone, the user has chosen this scene instead.
        scene = find_place(local.placement) or compat.sequencer_scene(context)
        place_in_compositor(scene, local.placement, result, local.name)


class WAN_OT_show_report(OnJob, WanOperator, bpy.types.Operator):
    """What was run, on what, how long it took, and what was measured"""

    bl_idname = "wan.show_report"
    bl_label = "Report"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        done = self.execute(context)
        return context.window_manager.invoke_popup(self, width=460) if "FINISHED" in done else done

    def run(self, context: bpy.types.Context) -> None:
        _, result = self.finished_job()
        self.lines = list(describe(read_report(result)))
        self.report({"INFO"}, "; ".join(self.lines))

    def draw(self, context: bpy.types.Context) -> None:
        column = self.layout.column(align=True)
        for line in self.lines:
            column.label(text=line)


def _unit(report: Report) -> str:
    """What differences of pixels are counted in."""
    shot = report.settings.get("shot", {})
    bits = f"steps of {shot.get('bit_depth', 8)} bits"
    return "of white (half float)" if shot.get("peak") else bits


def describe(report: Report) -> Iterator[str]:
    """A report in words, one line each."""
    if report.borrow:
        yield f"{report.borrow.share:.0%} of the mask is borrowed from other frames"
        yield from report.borrow.notes
    yield from _describe_model(report)
    seconds = report.seconds
    phases = ", ".join(f"{name} {spent:.1f}" for name, spent in seconds.items() if spent >= 0.1)
    yield f"Time: {sum(seconds.values()):.1f} s ({phases})"
    if report.max_diff_outside is not None:
        yield f"Largest difference outside the patch: {report.max_diff_outside:g} {_unit(report)}"
    if report.seam and report.seam.visible is not None:
        yield f"Edge of the patch: {report.seam.visible:.0%} visible"
    for cut in report.cuts:
        moved, own = 255 * cut.moved, 255 * cut.own
        yield f"Cut at frame {cut.frame + 1}: moves {moved:.1f} of 255, beside it {own:.1f}"
    for file, layers in report.loras_skipped.items():
        yield f"{Path(file).name} changes {len(layers)} layers that this model does not have"
    for finding in report.schedule.findings if report.schedule else ():
        yield finding.message


def _describe_model(report: Report) -> Iterator[str]:
    if model := report.model:
        yield f"Model: {model.name} ({model.kind}), {report.dtype} on {report.device}"
    if size := report.size:
        width, height = size.model_pixels
        windows = f" in {len(size.windows)} windows" if len(size.windows) > 1 else ""
        yield f"The model saw {width} x {height} px, {size.model_frames} frames{windows}"
    if memory := report.memory:
        taken = memory.measured_gb
        measured = f"{taken:.2f} GB measured" if taken else "not measured"
        yield f"Memory: {memory.predicted_gb:.2f} GB predicted, {measured}"
        if memory.measures_taken:
            yield f"Memory ran short: {memory.measures_taken} more measures were taken on the way"


class WAN_OT_show_picture(WanOperator, bpy.types.Operator):
    """Show the report in an Image Editor of its own"""

    bl_idname = "wan.show_picture"
    bl_label = "Show"

    image: StringProperty(
        name="Image", description="Name of an image of this file", options={"SKIP_SAVE"}
    )
    filepath: StringProperty(
        name="File", description="Image file to load", subtype="FILE_PATH", options={"SKIP_SAVE"}
    )

    def run(self, context: bpy.types.Context) -> None:
        image = bpy.data.images.get(self.image) if self.image else self._load()
        if image is None:
            raise BadRequest(f"There is no image {self.image!r} in this file.")
        if bpy.app.background:
            return
        bpy.ops.wm.window_new()
        area = context.window_manager.windows[-1].screen.areas[0]
        area.type = "IMAGE_EDITOR"
        area.spaces.active.image = image
        area.spaces.active.ui_mode = "VIEW"

    def _load(self) -> bpy.types.Image:
        path = Path(bpy.path.abspath(self.filepath))
        if not path.is_file():
            raise BadRequest(f"{path} is not there any more.", "Run the job again.")
        image = bpy.data.images.load(str(path), check_existing=True)
        image.reload()
        return image


CLASSES = (
    WAN_OT_run_job,
    WAN_OT_cancel,
    WAN_OT_dismiss_job,
    WAN_OT_dismiss_error,
    WAN_OT_find_results,
    WAN_OT_open_job_folder,
    WAN_OT_open_log,
    WAN_OT_place_result,
    WAN_OT_place_in_compositor,
    WAN_OT_show_report,
    WAN_OT_show_picture,
)
