# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on view: a frame of a clip as the model is given it, or an image of the open file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import bpy
import numpy as np

from ..core.errors import UnsupportedClip
from ..host.blur_map import is_map
from ..timeline import compat, solo, takes
from ..timeline.matte_render import to_display


def frame_of(scene: bpy.types.Scene, plate: bpy.types.Strip) -> int:
    """The playhead where it stands in the plate, else the plate's first frame."""
    first = compat.start(plate)
    inside = first <= scene.frame_current < first + compat.length(plate)
    return scene.frame_current if inside else first


def read_frame(scene: bpy.types.Scene, plate: bpy.types.Strip, frame: int) -> np.ndarray:
    """(H, W, 3) uint8: the canvas with the strip on it, as the model is given it, which sees no
    alpha. A result lies over the clip that it was made from."""
    picture = _render(scene, plate.name, frame)
    recipe = takes.read_recipe(plate)
    below = recipe and scene.sequence_editor.strips_all.get(recipe["job"]["shot"]["strip"])
    if below and compat.start(below) <= frame < compat.end(below):
        under, alpha = _render(scene, below.name, frame), picture[..., 3:]
        picture = alpha * picture + (1 - alpha) * under
    return np.round(255 * picture[..., :3].clip(0, 1)).astype(np.uint8)


def find_image(name: str) -> bpy.types.Image:
    image = bpy.data.images.get(name)
    if image is None:
        raise UnsupportedClip(f"There is no image {name!r} in this file.", "Open it first.")
    if is_map(image):
        raise UnsupportedClip(
            f"{name!r} is a blur map and no picture.", "Choose a picture, or select a clip."
        )
    return image


def on_white(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 1 to 4 channels) -> without alpha: what is transparent in a start frame is white to
    the model."""
    if pixels.shape[2] in (1, 3):
        return pixels
    alpha = pixels[..., -1:].clip(0, 1)
    return pixels[..., :-1] * alpha + (1 - alpha)


def _render(scene: bpy.types.Scene, strip: str, frame: int) -> np.ndarray:
    """(H, W, 4) in 0..1: the strip alone on its canvas, as it is exported."""
    with tempfile.TemporaryDirectory(prefix="wan-frame-") as folder:
        with solo.solo_scene(scene, strip, picture=True) as alone:
            solo.write_png(alone, "RGBA", 8)
            path = next(iter(solo.render(alone, range(frame, frame + 1), Path(folder))))
        image = bpy.data.images.load(str(path))
        try:
            return read_image(image)
        finally:
            bpy.data.images.remove(image)


def read_image(image: bpy.types.Image) -> np.ndarray:
    """(H, W, channels) of an image datablock as it is displayed, top row first. Raises
    UnsupportedClip when it has no pixels."""
    width, height = image.size
    if image.type == "RENDER_RESULT":
        raise UnsupportedClip(
            f"Blender gives add-ons no pixels of {image.name!r}.", "Save it, and open its file."
        )
    if not width * height:
        raise UnsupportedClip(
            f"The image {image.name!r} has no pixels.", "Check that its file is there."
        )
    pixels = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(pixels)
    pixels = pixels.reshape(height, width, image.channels)[::-1]
    if image.is_float and not image.colorspace_settings.is_data:
        _encode(pixels, image.alpha_mode in ("STRAIGHT", "PREMUL"))
    return pixels


def _encode(pixels: np.ndarray, is_premultiplied: bool) -> None:
    """Float images are held in linear light, and over black: to sRGB and straight, in place."""
    colors = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., :1]
    if is_premultiplied and pixels.shape[2] in (2, 4):
        alpha = pixels[..., -1:]
        colors /= np.where(alpha > 0, alpha, 1)
    colors[:] = to_display(colors)
