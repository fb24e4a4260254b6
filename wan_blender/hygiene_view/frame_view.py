# SPDX-License-Identifier: GPL-3.0-or-later
"""One start frame under treatment: its sinks, its blur map, and what the map makes of it."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..errors import NothingSelected
from ..hygiene.bands import luminance
from ..hygiene.blur import (
    MAX_RADIUS,
    Softened,
    ambiguity,
    ambiguity_warning,
    radius_map,
    soften,
    treat,
)
from ..hygiene.matrix import Matrix, analyse, analyse_plane, band_glow
from ..hygiene.sinks import Sink, find_sinks, is_on_face
from . import thumbnails
from .blur_map import MAP_PREFIX, find_map
from .questions import Questions, keep_report, write_picture


class View:
    """One start frame, its blur map and what follows. Arrays are (H, W, ...), top row first."""

    def __init__(
        self, name: str, rgb: np.ndarray, keep_edges: bool = False, is_clip: bool = True
    ) -> None:
        self.name = name
        self.is_clip = is_clip  # else an image that no job is made from
        self.rgb = rgb
        self.keep_edges = keep_edges
        self.matrix: Matrix = analyse(rgb)
        self.sinks: list[Sink] = find_sinks(rgb, self.matrix)
        self.radius = np.zeros(rgb.shape[:2], np.float32)
        self.after = self.matrix
        self._plane = self._after_plane = luminance(rgb)
        self._treated: tuple[int, np.ndarray] = (0, rgb)  # version it belongs to
        self.version = 0  # rises with every update: what has drawn an older one draws again
        self._pool = ThreadPoolExecutor(1, "wan-matrix")
        self._update: Future | None = None
        self._treating: Future | None = None
        self._judging: Future | None = None
        self._judged = 0  # version whose warnings are shown
        self._limited: dict[int, str] = {}  # sinks that still glow after their treatment
        self.questions = Questions()
        self.report: dict[str, Any] | None = None  # of this frame and another
        self.faces: list[tuple[int, int, int, int]] | None = None  # None: not looked for
        self._pixels = np.zeros(rgb.shape[0] * rgb.shape[1] * 4, np.float32)
        self._make_map()
        self.tick()

    @property
    def map_name(self) -> str:
        return MAP_PREFIX + self.name

    @property
    def image(self) -> bpy.types.Image | None:
        return find_map(self.name)

    @property
    def busy(self) -> bool:
        waits = self._judging or self._judged != self.version
        return bool(self._update or self._treating or waits or self.questions.busy)

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
        changed = self.questions.tick()
        if self._treating and self._treating.done():
            self._write_map(self._treating.result())
            self._treating = None
        if self._update and self._update.done():
            self.after, self._after_plane = self._update.result()
            self._update, changed = None, True
            self.version += 1
        if self._update is None and self._read_map():
            self._update = self._pool.submit(self._compute, self.radius, self.keep_edges)
        return self._judge() or changed

    def _judge(self) -> bool:
        """Once painting rests, warn of what it made ambiguous; the view does not wait for that."""
        changed = False
        if self._judging and self._judging.done():
            self._warn(self._judging.result())
            self._judging, changed = None, True
        if not (self._update or self._judging) and self._judged != self.version:
            self._judged = self.version
            self._judging = self._pool.submit(self._losses, self.radius, self.keep_edges)
        return changed

    def _losses(self, radius: np.ndarray, keep_edges: bool) -> list[float]:
        """Part of the shape of each sink that is lost, 0..1."""
        after = soften(self._plane, radius, keep_edges)
        return [ambiguity(self._plane, after, sink) for sink in self.sinks]

    def _warn(self, losses: list[float]) -> None:
        items = bpy.context.window_manager.wan_hygiene.sinks
        for number, (item, sink, loss) in enumerate(zip(items, self.sinks, losses)):
            warning = ambiguity_warning(replace(sink, protected=item.gentle), loss)
            item.warning = warning or self._limited.get(number, "")

    def painted(self) -> np.ndarray:
        """(H, W) radii of the map as it is this moment, analysed or not."""
        image = self.image
        if image is None or tuple(image.size) != self.size:
            return self.radius
        image.pixels.foreach_get(self._pixels)
        return self._pixels.reshape(*self.rgb.shape[:2], 4)[::-1, :, 0].clip(0, 1) * MAX_RADIUS

    def _read_map(self) -> bool:
        """Read the map into ``radius``; whether it differs from what was read before."""
        radius = self.painted()
        if np.array_equal(radius, self.radius):
            return False
        self.radius = radius
        return True

    def _compute(self, radius: np.ndarray, keep_edges: bool) -> tuple[Matrix, np.ndarray]:
        plane = soften(self._plane, radius, keep_edges)
        return analyse_plane(plane), plane

    @property
    def treated(self) -> np.ndarray:
        """(H, W, 3): made when it is looked at, the matrix view does without."""
        if self._treated[0] != self.version:
            made = soften(self.rgb, self.radius, self.keep_edges)
            self._treated = self.version, made
        return self._treated[1]

    def look_for_faces(self, python: Path) -> None:
        """Ask the engine; ``tick`` unticks what lies on a face. Raises EngineMissing."""

        def take(answer: dict[str, Any]) -> None:
            self.faces = [tuple(box) for box in answer["faces"]]
            for item, sink in zip(bpy.context.window_manager.wan_hygiene.sinks, self.sinks):
                if is_on_face(sink.box, self.faces):
                    item.treat, item.gentle = False, True

        frame = self.questions.file("frame.png")
        write_picture(frame, self.rgb)
        self.questions.ask(python, take, self.size, "faces", frame)

    def compare(self, python: Path, other: Path | None) -> None:
        """Ask the engine for a frequency report of this frame and the picture in ``other``, or the
        treated frame. Raises EngineMissing, UserError."""
        first = self.questions.file("original.png")
        write_picture(first, self.rgb)
        name = other.name if other else "the treated one"
        if other is None:
            other = self.questions.file("treated.png")
            write_picture(other, self.treated_now())
        plot = self.questions.file("report.png")

        def take(answer: dict[str, Any]) -> None:
            self.report = {**answer, "name": name}
            keep_report(plot)

        self.questions.ask(python, take, self.size, "compare", first, other, "--plot", plot)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)"""
        return self.rgb.shape[1], self.rgb.shape[0]

    def treated_now(self) -> np.ndarray:
        """(H, W, 3): as the map is this moment."""
        return soften(self.rgb, self.painted(), self.keep_edges)

    def ticked(self) -> list[Sink]:
        """The ticked sinks of the list, as gently as it says."""
        items = bpy.context.window_manager.wan_hygiene.sinks
        return [
            replace(sink, protected=item.gentle)
            for sink, item in zip(self.sinks, items)
            if item.treat
        ]

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
            for number, (item, sink) in enumerate(zip(settings.sinks, self.sinks)):
                if sink.cells is region.sink.cells:
                    item.radius, item.warning = region.radius, region.warning()
                    self._limited[number] = item.warning

    def add(self, radius: np.ndarray) -> None:
        """Blur by ``radius`` (H, W) pixels too, where the map does not blur more already."""
        if self.image:
            self._store(self.image, np.maximum(self.painted(), radius))

    def clear(self) -> None:
        if self.image:
            self._store(self.image, np.zeros_like(self.radius))
        self._limited.clear()

    def _store(self, image: bpy.types.Image, radius: np.ndarray) -> None:
        pixels = self._pixels.reshape(*radius.shape, 4)
        pixels[..., :3] = radius[::-1, :, None] / MAX_RADIUS
        pixels[..., 3] = 1
        image.pixels.foreach_set(self._pixels)
        image.update()

    def picture(self, view: str, wipe: float, band: str = "ALL") -> np.ndarray:
        """(H, W, 3) of one of the views, and bands, that state.py names."""
        if view == "MATRIX":
            glow = self.after.glow
            if band != "ALL":
                glow = band_glow(self._after_plane, self.after, int(band))
            return np.repeat(glow[..., None], 3, 2)
        if view == "DIFFERENCE":
            return (0.5 + 4 * (self.treated - self.rgb)).clip(0, 1)
        if view == "WIPE":
            out = self.treated.copy()
            edge = round(wipe * out.shape[1])
            out[:, :edge] = self.rgb[:, :edge]
            return out
        return self.rgb if view == "ORIGINAL" else self.treated

    def close(self) -> None:
        self.questions.close()
        self._pool.shutdown(wait=True, cancel_futures=True)


_view: View | None = None


def view() -> View | None:
    """The open view, if any."""
    return _view


def open_view(name: str, rgb: np.ndarray, keep_edges: bool, is_clip: bool) -> View:
    """Analyse ``rgb`` (H, W, 3) as a frame of the strip, or the image, ``name``; show its list."""
    global _view
    close_view()
    _view = View(name, rgb, keep_edges, is_clip)
    settings = bpy.context.window_manager.wan_hygiene
    settings.sinks.clear()
    settings.plate, settings.score = name, _view.matrix.score
    thumbnails.clear()
    for rank, sink in enumerate(_view.sinks, 1):
        item = settings.sinks.add()
        item.rank, item.icon = rank, thumbnails.add(str(rank), rgb, sink.box)
        item.name, item.box = sink.kind.capitalize(), sink.box
        item.score, item.share, item.area = sink.score, sink.share, sink.area
        item.treat = True
    return _view


def close_view() -> None:
    global _view
    if _view:
        _view.close()
    _view = None


def require_view() -> View:
    """The open view. Raises NothingSelected."""
    if _view is None or _view.image is None:
        raise NothingSelected(
            "No matrix view is open.", "Select a clip in the sequencer and open its matrix view."
        )
    return _view
