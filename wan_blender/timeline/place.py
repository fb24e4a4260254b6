# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting a result back: a strip over the plate, in the scene it came from and in no other."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import bpy

from ..core import job
from ..core.errors import BadRequest
from . import compat
from .in_place import enclose
from .shot import ShotRequest
from .surroundings import check_free, free_channel, reasons_to_stand_in, why_it_cannot
from .takes import RECIPE, holder

LINEAR = "Linear Rec.709"  # what half float frames hold
_FAR = 1_048_574  # frames that Blender has, on either side of 0
SESSION = uuid.uuid4().hex  # Blender renumbers its data in each session


@dataclass
class Placement:
    """Where a result belongs, as names and numbers that survive undo and saving.

    ``scene_uid`` finds the scene while ``session`` lasts, whatever it or the file is called by
    then; later ``blend`` and ``scene`` do. The other numbers are the request's.
    """

    scene: str
    scene_uid: int
    session: str
    blend: str
    strip: str
    strip_start: int
    strip_count: int
    frame_start: int
    frame_count: int
    trim_start: int
    trim_end: int
    hold: int
    channel: int
    fps_num: int
    fps_den: int

    @property
    def shown(self) -> range:
        """Timeline frames that the result covers where it was exported."""
        end = self.frame_start + (self.hold or self.frame_count)
        return range(self.frame_start + self.trim_start, end - self.trim_end)

    @classmethod
    def of(cls, scene: bpy.types.Scene, request: ShotRequest) -> Placement:
        return cls(
            scene=scene.name,
            scene_uid=scene.session_uid,
            session=SESSION,
            blend=bpy.data.filepath,
            strip=request.strip,
            strip_start=request.strip_start,
            strip_count=request.strip_count,
            frame_start=request.frame_start,
            frame_count=request.frame_count,
            trim_start=request.trim_start,
            trim_end=request.trim_end,
            hold=request.hold,
            channel=request.channel,
            fps_num=request.fps_num,
            fps_den=request.fps_den,
        )


def find_place(placement: Placement) -> bpy.types.Scene | None:
    """The scene that still has the plate; None when another file is open or either was deleted."""
    for scene in bpy.data.scenes:
        if placement.session == SESSION and scene.session_uid == placement.scene_uid:
            return scene if _plate(scene, placement) else None
    if placement.blend and placement.blend == bpy.data.filepath:
        scene = bpy.data.scenes.get(placement.scene)
        if scene is not None and _plate(scene, placement):
            return scene
    return None


def _plate(scene: bpy.types.Scene, placement: Placement) -> bpy.types.Strip | None:
    editor = scene.sequence_editor
    return editor.strips_all.get(placement.strip) if editor else None


def place(
    scene: bpy.types.Scene,
    placement: Placement,
    result_folder: Path,
    name: str,
    recipe: dict[str, Any],
) -> bpy.types.Strip:
    """Add the patch frames as an image strip; returns it. The recipe is kept as JSON in its custom
    property ``wan_recipe``.

    In the plate's place, it lies in a meta strip with the plate, see in_place.py. Else it goes to
    the first open channel, from the plate's up, that is free where the result is shown; frames of
    the plate alone are trimmed away. A plate that was moved meanwhile is followed; without the
    plate (the user places the result elsewhere) the strip goes to the frames and channel it was
    exported from. Raises BadRequest when frames are missing or all channels above are taken.
    """
    frames = find_frames(result_folder, placement.frame_count)
    editor = scene.sequence_editor_create()
    moved = moved_by(scene, placement)
    shown = range(placement.shown.start + moved, placement.shown.stop + moved)
    below = _strip_below(scene, placement, shown, recipe)
    level = (below.parent_meta() if below else None) or editor
    lowest = below.channel if below else placement.channel
    strip = _add_strip(scene, level, lowest, placement, moved, name, frames)
    if below and _is_extension(recipe) and holder(below) != below:
        _widen(scene, holder(below), shown)
    strip.directory = os.path.join(stored_path(frames[0].parent), "")
    strip.select = False  # the editor's selection stays what it was
    whole = _section(recipe, "job", "shot").get("alpha") == "replace"
    strip.blend_type = "REPLACE" if whole else "ALPHA_OVER"
    strip.alpha_mode = "STRAIGHT"
    if frames[0].suffix == ".exr":
        strip.alpha_mode, strip.colorspace_settings.name = "PREMUL", LINEAR
    strip[RECIPE] = json.dumps(recipe, ensure_ascii=False)
    return strip


def moved_by(scene: bpy.types.Scene, placement: Placement) -> int:
    """Frames that the plate was moved by since the export; 0 for one that was cut since or is gone,
    as the result then belongs to the frames it was exported from."""
    plate = _plate(scene, placement)
    shown = plate and holder(plate)
    if shown is None or compat.length(shown) != placement.strip_count:
        return 0
    return compat.start(shown) - placement.strip_start


