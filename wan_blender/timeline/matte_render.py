# SPDX-License-Identifier: GPL-3.0-or-later
"""The values of one matte on each frame, rendered by Blender, and how mattes combine.

Mattes are rendered to float files. Mask strips keep their values; pictures come in scene-linear
light and are brought back to display values, so that a gray of 0.5 on the timeline is 0.5 here.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import bpy
import numpy as np

from ..core.errors import UnsupportedClip
from ..light import exr
from . import canvas, compat, solo, sources
from .mattes import EMPTY, WHOLE, MatteChoice, modifier_source
from .shot import ShotRequest

TOLERANCE = 1 / 255  # of rounding on the way
RINGING = 0.1  # above white, of Blender's Mitchell filter: 7 % at a corner of 0 and 1
REC709 = (0.2126, 0.7152, 0.0722)  # luma weights, ITU-R BT.709
Values = Iterator["np.ndarray | float"]
Rendered = Iterator[tuple[bpy.types.Scene, bpy.types.Strip, range]]


@contextmanager
def open_matte(
    scene: bpy.types.Scene,
    plate: bpy.types.Strip,
    request: ShotRequest,
    choice: MatteChoice,
    scratch: Path,
) -> Iterator[Values]:
    """The matte's values on each frame of the shot: (H, W) float32 in 0..1, or one number for all
    pixels. ``scratch`` is a folder that is made and removed."""
    if choice.id == WHOLE:
        yield itertools.repeat(1.0, request.frame_count)
    elif choice.id == EMPTY:
        with closing(canvas.emptiness(scene, request, scratch)) as values:
            yield values
    else:
        with _open_rendered(scene, plate, choice, scratch) as frames:
            yield frames(request.frames)


@contextmanager
def _open_rendered(
    scene: bpy.types.Scene, plate: bpy.types.Strip, choice: MatteChoice, scratch: Path
) -> Iterator[Callable[[range], Values]]:
    """A function from timeline frames to the values on each; 0 outside the matte's own frames."""
    kind, _, name = choice.id.partition(":")
    with _SOURCES[kind](scene, plate, name) as (alone, shown, span):
        if shown.type == "MASK":
            solo.write_mask(alone)
        else:
            solo.write_exr(alone)

        def read(file: Path, frame: int) -> np.ndarray:
            if shown.type == "MASK":
                return _mask_values(exr.read(file))
            of_channel = {"alpha": ("A", _alpha), "luma": ("RGBA", _luma)}
            channels, values_of = of_channel[choice.channel]
            values = values_of(solo.read_finite(file, channels, shown, frame))
            _check_range(values, shown, frame, RINGING if _may_ring(alone, shown) else TOLERANCE)
            return np.clip(values, 0.0, 1.0)

        def values(frames: range) -> Values:
            inside = range(max(frames.start, span.start), min(frames.stop, span.stop))
            if sources.is_picture(shown):
                sources.check_readable(shown, inside)
            rendered = solo.render(alone, inside, scratch)
            for frame in frames:
                if frame in inside:
                    file = next(rendered)
                    yield read(file, frame)
                    file.unlink()
                else:
                    yield 0.0

        scratch.mkdir()
        try:
            yield values
        finally:
            shutil.rmtree(scratch)


def _mask_values(channels: dict[str, np.ndarray]) -> np.ndarray:
    gray = channels.get("V", channels.get("R"))  # a frame without any picture comes as RGB
    values = np.clip(gray, 0.0, 1.0)
    if compat.MASK_LACKS_LAST_PIXEL:
        values = np.nan_to_num(values, nan=0.0)
        values[0, -1] = values[0, -2]
    return values


def _alpha(channels: dict[str, np.ndarray]) -> np.ndarray:
    return channels["A"]


def _luma(channels: dict[str, np.ndarray]) -> np.ndarray:
    """Luma of the display values over black. Alpha goes out before the transfer, in after it."""
    alpha = channels["A"]
    covered = np.where(alpha > 0, alpha, 1)
    rgb = zip(REC709, (channels[name] for name in "RGB"), strict=True)
    return np.clip(alpha, 0.0, 1.0) * sum(w * _to_display(plane / covered) for w, plane in rgb)


def _check_range(values: np.ndarray, strip: bpy.types.Strip, frame: int, above: float) -> None:
    """Raises UnsupportedClip for values that say less than to keep, or by ``above`` more than to
    generate."""
    low, high = float(values.min()), float(values.max())
    if low < -TOLERANCE or high > 1 + above:
        worst = high if high - 1 > -low else low
        raise UnsupportedClip(
            f"Strip {strip.name!r} has a value of {worst:.3g} on frame {frame}; as a matte it says "
            "where to generate with 0 to 1.",
            "Clamp it in the file or the nodes it comes from, or choose another matte.",
        )


