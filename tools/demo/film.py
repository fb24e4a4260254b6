# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's clip: a red ball crosses a striped wall, encoded as H.264 like any camera file."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path

import av
import numpy as np

from tools.train_nano.world import Scene, cover, random_scene, render

FRAMES, SIZE, FPS = 21, 128, 24


def film(out: Path) -> None:
    """clip.mp4 and track.json, the box of the ball on every frame (0..1, y up)."""
    scene = demo_scene()
    pixels = np.rint(render(scene, FRAMES, SIZE, SIZE) * 255).astype(np.uint8)
    write_clip(out / "clip.mp4", pixels)
    times = np.arange(FRAMES) / (FRAMES - 1)
    boxes = [_box(cover(scene.shapes[-1], time, SIZE, SIZE)[0]) for time in times]
    track = {"frames": FRAMES, "size": SIZE, "fps": FPS, "boxes": boxes}
    (out / "track.json").write_text(json.dumps(track))


def demo_scene() -> Scene:
    """The first striped wall of the world, with one red ball that crosses it to the right."""
    scenes = (random_scene(np.random.default_rng(seed), FRAMES) for seed in count())
    scene = next(
        s
        for s in scenes
        if s.shapes and s.background.texture == "striped" and s.background.pan == (0, 0)
    )
    ball = replace(
        scene.shapes[-1],
        kind="ball",
        colour="red",
        shiny=False,
        radius=0.18,
        centre=(0.5, 0.5),
        travel=(0.5, 0.0),
        growth=0.0,
        rgb=(0.85, 0.12, 0.1),
    )
    return replace(scene, shapes=(ball,))


def write_clip(path: Path, frames: np.ndarray) -> None:
    """(T, H, W, 3) uint8 as H.264, high quality."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.options = {"crf": "12"}
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _box(covered: np.ndarray) -> list[float]:
    ys, xs = np.nonzero(covered > 0.02)
    margin = 3
    left, right = xs.min() - margin, xs.max() + 1 + margin
    top, bottom = ys.min() - margin, ys.max() + 1 + margin
    return [left / SIZE, 1 - bottom / SIZE, right / SIZE, 1 - top / SIZE]
