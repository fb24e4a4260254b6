# SPDX-License-Identifier: GPL-3.0-or-later
"""Export of a shot: the mask first, since an empty one ends it, then the plate."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from itertools import repeat
from pathlib import Path

import bpy
import numpy as np

from ..core import job
from ..core.errors import Cancelled, EmptyMask, NothingSelected, from_os_error
from ..core.settings import Shot
from . import picture_file, png, solo, sources
from .float_plate import FloatPlate
from .matte_render import combine, open_matte
from .mattes import EMPTY, HOW_TO_MAKE_ONE, MatteChoice
from .shot import ShotRequest
from .span import ShotPart
from .surroundings import why_it_cannot
from .takes import holder

OnFrame = Callable[[int, int], None]


def export(
    request: ShotRequest,
    folder: Path,
    on_frame: OnFrame | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> Shot:
    """Write ``folder``/plate, ``folder``/mask and, where the model sees another matte or a softened
    one, ``folder``/model_mask and /blur_matte, and return the Shot for job.json.

    ``on_frame(done, total)`` counts all frames together. The file's data is left as
    it was. Raises EmptyMask, UnsupportedClip, DiskFull and Cancelled; then no folder stays.
    """
    scene, plate = _find(request)
    mattes = {job.MODEL_MASK: request.model_matte, job.BLUR_MATTE: request.blur_matte}
    mattes = {name: matte for name, matte in mattes.items() if matte}
    names = [job.MASK, job.PLATE, *mattes]
    watch = _Watch(len(names) * request.frame_count, on_frame, should_cancel)
    with _written(*(folder / name for name in names)) as (mask_folder, plate_folder, *others):
        _export_mask(scene, plate, request, request.mattes, mask_folder, watch)
        for other, matte in zip(others, mattes.values(), strict=True):
            _export_mask(scene, plate, request, [MatteChoice(matte)], other, watch)
        depth, peak, notes = _export_plate(scene, request, plate_folder, watch)
        alpha = _alpha(scene, plate, request, plate_folder)
    in_place = request.place == "in_place" or (alpha == "replace" and holder(plate) == plate)
    shared = {f.name: getattr(request, f.name) for f in fields(Shot) if hasattr(request, f.name)}
    shared["notes"] = [*request.notes, *notes]
    return Shot(**shared, bit_depth=depth, peak=peak, in_place=in_place, alpha=alpha)


def export_mask(
    request: ShotRequest, folder: Path, on_frame: OnFrame | None = None
) -> Callable[[int], np.ndarray]:
    """Write ``folder``/mask alone; a function that reads its frames, (H, W) float32 in 0..1. Raises
    as ``export``."""
    scene, plate = _find(request)
    watch = _Watch(request.frame_count, on_frame, None)
    with _written(folder / job.MASK) as (mask_folder,):
        _export_mask(scene, plate, request, request.mattes, mask_folder, watch)
    return lambda index: png.read_gray16(mask_folder / job.frame_name(index))


@contextmanager
def _written(*folders: Path) -> Iterator[tuple[Path, ...]]:
    """Fresh folders, which go again when the export fails."""
    rendered_before = _render_results()
    try:
        for path in folders:
            shutil.rmtree(path, ignore_errors=True)  # what a killed export left
            path.mkdir(parents=True)
        yield folders
    except BaseException as error:
        for path in folders:
            shutil.rmtree(path, ignore_errors=True)
        if isinstance(error, OSError):
            raise from_os_error(error, "exporting the shot") from error
        raise
    finally:
        for image in _render_results() - rendered_before:
            bpy.data.images.remove(image)


def _render_results() -> set[bpy.types.Image]:
    return {image for image in bpy.data.images if image.type == "RENDER_RESULT"}


class _Watch:
    """Counts frames and stops the export when asked to."""

    def __init__(
        self, total: int, on_frame: OnFrame | None, should_cancel: Callable[[], bool] | None
    ) -> None:
        self.done, self.total = 0, total
        self.on_frame = on_frame or (lambda done, total: None)
        self.should_cancel = should_cancel or (lambda: False)

    def tick(self) -> None:
        self.done += 1
        self.on_frame(self.done, self.total)
        if self.should_cancel():
            raise Cancelled("The export was cancelled.")


def _find(request: ShotRequest) -> tuple[bpy.types.Scene, bpy.types.Strip]:
    scene = bpy.data.scenes.get(request.scene)
    if scene is None or scene.sequence_editor is None:
        raise NothingSelected(
            f"There is no scene {request.scene!r} with strips in this file.",
            "Read the shot again.",
        )
    strip = scene.sequence_editor.strips_all.get(request.strip)
    if strip is None:
        raise NothingSelected(
            f"Scene {request.scene!r} has no strip {request.strip!r}.", "Read the shot again."
        )
    for part in request.parts:
        sources.check(scene.sequence_editor.strips_all[part.strip], part.frames)
    return scene, strip


def _export_mask(
    scene: bpy.types.Scene,
    plate: bpy.types.Strip,
    request: ShotRequest,
    choices: list[MatteChoice],
    folder: Path,
    watch: _Watch,
) -> None:
    covered = False
    with ExitStack() as stack:
        layers = []
        for number, choice in enumerate(choices):
            matte = open_matte(scene, plate, request, choice, folder / f"matte{number}")
            layers.append(stack.enter_context(matte))
        operations = [choice.operation for choice in choices]
        for index, values in enumerate(zip(*layers, strict=True)):
            mask = combine(list(zip(operations, values)), (request.height, request.width))
            covered = covered or bool(np.any(mask > 0.5 / 65535))
            png.write_gray16(folder / job.frame_name(index), mask)
            watch.tick()
    if not covered:
        raise EmptyMask(
            f"The {folder.name.replace('_', ' ')} is empty on all {request.frame_count} frames of "
            f"strip {plate.name!r}.",
            HOW_TO_MAKE_ONE,
        )


def _export_plate(
    scene: bpy.types.Scene, request: ShotRequest, folder: Path, watch: _Watch
) -> tuple[int, float, list[str]]:
    """Write the plate's frames; returns their bits per channel, their peak, see Shot, and notes.
    New frames, which no strip shows, hold the nearest picture."""
    size = (request.width, request.height)
    with ExitStack() as stack:
        scenes = [stack.enter_context(_alone(scene, request, part)) for part in request.parts]
        strips = [
            alone.sequence_editor.strips_all[part.strip]
            for alone, part in zip(scenes, request.parts, strict=True)
        ]
        for strip, part in zip(strips, request.parts, strict=True):
            sources.check_readable(strip, part.frames)
        shown = [part.frames for part in request.parts]
        depth = max(map(sources.bit_depth, strips, shown))
        opaque = all(map(sources.is_opaque, scenes, strips, repeat(size), shown))
        floats = FloatPlate(folder) if any(map(sources.is_float, strips, shown)) else None
        for alone, strip, part in zip(scenes, strips, request.parts, strict=True):
            if floats:
                solo.write_exr(alone)
            else:
                solo.write_png(alone, "RGB" if opaque else "RGBA", depth)
            first = part.frames.start - request.frame_start
            for index, file in enumerate(solo.render(alone, part.frames, folder), first):
                if floats:
                    floats.add(file, index, opaque)
                else:
                    file.replace(folder / job.frame_name(index))
                watch.tick()
            suffix = floats.suffix if floats else ".png"
            written = range(first, first + len(part.frames))
            sources.check_whole(strip, [folder / f"{index:06d}{suffix}" for index in written])
    peak = floats.finish() if floats else 0.0
    _hold_pictures(request, folder, watch, ".exr" if peak else ".png")
    return depth, peak, _broken(request, floats) if floats else []


def _broken(request: ShotRequest, floats: FloatPlate) -> list[str]:
    if not floats.broken:
        return []
    return [
        f"{floats.broken} pixels of strip {request.strip!r}, all frames together, are not finite "
        "(NaN or infinite); a patch over them is black, or as bright as half float can be."
    ]


@contextmanager
def _alone(
    scene: bpy.types.Scene, request: ShotRequest, part: ShotPart
) -> Iterator[bpy.types.Scene]:
    bare = part.strip == request.strip and not request.with_modifiers
    with solo.solo_scene(scene, part.strip, picture=True, bare=bare) as alone:
        for choice in request.mattes if part.strip == request.strip else ():
            kind, _, name = choice.id.partition(":")
            if kind == "compositor":  # it makes the matte, not the picture
                alone.sequence_editor.strips_all[part.strip].modifiers[name].mute = True
        yield alone


def _alpha(
    scene: bpy.types.Scene, plate: bpy.types.Strip, request: ShotRequest, folder: Path
) -> str:
    """What the patch does where the plate is transparent, see Shot: what to fill is new picture;
    else a patch can keep alpha of 0 and 1, but only whole frames can keep what lies between."""
    fills = any(choice.id == EMPTY for choice in request.mattes)
    if fills or request.span.kind not in ("strip", "still"):
        return "fill"
    kept = "fill"
    for path in sorted(folder.iterdir()):
        levels = picture_file.read_alpha(path)
        if np.any((levels > 0) & (levels < 1)):
            replaces = request.place != "above" and not why_it_cannot(scene, plate)
            return "replace" if replaces else "keep"
        if np.any(levels < 1):
            kept = "keep"
    return kept


def _hold_pictures(request: ShotRequest, folder: Path, watch: _Watch, suffix: str) -> None:
    shown = [frame for part in request.parts for frame in part.frames]
    for frame in sorted(set(request.frames) - set(shown)):
        nearest = min(shown, key=lambda other: abs(other - frame))
        source, target = (
            folder / f"{at - request.frame_start:06d}{suffix}" for at in (nearest, frame)
        )
        shutil.copyfile(source, target)
        watch.tick()
