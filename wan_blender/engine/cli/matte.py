# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m wan_blender.engine matte segment|track FOLDER

FOLDER holds request.json and frames/NNNNNN.png, numbered as on the timeline. All outlines are lists
of points of six numbers: left handle, point, right handle, in coordinates of a Blender mask.

    segment   {"frame", "keep", "leave": lists of strokes of points}  ->  {"splines"}
    track     {"first", "last", "drawn": {frame: splines}, "bends"}   ->  {"keys": {frame: splines},
              "hidden": [frame], "lost": [[first, last]]}
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...core.errors import BadRequest, EmptyMask, UnsupportedClip
from ...core.files import read_bytes, read_json
from ...masks.outline import Spline, from_mask, to_mask
from ..matte.segment import outline_of, segment
from ..matte.track import keys_of, track

REQUEST, FRAMES = "request.json", "frames"
REQUEST_BYTES = 64 << 20  # a key on each of 8000 frames
PICTURE_BYTES = 64 << 20
DIGITS = 6
Size = tuple[int, int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("folder", type=Path)


def run(options: argparse.Namespace) -> int:
    """Carry out the parsed command. Raises WanError."""
    try:
        request = read_json(options.folder / REQUEST, REQUEST_BYTES)
        answer = ACTIONS[options.action](options.folder, request)
    except (KeyError, TypeError, ValueError) as error:
        raise BadRequest(f"{options.folder / REQUEST} cannot be used: {error!r}.") from error
    json.dump(answer, sys.stdout)
    sys.stdout.write("\n")
    return 0


def _segment(folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    picture = _read(folder, request["frame"], cv2.IMREAD_COLOR)
    size = _size(picture)
    keep, leave = ([_from(stroke, size) for stroke in request[name]] for name in ("keep", "leave"))
    inside = segment(picture, keep, leave)
    return {"splines": _told(outline_of(inside), size)}


def _track(folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    frames = range(request["first"], request["last"] + 1)
    size = _size(_read(folder, frames.start, cv2.IMREAD_GRAYSCALE))
    drawn = {
        int(frame): [_from(spline, size).reshape(-1, 3, 2) for spline in splines]
        for frame, splines in request["drawn"].items()
    }
    if not any(frame in frames for frame in drawn):
        raise EmptyMask("Nothing was drawn on the frames of the clip.", "Draw the matte on one.")
    done = 0

    def say(frame: int) -> None:
        nonlocal done
        done += 1
        print(json.dumps({"done": done, "total": len(frames)}), file=sys.stderr, flush=True)

    def read(frame: int) -> np.ndarray:
        return _read(folder, frame, cv2.IMREAD_GRAYSCALE)

    found = track(read, frames, drawn, bool(request.get("bends", True)), say)
    keys = keys_of(found.found, set(drawn))
    told = {str(frame): _told(found.found[frame], size) for frame in keys}
    return {"keys": told, "hidden": found.hidden, "lost": found.lost}


def _read(folder: Path, frame: int, how: int) -> np.ndarray:
    path = folder / FRAMES / f"{int(frame):06d}.png"
    try:
        data = np.frombuffer(read_bytes(path, PICTURE_BYTES), np.uint8)
    except OSError as error:
        raise UnsupportedClip(f"Frame {frame} is not there: {error}.") from error
    picture = cv2.imdecode(data, how)
    if picture is None:
        raise UnsupportedClip(f"{path} is no picture.")
    return picture


def _size(picture: np.ndarray) -> Size:
    return picture.shape[1], picture.shape[0]


def _from(points: list[list[float]], size: Size) -> np.ndarray:
    return from_mask(np.array(points, float).reshape(-1, 2), size)


def _told(splines: list[Spline], size: Size) -> list[list[list[float]]]:
    return [np.round(to_mask(s, size).reshape(-1, 6), DIGITS).tolist() for s in splines]


ACTIONS = {"segment": _segment, "track": _track}
