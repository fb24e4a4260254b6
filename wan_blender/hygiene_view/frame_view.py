# SPDX-License-Identifier: GPL-3.0-or-later
"""One start frame under treatment: its sinks, its blur map, and what the map makes of it."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import bpy
import numpy as np

from .. import job
from ..errors import NothingSelected, from_os_error
from ..hygiene.bands import luminance
from ..hygiene.blur import MAX_RADIUS, Softened, radius_map, soften, treat
from ..hygiene.matrix import Matrix, analyse, analyse_plane
from ..hygiene.sinks import Sink, find_sinks
from ..timeline import png

MAP_PREFIX = "Wan Blur Map: "


class View:
    """One start frame, its blur map and what follows. Arrays are (H, W, ...), top row first."""

    def __init__(self, name: str, rgb: np.ndarray, keep_edges: bool = False) -> None:
        self.name = name
        self.rgb = rgb
        self.keep_edges = keep_edges
        self.matrix: Matrix = analyse(rgb)
        self.sinks: list[Sink] = find_sinks(rgb, self.matrix)
        self.radius = np.zeros(rgb.shape[:2], np.float32)
        self.after = self.matrix
        self._plane = luminance(rgb)
        self._treated: tuple[int, np.ndarray] = (0, rgb)  # version it belongs to
        self.version = 0  # rises with every update: what has drawn an older one draws again
        self._pool = ThreadPoolExecutor(1, "wan-matrix")
        self._update: Future | None = None
        self._treating: Future | None = None
        self._pixels = np.zeros(rgb.shape[0] * rgb.shape[1] * 4, np.float32)
        self._make_map()
        self.tick()

    @property
    def map_name(self) -> str:
        return MAP_PREFIX + self.name

    @property
    def image(self) -> bpy.types.Image | None:
        return bpy.data.images.get(self.map_name)

    @property
    def busy(self) -> bool:
        return bool(self._update or self._treating)

    def _make_map(self) -> None:
        """The blur map of this frame: the file's own when it has the size, else a black one."""
        height, width = self.rgb.shape[:2]
        image = self.image
        if image is None:
            image = bpy.data.images.new(self.map_name, width, height, float_buffer=True)
            image.colorspace_settings.name = "Non-Color"
            image.generated_color = (0, 0, 0, 1)
            image.use_fake_user = True
        elif tuple(image.size) != (width, height):
            image.scale(width, height)

    def tick(self) -> bool:
        """Take what the thread has finished, start it when the map changed. True: draw again."""
        changed = False
        if self._treating and self._treating.done():
            self._write_map(self._treating.result())
            self._treating = None
        if self._update and self._update.done():
            self.after = self._update.result()
            self._update, changed = None, True
            self.version += 1
        if self._update is None and self._read_map():
            self._update = self._pool.submit(self._compute, self.radius, self.keep_edges)
        return changed

    def _read_map(self) -> bool:
        """Read the map into ``radius``; whether it differs from what was read before."""
        image = self.image
        if image is None or tuple(image.size) != self.rgb.shape[1::-1]:
            return False
        image.pixels.foreach_get(self._pixels)
        values = self._pixels.reshape(*self.rgb.shape[:2], 4)[::-1, :, 0].clip(0, 1) * MAX_RADIUS
        if np.array_equal(values, self.radius):
            return False
        self.radius = values
        return True

    def _compute(self, radius: np.ndarray, keep_edges: bool) -> Matrix:
        return analyse_plane(soften(self._plane, radius, keep_edges))

    @property
    def treated(self) -> np.ndarray:
        """(H, W, 3): made when it is looked at, the matrix view does without."""
        if self._treated[0] != self.version:
            made = soften(self.rgb, self.radius, self.keep_edges)
            self._treated = self.version, made
        return self._treated[1]

    def treat(self, chosen: list[Sink], seed: int) -> None:
        """Find the blur of the chosen sinks in the thread; ``tick`` adds it to the map."""
        self._treating = self._pool.submit(self._find, chosen, seed)

    def _find(self, chosen: list[Sink], seed: int) -> list[Softened]:
        return treat(self.rgb, self.matrix, chosen, seed, self.keep_edges)

    def _write_map(self, regions: list[Softened]) -> None:
        """Add the regions to what is painted already; where both blur, the larger radius counts."""
        self.add(radius_map(regions, self.rgb.shape[:2]))
        settings = bpy.context.window_manager.wan_hygiene
        for region in regions:
            for item, sink in zip(settings.sinks, self.sinks):
                if sink is region.sink:
                    item.radius, item.warning = region.radius, region.warning()

    def add(self, radius: np.ndarray) -> None:
        """Blur by ``radius`` (H, W) pixels too, where the map does not blur more already."""
        if self.image:
            self._read_map()
            self._store(self.image, np.maximum(self.radius, radius))

    def clear(self) -> None:
        if self.image:
            self._store(self.image, np.zeros_like(self.radius))

    def _store(self, image: bpy.types.Image, radius: np.ndarray) -> None:
        pixels = self._pixels.reshape(*radius.shape, 4)
        pixels[..., :3] = radius[::-1, :, None] / MAX_RADIUS
        pixels[..., 3] = 1
        image.pixels.foreach_set(self._pixels)
        image.update()

    def picture(self, view: str, wipe: float) -> np.ndarray:
        """(H, W, 3) of one of the views that state.py names."""
        if view == "MATRIX":
            return np.repeat(self.after.glow[..., None], 3, 2)
        if view == "DIFFERENCE":
            return (0.5 + 4 * (self.treated - self.rgb)).clip(0, 1)
        if view == "WIPE":
            out = self.treated.copy()
            edge = round(wipe * out.shape[1])
            out[:, :edge] = self.rgb[:, :edge]
            return out
        return self.rgb if view == "ORIGINAL" else self.treated

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


_view: View | None = None


def view() -> View | None:
    """The open view, if any."""
    return _view


def open_view(name: str, rgb: np.ndarray, keep_edges: bool) -> View:
    """Analyse ``rgb`` (H, W, 3) as the start frame of the strip ``name`` and show its list."""
    global _view
    close_view()
    _view = View(name, rgb, keep_edges)
    settings = bpy.context.window_manager.wan_hygiene
    settings.sinks.clear()
    settings.plate, settings.score = name, _view.matrix.score
    for sink in _view.sinks:
        item = settings.sinks.add()
        item.name, item.box = sink.kind.capitalize(), sink.box
        item.score, item.share, item.area = sink.score, sink.share, sink.area
        item.treat = not sink.protected
    return _view


def close_view() -> None:
    global _view
    if _view:
        _view.close()
    _view = None


def save_map(folder: Path, plate: str) -> None:
    """Write the blur map of the strip ``plate`` into a job folder, if it has one that blurs.

    Raises DiskFull.
    """
    image = bpy.data.images.get(MAP_PREFIX + plate)
    if image is None:
        return
    width, height = image.size
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    values = pixels.reshape(height, width, 4)[::-1, :, 0]
    if not values.any():
        return
    try:
        png.write_gray16(folder / job.RADIUS, values)
    except OSError as error:
        raise from_os_error(error, "writing the blur map") from error


def require_view() -> View:
    """The open view. Raises NothingSelected."""
    if _view is None or _view.image is None:
        raise NothingSelected(
            "No matrix view is open.", "Select a clip in the sequencer and open its matrix view."
        )
    return _view
