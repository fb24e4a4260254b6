# SPDX-License-Identifier: GPL-3.0-or-later
"""An empty timeline of 64x48 at 24 fps, media to put on it, and shorthands to export it."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.blender import media

COUNTED = ("scenes", "masks", "images", "actions", "movieclips", "node_groups", "texts")


@dataclass
class Timeline:
    """A scene with strips, and what the export makes of it."""

    bpy: ModuleType
    scene: Any
    folder: Path

    @property
    def strips(self) -> Any:
        return self.scene.sequence_editor.strips

    def add_image(self, paths, channel: int = 1, first: int = 1, length: int | None = None) -> Any:
        from wan_blender.timeline import compat

        strip = self.strips.new_image("plate", str(paths[0]), channel, first)
        for path in paths[1:]:
            strip.elements.append(path.name)
        compat.set_length(strip, length or len(paths))
        return strip

    def add_mask(self, channel: int = 5, first: int = 1, length: int = 4, corners=None) -> Any:
        """A Mask strip; by default its mask covers the whole canvas."""
        from wan_blender.timeline import compat

        mask = self.make_mask(corners)
        strip = self.strips.new_mask(name="matte", mask=mask, channel=channel, frame_start=first)
        compat.set_length(strip, length)
        return strip

    def make_mask(self, corners=None) -> Any:
        mask = self.bpy.data.masks.new("Mask")
        spline = mask.layers.new(name="Layer").splines.new()
        corners = corners or ((-1, -1), (2, -1), (2, 2), (-1, 2))
        spline.points.add(len(corners) - 1)
        spline.use_cyclic = True
        for point, corner in zip(spline.points, corners, strict=True):
            point.co = corner
            point.handle_left_type = point.handle_right_type = "VECTOR"
        return mask

    def add_effect(self, kind: str, channel: int = 1, first: int = 1, length: int = 4) -> Any:
        from wan_blender.timeline import compat

        return compat.new_effect(self.strips, kind.lower(), kind, channel, first, length)

    def editor_area(self, kind: str) -> Any:
        """A context override with an editor of ``kind`` for operators that want one."""
        from wan_blender.timeline import compat

        window = self.bpy.context.window_manager.windows[0]
        area = window.screen.areas[0]
        area.type = kind
        region = next(r for r in area.regions if r.type == "WINDOW")
        return self.bpy.context.temp_override(
            window=window, area=area, region=region, **compat.sequencer_context(self.scene)
        )

    def render(self, strip: Any, bits: int, mode: str) -> list[np.ndarray]:
        """The strip's frames as Blender's own animation render gives them with all else muted."""
        from wan_blender.timeline import compat

        scene, muted = self.scene, {s.name: s.mute for s in self.strips}
        for other in self.strips:
            other.mute = other != strip
        scene.view_settings.view_transform, scene.render.dither_intensity = "Standard", 0
        compat.write_images(scene)
        settings = scene.render.image_settings
        settings.file_format, settings.color_mode = "PNG", mode
        settings.color_depth = str(bits)
        first, count = compat.start(strip), compat.length(strip)
        scene.frame_start, scene.frame_end = first, first + count - 1
        scene.render.filepath = str(self.folder / "wanted" / "######.png")
        self.bpy.ops.render.render(animation=True)
        for other in self.strips:
            other.mute = muted[other.name]
        paths = [self.folder / "wanted" / f"{first + i:06d}.png" for i in range(count)]
        return [media.read_png(path) for path in paths]

    def export(
        self, strip: Any, mattes=None, place: str = "auto", **watch
    ) -> tuple[Any, list[np.ndarray], list]:
        """(Shot, plate frames, mask frames (H, W) in 0..1). Checks that no data is left over."""
        from wan_blender.timeline.export import export
        from wan_blender.timeline.shot import read_shot

        request = read_shot(self.scene, strip, mattes, place=place)
        before, job = self.snapshot(), self.folder / "job"
        shot = export(request, job, **watch)
        assert self.snapshot() == before
        plate = [media.read_png(path) for path in sorted((job / "plate").iterdir())]
        mask = [media.read_png(path)[..., 0] for path in sorted((job / "mask").iterdir())]
        assert {frame.dtype for frame in mask} == {np.dtype("u2")}
        assert len(plate) == len(mask) == shot.frame_count
        return shot, plate, [frame / 65535 for frame in mask]

    def snapshot(self) -> Any:
        """What an export must not change."""
        data = {name: sorted(x.name for x in getattr(self.bpy.data, name)) for name in COUNTED}
        render, view = self.scene.render, self.scene.view_settings
        strips = [(s.name, s.mute, s.blend_type, s.use_float) for s in self.strips]
        settings = (render.filepath, render.image_settings.file_format, view.view_transform)
        return data, strips, settings, self.scene.frame_current, self.scene.frame_end


@pytest.fixture
def bpy(bpy_module) -> ModuleType:
    bpy_module.ops.wm.read_factory_settings(use_empty=True)
    return bpy_module


@pytest.fixture
def timeline(bpy, tmp_path) -> Timeline:
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = 64, 48
    scene.sequence_editor_create()
    return Timeline(bpy, scene, tmp_path)
