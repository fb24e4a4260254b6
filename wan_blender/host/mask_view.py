# SPDX-License-Identifier: GPL-3.0-or-later
"""What the mask of the selected clip would generate, kept up to date while the overlay is shown.

A background Blender exports the mask and looks at it, as for a job; this side starts it and holds
what came back. Nothing of it is saved in a file.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import bpy

from ..core.errors import WanError
from ..masks.crop import Crop
from ..masks.preview import MaskPreview
from ..process.task import Task
from ..timeline import compat, mattes, preview, shot, sources, span
from ..timeline.background import BackgroundExport
from . import properties
from .library import Library

QUIET_S = 1.0  # after the last change, before the mask is analysed again
WORTH_WAITING_S = 0.05  # a copy that takes longer to save is only made when it is asked for
BYTES_PER_S = 500e6  # that a copy is saved with, about


class MaskView(Task):
    """``preview`` is the newest one, ``error`` what kept a newer one from being made; ``stale``
    whether the shot has changed since."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self.scene = ""
        self.plate = ""
        self.preview: MaskPreview | None = None
        self.stale = True
        self.fraction = 0.0
        self._exporter: BackgroundExport | None = None
        self._folder: Path | None = None
        self._made_of = ""  # state of the shot that the newest preview or error is of
        self._last_seen, self._last_change = "", 0.0
        self._edits = 0
        self._save_s = 0.0

    @property
    def busy(self) -> bool:
        return self._exporter is not None

    def start(self, scene: bpy.types.Scene) -> None:
        """Look at the mask of the selected clip as it is now. Raises WanError."""
        self.close()
        self._made_of = self._last_seen = self._state(scene)
        plate = shot.find_plate(scene)
        settings = properties.read(scene)
        request = properties.read_request(scene, plate, settings)
        described = preview.describe(settings, self._library.sizes(settings.model.path))
        self._folder = Path(tempfile.mkdtemp(prefix="wan-mask-"))
        exporter, began = BackgroundExport(), time.monotonic()
        try:
            exporter.start(request, self._folder, described)
        except WanError:
            self._finish()
            raise
        self._exporter, self._save_s = exporter, time.monotonic() - began
        if (scene.name, plate.name) != (self.scene, self.plate):
            self.preview = None
        self.scene, self.plate = scene.name, plate.name
        self.error, self.stale, self.fraction = None, False, 0.0

    def start_if_cheap(self, scene: bpy.types.Scene) -> WanError | None:
        """Look at the mask of the selected clip, unless that would hold up the interface or is
        under way. Returns what kept it from looking."""
        is_under_way = self.busy and self._made_of == self._state(scene)
        if is_under_way or not self._saves_fast():
            return None
        try:
            self.start(scene)
        except WanError as error:
            return error
        return None

    def _saves_fast(self) -> bool:
        path = Path(bpy.data.filepath)
        size = path.stat().st_size if bpy.data.filepath and path.is_file() else 0
        return (self._save_s or size / BYTES_PER_S) < WORTH_WAITING_S

    def crop_of(self, scene: bpy.types.Scene, plate: bpy.types.Strip) -> Crop | None:
        """What the model sees of ``plate``, the selected clip, if its mask was analysed as it
        is."""
        if self.preview is None or (self.scene, self.plate) != (scene.name, plate.name):
            return None
        return self.preview.crop if self._made_of == self._state(scene) else None

    @property
    def running(self) -> bool:
        """While the overlay is shown it follows the shot."""
        return bpy.context.window_manager.wan_mask.show

    def close(self) -> None:
        """Stop looking."""
        if self._exporter:
            self._exporter.cancel()
            self._finish()

    def tick(self) -> bool:
        if self._exporter:
            finished, self.fraction = self._exporter.poll()
            if finished:
                self._take()
            return True
        return self._follow(compat.sequencer_scene(bpy.context))

    def _take(self) -> None:
        try:
            self._exporter.result()
            self.preview = MaskPreview.load(self._folder / preview.FILE)
        except WanError as error:
            self.preview, self.error = None, error
        finally:
            self._finish()

    def _finish(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._exporter = self._folder = None

    def note_edit(self) -> None:
        """A mask was edited."""
        self._edits += 1

    def _follow(self, scene: bpy.types.Scene) -> bool:
        """Notice changes of the shot, and look again once they have settled."""
        state, now = self._state(scene), time.monotonic()
        if state != self._last_seen:
            self._last_seen, self._last_change = state, now
        was_stale, self.stale = self.stale, state != self._made_of
        settled = now - self._last_change >= QUIET_S
        if self.stale and settled and self._save_s < WORTH_WAITING_S:
            try:
                self.start(scene)
            except WanError as error:
                self.preview, self.error, self.stale = None, error, False
            return True
        return self.stale != was_stale

    def _state(self, scene: bpy.types.Scene) -> str:
        """All that the preview depends on and that is known at once, without files; or what
        keeps it from being made."""
        try:
            plate = shot.find_plate(scene)
            layout = span.lay_out(scene, plate, properties.chosen_span(scene, plate.name))
            choices = mattes.resolve(scene, plate, properties.chosen_mattes(scene, plate.name))
            settings = properties.read(scene)
        except WanError as error:
            return str(error)
        names = {choice.id.partition(":")[2] for choice in choices}
        shown = [s for s in scene.sequence_editor.strips_all if s == plate or s.name in names]
        parts = [self._edits, scene.name, shot.canvas_size(scene), layout, choices]
        parts += [_look(scene, strip) for strip in shown]
        for group in (settings.mask, settings.region, settings.model):
            parts.append(vars(group))
        return repr(parts)


def _look(scene: bpy.types.Scene, strip: bpy.types.Strip) -> list[Any]:
    """What of a strip changes where it is; of an animated one only when it is shown, since its
    values change with every frame."""
    look: list[Any] = [strip.name, compat.start(strip), compat.length(strip)]
    if not sources.is_animated(scene, strip):
        look.append(strip.blend_alpha)
        for part in (getattr(strip, "transform", None), getattr(strip, "crop", None)):
            if part:
                look += [getattr(part, p.identifier) for p in part.bl_rna.properties][1:]
    return look
