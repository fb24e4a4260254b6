# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m benchmarks.matte [WIDTHxHEIGHT]: how well and how fast a matte is followed.

One line for each motion of tests/engine/matte/clips.py, 48 frames each: overlap (intersection over
union) with the known matte, the worst and the mean of all frames, keys that are left, frames a
second of one core. tests/engine/matte/test_track.py is the short form.
"""

from __future__ import annotations

import sys
import time

import cv2
import numpy as np

from tests.engine.matte.clips import MOTIONS, make_clip, overlap
from wan_blender.engine.matte.region import fill
from wan_blender.engine.matte.track import keys_of, track


def main(size: str = "832x480") -> int:
    width, height = map(int, size.split("x"))
    cv2.setNumThreads(1)
    print(
        "| motion | worst | mean | keys | hidden | frames/s of a core |\n|---|---|---|---|---|---|"
    )
    for motion in MOTIONS:
        clip = make_clip(motion, (width, height))
        grays = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in clip.frames]
        began = time.process_time()
        result = track(grays.__getitem__, range(len(grays)), {0: clip.splines})
        spent = time.process_time() - began
        found = result.found.items()
        overlaps = [overlap(fill(s, (width, height)), clip.truth[frame]) for frame, s in found]
        keys = len(keys_of(result.found, {0}))
        print(
            f"| {motion} | {min(overlaps):.3f} | {np.mean(overlaps):.3f} | {keys} "
            f"| {len(result.hidden)} | {len(grays) / spent:.0f} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
