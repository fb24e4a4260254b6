# SPDX-License-Identifier: GPL-3.0-or-later
"""Lossless videos and a contact sheet of a finished job."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from wan_blender.core import job as jobs
from wan_blender.core.result import RESULT
from wan_blender.engine.frames.files import ShotFrames, read_png, write_png
from wan_blender.engine.frames.masks import measure_mask, plan_masks
from wan_blender.engine.frames.region import whole_frame
from wan_blender.masks.grid import frame_footprint

COLUMNS, TILE, GAP = 6, 256, 6


def write_videos(folder: Path, out: Path) -> tuple[int, float]:
    """before.mkv, after.mkv and mask.mkv (FFV1, RGB). Returns, of before and after as decoded
    again, the largest difference over all pixels whose mask is 0, and the share of the other
    pixels that changed."""
    job = jobs.read(folder)
    shot = ShotFrames(folder, job)
    rate = Fraction(job.shot.fps_num, job.shot.fps_den)
    masks = [shot.mask(i) for i in range(len(shot))]
    stacks = {
        "before": [_eight_bit(shot.plate(i)) for i in range(len(shot))],
        "after": [_eight_bit(_result(folder, i)) for i in range(len(shot))],
        "mask": [np.rint(m * 255).astype(np.uint8)[..., None].repeat(3, 2) for m in masks],
    }
    for name, frames in stacks.items():
        _encode(out / f"{name}.mkv", frames, rate)
    before, after = _decode(out / "before.mkv"), _decode(out / "after.mkv")
    difference = np.abs(before.astype(int) - after.astype(int)).max(-1)
    outside = np.stack(masks) == 0
    return int(difference[outside].max(initial=0)), float((difference[~outside] > 0).mean())


def write_sheet(folder: Path, path: Path) -> None:
    """Rows: before, mask, latent mask as its footprint in pixels, after."""
    job = jobs.read(folder)
    shot = ShotFrames(folder, job)
    region = whole_frame(len(shot), shot.height, shot.width, cell=8, patch=2)
    plan = plan_masks(shot, measure_mask(shot), region, job.mask)
    rows = {name: [] for name in ("before", "mask", "latent mask", "after")}
    for index in np.linspace(0, len(shot) - 1, COLUMNS).round().astype(int):
        plate = _eight_bit(shot.plate(index))
        cells = frame_footprint(plan.latent, region.grid, index)
        rows["before"].append(plate)
        rows["mask"].append(_tinted(plate, shot.mask(index)))
        rows["latent mask"].append(_tinted(plate, cells))
        rows["after"].append(_eight_bit(_result(folder, index)))
    write_png(path, np.concatenate([_row(name, tiles) for name, tiles in rows.items()]))


def _result(folder: Path, index: int) -> np.ndarray:
    return read_png(folder / RESULT / jobs.FRAMES / jobs.frame_name(index))


def _eight_bit(frame: np.ndarray) -> np.ndarray:
    frame = frame[..., :3]
    return frame if frame.dtype == np.uint8 else (frame >> 8).astype(np.uint8)


def _tinted(plate: np.ndarray, mask: np.ndarray) -> np.ndarray:
    colour = np.array([255, 140, 0], np.float32)
    share = mask[..., None] * 0.65
    return (plate * 0.6 * (1 - share) + colour * share).astype(np.uint8)


def _row(name: str, tiles: list[np.ndarray]) -> np.ndarray:
    big = [cv2.resize(t, (TILE, TILE), interpolation=cv2.INTER_NEAREST) for t in tiles]
    line = np.concatenate([np.pad(t, [(0, GAP), (0, GAP), (0, 0)]) for t in big], 1)
    label = np.zeros((26, line.shape[1], 3), np.uint8)
    cv2.putText(label, name, (4, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (230,) * 3, 1, cv2.LINE_AA)
    return np.concatenate([label, line])


def _encode(path: Path, frames: list[np.ndarray], rate: Fraction) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
            container.mux(stream.encode(picture.reformat(format="bgr0")))
        container.mux(stream.encode())


def _decode(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
