# SPDX-License-Identifier: GPL-3.0-or-later
"""The blur map of a clip: an image that the strip refers to, saved in the .blend, written into its
jobs.

A map covers the canvas; its values count pixels of its own, 1 = hygiene.blur.MAX_RADIUS of them. At
another size they are scaled with the picture. The reference survives that strip or image are
renamed; a copied strip shares the map until its own view is opened, and then has a copy.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np

from ..core import job
from ..core.errors import from_os_error
from ..core.job_pictures import END, REFERENCES
from ..core.settings import Job
from ..hygiene.bands import resize
from ..hygiene.maps import require_effect
from ..timeline import png

MAP = "wan_blur_map"  # custom property of a strip or image: its map
LINEAGE = "wan_blur_map_id"  # of a map: text, the same for all states of the map of one clip
Owner = bpy.types.Strip | bpy.types.Image


def find_map(owner: Owner | None) -> bpy.types.Image | None:
    """The blur map of a strip, or of an image that is looked at."""
    found = owner.get(MAP) if owner else None
    return found if isinstance(found, bpy.types.Image) else None


def is_map(image: bpy.types.Image) -> bool:
    return bool(map_lineage(image))


def map_lineage(image: bpy.types.Image | None) -> str:
    """What tells the map of one clip from those of others, whatever is painted on it; "" for an
    image that is not a map."""
    return image.get(LINEAGE, "") if image else ""


def lineage(owner: Owner | None) -> str:
    """That of the map of ``owner``; "" without one."""
    return map_lineage(find_map(owner))


def owners() -> Iterator[tuple[bpy.types.Scene | None, Owner]]:
    """All that may have a map, each strip with its scene."""
    for scene in bpy.data.scenes:
        for strip in scene.sequence_editor.strips_all if scene.sequence_editor else ():
            yield scene, strip
    for image in bpy.data.images:
        yield None, image


def sharing(owner: Owner) -> list[str]:
    """Names of the others that have the same map."""
    image = find_map(owner)
    if image is None or image.users < 2:
        return []
    return [o.name for _, o in owners() if o != owner and find_map(o) == image]


def ensure_map(owner: Owner, size: tuple[int, int]) -> bpy.types.Image:
    """The map of ``owner``, its own, of ``size`` (width, height) or more: one that is larger keeps
    what is painted on it as finely as it was."""
    image = find_map(owner)
    if image is None or not all(image.size):
        return _new(owner, np.zeros(size[::-1], np.float32))
    if sharing(owner):
        image = _new(owner, read_map(image))
    width = image.size[0]
    if width < size[0]:
        before = read_map(image)
        image.scale(*size)
        if before.any():  # else it is black at any size
            write_map(image, resize(before[..., None], *size)[..., 0] * (size[0] / width))
    return image


def change_map(owner: Owner, values: np.ndarray) -> bpy.types.Image:
    """Give ``owner`` a map of ``values`` (H, W) in place of the one it has.

    It is another image: that is what lets undo, which keeps no pixels, come back to the former.
    """
    former, name, key = find_map(owner), find_map(owner).name, lineage(owner)
    if sharing(owner):
        former[LINEAGE] = uuid.uuid4().hex  # it is the others' alone now
    else:
        former.name = f"Former {name}"
    image = _new(owner, values, key)
    image.name = name
    image.pack()  # for redo
    return image


def _new(owner: Owner, values: np.ndarray, key: str = "") -> bpy.types.Image:
    height, width = values.shape
    image = bpy.data.images.new(f"Wan Blur Map: {owner.name}", width, height, float_buffer=True)
    image.colorspace_settings.name = "Non-Color"
    image.generated_color = (0, 0, 0, 1)
    image[LINEAGE] = key or uuid.uuid4().hex
    write_map(image, values)
    owner[MAP] = image
    return image


def read_map(image: bpy.types.Image) -> np.ndarray:
    """(H, W), top row first, 1 = hygiene.blur.MAX_RADIUS."""
    width, height = image.size
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    return pixels.reshape(height, width, 4)[::-1, :, 0]


def write_map(image: bpy.types.Image, values: np.ndarray) -> None:
    """``values`` (H, W) of the image's size, top row first."""
    pixels = np.ones((*values.shape, 4), np.float32)
    pixels[..., :3] = values[::-1, :, None]
    image.pixels.foreach_set(pixels.ravel())
    image.update()


def require_map(settings: Job, plate: bpy.types.Strip) -> None:
    """Before anything is exported: raise InvalidJob where hygiene would change nothing, without a
    map that blurs, a matte to follow, or a picture that is treated by measure."""
    radii = settings.hygiene.matte or _blurs(_read(plate)) or _blurs(_read(_start(settings)))
    pictures = any(getattr(settings.model_mask, name) for name in (END, REFERENCES))
    lack = f"nothing is painted on the blur map of {plate.name!r}"
    require_effect(settings, bool(radii), pictures, lack)


def save_map(folder: Path, plate: bpy.types.Strip, settings: Job) -> None:
    """Write the blur maps of the strip ``plate`` and of the start picture that ``settings`` name
    into a job folder, where they have one that blurs.

    Raises DiskFull.
    """
    for owner, name in ((plate, job.RADIUS), (_start(settings), job.START_RADIUS)):
        values = _read(owner)
        if _blurs(values):
            try:
                png.write_gray16(folder / name, values.clip(0, 1))
            except OSError as error:
                raise from_os_error(error, "writing the blur map") from error


def _start(settings: Job) -> bpy.types.Image | None:
    """The image of this file that is the job's start picture, where it has a map."""
    if not settings.model_mask.start_image:
        return None
    path = Path(bpy.path.abspath(settings.model_mask.start_image)).resolve()
    painted = (image for image in bpy.data.images if image.filepath and find_map(image))
    files = ((Path(bpy.path.abspath(i.filepath, library=i.library)).resolve(), i) for i in painted)
    return next((image for file, image in files if file == path), None)


def _blurs(values: np.ndarray | None) -> bool:
    return values is not None and bool((values > 0).any())


def _read(owner: Owner | None) -> np.ndarray | None:
    image = find_map(owner)
    return read_map(image) if image and all(image.size) else None
