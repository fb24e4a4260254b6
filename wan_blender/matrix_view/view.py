# SPDX-License-Identifier: GPL-3.0-or-later
"""One start frame under treatment: its sinks, its blur map, and what the map makes of it."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..core.answers.hygiene import Faces, FrequencyReport
from ..core.errors import NothingSelected
from ..host.blur_map import Owner, change_map, ensure_map, find_map, lineage, owners, read_map
from ..host.interface import in_the_middle_of, push_undo
from ..hygiene.bands import luminance, resize, to_rgb
from ..hygiene.blur import MAX_RADIUS, Softened, ambiguity, radius_map, soften, treat
from ..hygiene.matrix import Matrix, analyse, analyse_plane, band_glow
from ..hygiene.sinks import Sink, find_sinks
from ..timeline import compat
from .matte import FollowedMatte
from .part import CanvasPart, MaskWatch, cut, plan_part, radii_added, radii_seen
from .questions import Questions, keep_report, write_picture
from .sinks import SinkList

PAINTING = "PAINT_OT"  # a stroke holds the pixels of the map


class View:
    """One start frame, its blur map and what follows. Arrays are (H, W, ...), top row first, at the
    model's size; radii are pixels there."""

    def __init__(
        self, scene: bpy.types.Scene, owner: Owner, picture: np.ndarray, frame: int | None
    ) -> None:
        self.is_clip = frame is not None  # else an image that no job is made from
        self.frame = frame
        self._picture = picture
        self._scene, self._name = scene.name, owner.name
        self.mask = MaskWatch(scene, owner) if self.is_clip else None
        canvas = picture.shape[1], picture.shape[0]
        self.part = plan_part(scene, canvas, self.mask.seen if self.mask else None)
        ensure_map(owner, self.part.map_size)
        self.lineage = lineage(owner)
        self.matte = FollowedMatte(frame) if self.is_clip else None
        self.version = 0  # rises with every update: what has drawn an older one draws again
        self.questions = Questions()
        self.report: FrequencyReport | None = None  # of this frame and another
        self.compared = ""  # name of that other
        self._python: Path | None = None  # of the engine that looks for faces
        self._pool = ThreadPoolExecutor(1, "wan-matrix")
        self._update: Future | None = None
        self._treating: Future | None = None
        self._judging: Future | None = None
        self._moving: Future | None = None
        self._show(self.part, *self._look(self.part))
        self.tick()

    @property
    def owner(self) -> Owner | None:
        """The strip or image on view, whatever it is called by now."""
        scene = bpy.data.scenes.get(self._scene)
        known = bpy.data.images.get(self._name)
        if self.is_clip:
            editor = scene.sequence_editor if scene else None
            known = editor.strips_all.get(self._name) if editor else None
        if lineage(known) == self.lineage:
            return known
        kin = [
            (scene, owner)
            for scene, owner in owners()
            if (scene is not None) == self.is_clip and lineage(owner) == self.lineage
        ]
        if len(kin) == 1:  # renamed; of several, one is a copy, and undo may bring ours back
            scene, owner = kin[0]
            self._scene, self._name = scene.name if scene else self._scene, owner.name
        return kin[0][1] if kin else None

    @property
    def name(self) -> str:
        owner = self.owner
        return owner.name if owner else self._name

    @property
    def scene(self) -> bpy.types.Scene:
        """The clip's, or the one whose timeline is edited."""
        found = bpy.data.scenes.get(self._scene) if self.is_clip else None
        return found or compat.sequencer_scene(bpy.context)

    @property
    def image(self) -> bpy.types.Image | None:
        """The blur map."""
        return find_map(self.owner)

    @property
    def gray(self) -> float:
        """What blurs by one pixel when it is painted on the map."""
        columns = self.part.inside(*self.image.size)[1]
        return min((columns.stop - columns.start) / self.size[0] / MAX_RADIUS, 1.0)

    @property
    def busy(self) -> bool:
        waits = self._judging or self._judged != self.version
        return bool(self._update or self._treating or self._moving or waits or self.questions.busy)

    @property
    def waits_for_mask(self) -> bool:
        return bool(self.mask and self.mask.waits)

    def _look(self, part: CanvasPart) -> tuple[np.ndarray, Matrix, list[Sink]]:
        rgb = resize(to_rgb(cut(self._picture, part)), *part.size)
        matrix = analyse(rgb)
        return rgb, matrix, find_sinks(rgb, matrix)

    def _show(self, part: CanvasPart, rgb: np.ndarray, matrix: Matrix, sinks: list[Sink]) -> None:
        """Show ``part``, and list its sinks."""
        self.part, self.rgb, self.matrix, self.after = part, rgb, matrix, matrix
        self.sinks = SinkList(sinks, rgb)
        self._plane = self._after_plane = luminance(rgb)
        self.radius = np.zeros(rgb.shape[:2], np.float32)  # all that blurs, as the run will
        self._painted = np.empty(0), self.radius  # the map there, and the radii that it stands for
        self.keep_edges = False
        self._treated: tuple[int, np.ndarray] = (-1, rgb)  # version it belongs to
        self.version += 1
        self._judged = self.version  # version whose warnings are shown
        self.report = None
        self.faces: list[tuple[int, int, int, int]] | None = None  # None: not looked for
        self._keep_score()
        if self._python:
            self.look_for_faces(self._python)

    def tick(self) -> bool:
        """Take what the thread has finished, start it when the map changed. True: draw again."""
        changed = self.questions.tick()
        changed = self._follow_mask() or changed
        if self._treating and self._treating.done() and not in_the_middle_of(PAINTING):
            treated, self._treating = self._treating.result(), None
            self._write_map(treated)
        if self._update and self._update.done():
            self.after, self._after_plane = self._update.result()
            self._update, changed = None, True
            self.version += 1
            self._keep_score()
        if self._update is None and self._read_settings():
            self._update = self._pool.submit(self._compute, self.radius, self.keep_edges)
        return self._judge() or changed

    def _keep_score(self) -> None:
        bpy.context.window_manager.wan_matrix.score = self.after.score
        _scores[self.lineage] = self.matrix.score, self.after.score

    def _follow_mask(self) -> bool:
        """Show what the model sees once the mask has been analysed."""
        owner = self.owner if self.is_clip else None
        if owner and self.mask.tick(self.scene, owner):
            part = plan_part(self.scene, self.part.canvas, self.mask.seen)
            if part != self.part:
                self._moving = self._pool.submit(lambda: (part, *self._look(part)))
        waits = self._moving is None or not self._moving.done() or self._treating
        if waits or owner is None or in_the_middle_of(PAINTING):
            return self.waits_for_mask
        found, self._moving = self._moving.result(), None
        self._update = self._judging = None  # of what was shown before
        self.questions.stop()
        ensure_map(owner, found[0].map_size)
        self._show(*found)
        return True

    def _judge(self) -> bool:
        """Once painting rests, warn of what it made ambiguous; the view does not wait for that."""
        changed = False
        if self._judging and self._judging.done():
            self.sinks.warn(self._judging.result())
            self._judging, changed = None, True
        if not (self._update or self._judging) and self._judged != self.version:
            self._judged = self.version
            self._judging = self._pool.submit(self._losses, self.radius, self.keep_edges)
        return changed

    def _losses(self, radius: np.ndarray, keep_edges: bool) -> list[float]:
        """Part of the shape of each sink that is lost, 0..1."""
        after = soften(self._plane, radius, keep_edges)
        return [ambiguity(self._plane, after, sink) for sink in self.sinks.sinks]

    def painted(self) -> np.ndarray:
        """(H, W) radii of the map as it is this moment, analysed or not."""
        image = self.image
        if image is None or not all(image.size):
            return np.zeros(self.rgb.shape[:2], np.float32)
        shown = cut(read_map(image), self.part)
        if not np.array_equal(shown, self._painted[0]):
            self._painted = shown.copy(), radii_seen(shown, self.part)
        return self._painted[1]

    def blur(self) -> np.ndarray:
        """(H, W) radii of all that blurs this frame in a run: the map, and the matte it follows."""
        radius = self.painted()
        if self.matte:
            radius = np.maximum(radius, self.matte.radius(self.scene, self.owner, self.part))
        return (radius * self.scene.wan.hygiene.strength).clip(0, MAX_RADIUS)

    def _read_settings(self) -> bool:
        """Read map and settings; whether they blur otherwise than what was read before."""
        radius, keep_edges = self.blur(), self.scene.wan.hygiene.keep_edges
        if keep_edges == self.keep_edges and np.array_equal(radius, self.radius):
            return False
        self.radius, self.keep_edges = radius, keep_edges
        return True

    def _compute(self, radius: np.ndarray, keep_edges: bool) -> tuple[Matrix, np.ndarray]:
        plane = soften(self._plane, radius, keep_edges)
        return analyse_plane(plane, self.matrix), plane

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
            self.faces = list(answer.faces)
            self.sinks.spare(self.faces)

        frame = self.questions.file("frame.png")
        write_picture(frame, self.rgb)
        self.questions.ask(python, Faces, take, self.size, "faces", frame)
        self._python = python

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

        def take(answer: FrequencyReport) -> None:
            self.report, self.compared = answer, name
            keep_report(plot)

        words = "compare", first, other, "--plot", plot
        self.questions.ask(python, FrequencyReport, take, self.size, *words)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)"""
        return self.rgb.shape[1], self.rgb.shape[0]

    def treated_now(self) -> np.ndarray:
        """(H, W, 3): as the map is this moment."""
        return soften(self.rgb, self.blur(), self.scene.wan.hygiene.keep_edges)

    def treat(self, chosen: list[Sink], seed: int) -> None:
        """Find the blur of the chosen sinks in the thread; ``tick`` adds it to the map, as one undo
        step, and has the job use it."""
        edges, faces = self.scene.wan.hygiene.keep_edges, self.faces or ()
        self._treating = self._pool.submit(
            treat, self.rgb, self.matrix, chosen, seed, keep_edges=edges, faces=faces
        )

    def _write_map(self, regions: list[Softened]) -> None:
        """Add the regions to what is painted already; where both blur, the larger radius counts."""
        self.add(radius_map(regions, self.rgb.shape[:2]))
        hygiene = self.scene.wan.hygiene
        if self.is_clip and hygiene.mode == "off":
            hygiene.mode = "soft"
        push_undo("Treat Ticked")
        self.sinks.tell(regions)

    def add(self, radius: np.ndarray) -> None:
        """Blur by ``radius`` (H, W) pixels too, where the map does not blur more already."""
        owner = self.owner
        if find_map(owner):
            change_map(owner, radii_added(read_map(find_map(owner)), radius, self.part))

    def clear(self) -> None:
        owner = self.owner
        if find_map(owner):
            change_map(owner, np.zeros_like(read_map(find_map(owner))))
        self.sinks.forget()

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
_scores: dict[str, tuple[float, float]] = {}  # by lineage of the map, before and after the blur


def last_score(owner: Owner) -> tuple[float, float] | None:
    """Score of the start frame of ``owner``, untreated and treated, when it was last looked at in
    this session."""
    return _scores.get(lineage(owner))


def view() -> View | None:
    """The open view, if any."""
    return _view


def open_view(
    scene: bpy.types.Scene, owner: Owner, picture: np.ndarray, frame: int | None = None
) -> View:
    """Look at ``picture`` (H, W, 3), the canvas on ``frame`` of the strip ``owner`` of ``scene``;
    without a frame, the image ``owner``."""
    global _view
    close_view()
    _view = View(scene, owner, picture, frame)
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