def _strip_below(
    scene: bpy.types.Scene, placement: Placement, shown: range, recipe: dict[str, Any]
) -> bpy.types.Strip | None:
    """The strip that the result goes above: the plate, put into a meta strip where it is to lie
    there; of a bridge, the plate with its takes; None without the plate."""
    plate = _plate(scene, placement)
    if plate is None or _section(recipe, "span").get("kind") == "bridge":
        return plate and holder(plate)
    if holder(plate) == plate:
        shot = _section(recipe, "job", "shot")
        asked = shot.get("in_place", False)
        is_open = _section(recipe, "job", "output").get("place") == "auto"
        # Something may have come to lie over the plate since it was exported.
        wanted = asked or (is_open and reasons_to_stand_in(scene, plate, shown, _mattes(recipe)))
        if wanted and not why_it_cannot(scene, plate):
            handed_over = asked and not shot.get("with_modifiers", True)
            enclose(scene, plate, handed_over, opened=not _is_extension(recipe))
    return plate


def _mattes(recipe: dict[str, Any]) -> list[str]:
    """Ids of the mattes that the result was made with."""
    return [matte["id"] for matte in recipe.get("mattes", ())]


def _section(recipe: dict[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        recipe = recipe.get(name, {})
    return recipe


def _is_extension(recipe: dict[str, Any]) -> bool:
    return _section(recipe, "span").get("kind") == "extend"


def _widen(scene: bpy.types.Scene, meta: bpy.types.MetaStrip, shown: range) -> None:
    """Show the frames ``shown`` too."""
    before = compat.frames(meta)
    first, end = min(before.start, shown.start), max(before.stop, shown.stop)
    check_free(scene, meta, range(first, before.start), range(before.stop, end))
    compat.set_frames(meta, range(first, end))


def _add_strip(
    scene: bpy.types.Scene,
    level: Any,
    lowest: int,
    placement: Placement,
    moved: int,
    name: str,
    frames: list[Path],
) -> bpy.types.Strip:
    """The image strip, its handles over what is to be shown."""
    first = placement.frame_start + moved
    length = placement.hold or placement.frame_count
    shown = range(placement.shown.start + moved, placement.shown.stop + moved)
    channel = free_channel(level, lowest, shown)
    # Blender opens the file it is given, 0.2 s for the first PNG of a session, to learn a size that
    # it learns again when it draws the frame; the folder that holds none spares the editor that.
    strip = level.strips.new_image(
        name=name,
        filepath=str(frames[0].parent.parent / frames[0].name),
        channel=free_channel(level, channel, range(first, first + length)),
        frame_start=first,
        fit_method="ORIGINAL",
    )
    _show_files(scene, strip, frames)
    compat.set_length(strip, length)
    if placement.trim_start or placement.trim_end:
        compat.trim(strip, placement.trim_start, placement.trim_end)
        strip.channel = channel
    return strip


def _show_files(scene: bpy.types.Scene, strip: bpy.types.Strip, frames: list[Path]) -> None:
    """Give an image strip its files at once: 0.1 s for 8000 of them, where appending its elements
    one by one copies all earlier ones each time and takes 7 s and more."""
    editor = scene.sequence_editor
    active, editor.active_strip = editor.active_strip, strip
    try:
        with bpy.context.temp_override(**compat.sequencer_context(scene)):
            bpy.ops.sequencer.change_path(
                directory=str(frames[0].parent),
                files=[{"name": frame.name} for frame in frames],
                relative_path=False,
            )
    finally:
        editor.active_strip = active


def stored_path(path: Path) -> str:
    """Relative to a saved .blend above it, so that both can be moved together."""
    if bpy.data.filepath:
        home = Path(bpy.data.filepath).parent
        if path.is_relative_to(home):
            return f"//{path.relative_to(home).as_posix()}"
    return str(path)


def find_frames(result_folder: Path, count: int) -> list[Path]:
    """The patch's files in order. Raises BadRequest when some are missing."""
    folder = result_folder / job.PATCH
    there = set(os.listdir(folder)) if folder.is_dir() else set()
    suffix = ".exr" if "000000.exr" in there else ".png"
    frames = [folder / f"{index:06d}{suffix}" for index in range(count)]
    missing = [path for path in frames if path.name not in there]
    if missing:
        raise BadRequest(
            f"{len(missing)} of {count} result frames are missing, the first is {missing[0]}.",
            "Run the job again.",
        )
    return frames


def read_placement(data: Any) -> Placement:
    """A placement from a job folder, which may be anybody's. Raises TypeError, ValueError."""
    placement = Placement(**data)
    for field in fields(Placement):
        value = getattr(placement, field.name)
        if field.type == "str":
            if not isinstance(value, str) or len(value) > 4096:
                raise ValueError(f"{field.name} is not text")
        elif type(value) is not int or abs(value) > (2**63 if field.name == "scene_uid" else _FAR):
            raise ValueError(f"{field.name} is not a number of this timeline")
    if placement.frame_count < 1 or placement.fps_num < 1 or placement.fps_den < 1:
        raise ValueError("it has no frames")
    return placement


def is_missing(placement: Placement, result_folder: Path) -> bool:
    """Whether the open file is the result's, and has no strip that shows it: one was placed, and
    the file was not saved since."""
    patch = result_folder / job.PATCH
    here = placement.blend and placement.blend == bpy.data.filepath
    return bool(here) and not any(
        strip.type == "IMAGE" and Path(bpy.path.abspath(strip.directory)) == patch
        for scene in bpy.data.scenes
        if scene.sequence_editor
        for strip in scene.sequence_editor.strips_all
    )
