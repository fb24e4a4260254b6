# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m benchmarks.borrow [PICTURES]: what borrowing reaches on shots with a known clean plate.

Prints one line a shot, beside OpenCV's inpainting of the same frames, then the speed at 1080p. With
a folder, writes the middle frame of each: plate, filled, eight times the error, confidence.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.engine.borrow.clips import RECIPES, ClipTruth, make_clip
from tests.engine.borrow.measure import Measured, measure_clip
from wan_blender.engine.borrow.shot import Borrower
from wan_blender.engine.frames.files import write_png

COLUMNS = "shot|shown|used|falsely|dB|dB used|ceiling|Telea|NS|flicker|own"
HD = replace(
    RECIPES[0], name="1080p", size=(1920, 1080), frames=14, speed=24, crossing=-20, grain=1
)


def main(pictures: str = "") -> int:
    print(f"|{COLUMNS}|")
    print("|---" * 11 + "|")
    for recipe in RECIPES:
        clip = make_clip(recipe)
        found = measure_clip(clip)
        print(_row(found), flush=True)
        if pictures:
            _write(Path(pictures), clip, found)
    wall, cpu, db = measure_speed()
    print(
        f"1920x1080, {HD.frames} frames, 6 % masked: {1 / wall:.2f} frames/s on this machine now,"
    )
    print(f"{cpu:.2f} s of one core per frame, survey and all reading included; {db:.1f} dB")
    return 0


def measure_speed() -> tuple[float, float, float]:
    """Wall and processor seconds per frame, and dB, of one 1080p shot in memory."""
    clip = make_clip(HD)
    wall, cpu = time.perf_counter(), time.process_time()
    pictures = np.stack([borrowed.picture for borrowed in Borrower(clip.plate, clip.mask)])
    wall, cpu = (time.perf_counter() - wall) / HD.frames, (time.process_time() - cpu) / HD.frames
    error = (pictures / np.float32(255) - clip.clean)[clip.shown]
    return wall, cpu, float(-10 * np.log10(np.mean(error**2)))


def _row(m: Measured) -> str:
    shares = " | ".join(f"{100 * share:.0f} %" for share in (m.shown, m.used, m.false))
    levels = (m.db, m.sure_db, m.ceiling, m.telea, m.navier_stokes)
    decibels = " | ".join(f"{value:.1f}" for value in levels)
    return f"| {m.name} | {shares} | {decibels} | {m.flicker:.2f} | {m.own_flicker:.2f} |"


def _write(folder: Path, clip: ClipTruth, found: Measured) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    middle = len(clip.mask) // 2 - 3
    peak = np.iinfo(clip.plate.dtype).max
    plate, filled = (
        p[middle, ..., :3].astype(np.float32) / peak for p in (clip.plate, found.pictures)
    )
    error = 8 * np.abs(filled - clip.clean[middle]) * (clip.mask[middle] > 0)[..., None]
    sure = np.repeat(found.confidence[middle][..., None], 3, 2)
    sheet = np.vstack([np.hstack([plate, filled]), np.hstack([error, sure])])
    name = found.name.replace(", ", "-").replace(" ", "-")
    write_png(folder / f"{name}.png", np.rint(np.clip(sheet, 0, 1) * 255).astype(np.uint8))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