def _may_ring(scene: bpy.types.Scene, strip: bpy.types.Strip) -> bool:
    """Whether Blender may scale the picture with its Mitchell filter, which overshoots."""
    if strip.type == "SCENE" or any(_may_ring(scene, inner) for inner in _inner(strip)):
        return True
    transform = getattr(strip, "transform", None)
    if transform is None or transform.filter not in ("AUTO", "CUBIC_MITCHELL"):
        return False
    large = max(abs(transform.scale_x), abs(transform.scale_y)) > 2
    return transform.filter != "AUTO" or large or sources.is_animated(scene, strip)


def _inner(strip: bpy.types.Strip) -> list[bpy.types.Strip]:
    inputs = (getattr(strip, name, None) for name in ("input_1", "input_2"))
    return [*getattr(strip, "strips", ()), *filter(None, inputs)]


def to_display(linear: np.ndarray) -> np.ndarray:
    """Scene-linear to sRGB display values, clipped to 0..1 (IEC 61966-2-1)."""
    return np.clip(_to_display(linear), 0.0, 1.0)


def _to_display(linear: np.ndarray) -> np.ndarray:
    """As ``to_display``, not clipped; values below 0 are those of the picture."""
    display = np.where(linear < 0, linear / compat.NEGATIVE_SLOPE, linear)
    curved = (linear > 0) & (linear != 1)  # few pixels in a mask
    light = linear[curved]
    display[curved] = np.where(
        light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055
    )
    return display


def combine(layers: list[tuple[str, np.ndarray | float]], shape: tuple[int, int]) -> np.ndarray:
    """Mattes (operation, values) joined in order, see MatteChoice: (H, W) float32.

    A first matte that is subtracted or intersected starts from a full mask.
    """
    full = bool(layers) and layers[0][0] != "add"
    mask = np.full(shape, float(full), np.float32)
    for operation, values in layers:
        if operation == "add":
            mask = np.maximum(mask, values)
        elif operation == "subtract":
            mask = np.minimum(mask, 1 - values)
        else:
            mask = np.minimum(mask, values)
    return mask


@contextmanager
def _strip(scene: bpy.types.Scene, plate: bpy.types.Strip, name: str) -> Rendered:
    strip = scene.sequence_editor.strips_all[name]
    with solo.solo_scene(scene, name) as alone:
        shown = alone.sequence_editor.strips_all[name]
        yield alone, shown, _shown_frames(strip)


def _shown_frames(strip: bpy.types.Strip) -> range:
    """The strip's frames that no meta strip around it hides."""
    own, meta = range(compat.start(strip), compat.end(strip)), strip.parent_meta()
    if meta is None:
        return own
    seen = _shown_frames(meta)
    return range(max(own.start, seen.start), min(own.stop, seen.stop))


@contextmanager
def _datablock(scene: bpy.types.Scene, plate: bpy.types.Strip, name: str) -> Rendered:
    mask = next(m for m in bpy.data.masks if m.name_full == name)
    with _mask_over(scene, plate, mask, mask.frame_start) as rendered:
        yield rendered


@contextmanager
def _modifier(scene: bpy.types.Scene, plate: bpy.types.Strip, name: str) -> Rendered:
    modifier = plate.modifiers[name]
    source = modifier_source(modifier)
    if modifier.input_mask_type == "STRIP":
        rendering = _strip(scene, plate, source.name)
    else:
        relative = modifier.mask_time == "RELATIVE"
        first = round(compat.content_start(plate)) if relative else source.frame_start
        rendering = _mask_over(scene, plate, source, first)
    with rendering as rendered:
        yield rendered


@contextmanager
def _mask_over(
    scene: bpy.types.Scene, plate: bpy.types.Strip, mask: bpy.types.Mask, first: int
) -> Rendered:
    """A Mask datablock over the plate; its first frame falls on timeline frame ``first``.

    A strip holds its last frame, a modifier's mask goes on: a longer copy of the mask does too.
    """
    span = range(compat.start(plate), compat.end(plate))
    longer = mask.copy()
    try:
        longer.frame_end = max(longer.frame_end, longer.frame_start + span.stop - first)
        with solo.solo_scene(scene, None) as alone:
            strips = alone.sequence_editor.strips
            strip = strips.new_mask(name="matte", mask=longer, channel=128, frame_start=first)
            solo.show_only(alone, strip)
            yield alone, strip, span
    finally:
        bpy.data.masks.remove(longer)


@contextmanager
def _compositor(scene: bpy.types.Scene, plate: bpy.types.Strip, name: str) -> Rendered:
    """The plate as it leaves its modifier ``name``."""
    with solo.solo_scene(scene, plate.name, picture=True) as alone:
        shown = alone.sequence_editor.strips_all[plate.name]
        modifiers = list(shown.modifiers)
        last = [m.name for m in modifiers].index(name)
        modifiers[last].mute = False
        for later in modifiers[last + 1 :]:
            later.mute = True
        yield alone, shown, range(compat.start(plate), compat.end(plate))


_SOURCES = {
    "strip": _strip,
    "mask": _datablock,
    "modifier": _modifier,
    "compositor": _compositor,
}
