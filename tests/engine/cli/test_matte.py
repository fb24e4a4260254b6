# SPDX-License-Identifier: GPL-3.0-or-later
"""The matte command in a process of its own, as Blender would call it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.engine.matte.clips import make_clip, overlap
from wan_blender.engine.matte.region import fill
from wan_blender.masks.outline import from_mask, to_mask

REPO = Path(__file__).parents[3]
SIZE, FIRST, COUNT = (208, 120), 11, 6


def call(action: str, folder: Path, request: object) -> subprocess.CompletedProcess:
    (folder / "request.json").write_text(json.dumps(request))
    command = [sys.executable, "-m", "wan_blender.engine", "matte", action, str(folder)]
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def shot(tmp_path_factory):
    """A folder of frames FIRST and on, and the clip they are of."""
    folder = tmp_path_factory.mktemp("shot")
    clip = make_clip("translation", SIZE, COUNT)
    (folder / "frames").mkdir()
    for index, frame in enumerate(clip.frames):
        cv2.imwrite(str(folder / "frames" / f"{FIRST + index:06d}.png"), frame)
    return folder, clip


def test_track_answers_with_keys_in_coordinates_of_the_mask_and_counts_frames(shot):
    folder, clip = shot
    drawn = {str(FIRST): [to_mask(s, SIZE).reshape(-1, 6).tolist() for s in clip.splines]}
    ended = call("track", folder, {"first": FIRST, "last": FIRST + COUNT - 1, "drawn": drawn})
    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    assert (answer["hidden"], answer["lost"]) == ([], [])
    last = answer["keys"][str(FIRST + COUNT - 1)]
    splines = [from_mask(np.reshape(points, (-1, 3, 2)), SIZE) for points in last]
    assert overlap(fill(splines, SIZE), clip.truth[-1]) > 0.88
    assert json.loads(ended.stderr.splitlines()[-1])["total"] == COUNT


def test_segment_answers_with_outlines(shot):
    folder, _ = shot
    ended = call("segment", folder, {"frame": FIRST, "keep": [[[0.36, 0.5]]], "leave": []})
    assert ended.returncode == 0, ended.stderr
    splines = json.loads(ended.stdout)["splines"]
    assert splines
    assert {len(point) for spline in splines for point in spline} == {6}


@pytest.mark.parametrize(
    ("action", "request_json", "code"),
    [
        ("segment", {"frame": 99, "keep": [[[0.5, 0.5]]], "leave": []}, "UnsupportedClip"),
        ("segment", {"frame": FIRST}, "BadRequest"),
        ("track", {"first": FIRST, "last": FIRST + 2, "drawn": {}}, "EmptyMask"),
        ("track", [], "BadRequest"),
    ],
)
def test_wrong_requests_are_told_as_json(shot, action, request_json, code):
    ended = call(action, shot[0], request_json)
    assert ended.returncode == 2
    assert json.loads(ended.stderr.splitlines()[-1])["error"]["code"] == code
