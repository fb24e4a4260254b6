# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m wan_blender.engine hygiene matrix|sinks|faces|treat|compare|batch|motion|takes

All pictures are brought to --size (the generation size) first. Results are JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from ...core.answers.hygiene import Faces, FrequencyReport, Takes
from ...core.answers.typed import to_json
from ...core.errors import BadRequest, LengthMismatch
from ...hygiene.blur import radius_map, soften, treat
from ...hygiene.matrix import analyse
from ...hygiene.sinks import Sink, find_sinks
from ..hygiene import pictures
from ..hygiene.faces import find_faces
from ..hygiene.measure import batch, frequencies, motion, takes

MOST_PIXELS = 1 << 24  # of a generation size: no model works at more, and memory is finite


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size", type=_size, default=(832, 480), metavar="WxH", help="generation size"
    )
    actions = parser.add_subparsers(dest="action", required=True)
    matrix = actions.add_parser("matrix", help="write the matrix view of an image")
    matrix.add_argument("image", type=Path)
    matrix.add_argument("out", type=_png)
    sinks = actions.add_parser("sinks", help="list the attention sinks of an image")
    sinks.add_argument("image", type=Path)
    faces = actions.add_parser("faces", help="boxes of the faces in an image")
    faces.add_argument("image", type=Path)
    soft = actions.add_parser("treat", help="write the treated frame and its blur map")
    soft.add_argument("image", type=Path)
    soft.add_argument("out", type=_png)
    soft.add_argument("--radius", type=_png, help="where to write the blur map")
    soft.add_argument("--sinks", type=_numbers, help="which to treat, as listed: 0,2,5")
    soft.add_argument("--seed", type=_seed, default=0, help="seed of the blots on large patterns")
    soft.add_argument("--keep-edges", action="store_true", help="spare outlines of large things")
    compare = actions.add_parser("compare", help="two images: numbers and a plot")
    compare.add_argument("first", type=Path)
    compare.add_argument("second", type=Path)
    compare.add_argument("--plot", type=_png)
    folder = actions.add_parser("batch", help="judge a folder: CSV and contact sheet")
    folder.add_argument("folder", type=Path)
    folder.add_argument("out", type=Path)
    clips = actions.add_parser("motion", help="compare two clips (folders of frames)")
    clips.add_argument("without", type=Path)
    clips.add_argument("treated", type=Path)
    clips.add_argument("start", type=Path, help="the start frame")
    pair = actions.add_parser("takes", help="compare two finished job folders of one seed")
    pair.add_argument("without", type=Path)
    pair.add_argument("treated", type=Path)
    pair.add_argument("sheet", type=_png, help="where to write the contact sheet")


def run(options: argparse.Namespace) -> int:
    """Carry out the parsed command. Raises WanError."""
    result = ACTIONS[options.action](options)
    json.dump(to_json(result), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
    return 0


def _matrix(options: argparse.Namespace) -> dict[str, object]:
    matrix = analyse(pictures.read_picture(options.image, options.size))
    pictures.write_picture(options.out, matrix.glow)
    return {"score": round(matrix.score, 2), "light": matrix.light, "written": str(options.out)}


def _sinks(options: argparse.Namespace) -> dict[str, object]:
    picture = pictures.read_picture(options.image, options.size)
    matrix = analyse(picture)
    sinks = find_sinks(picture, matrix, find_faces(picture))
    listed = [_describe(index, sink) for index, sink in enumerate(sinks)]
    return {"score": round(matrix.score, 2), "light": matrix.light, "sinks": listed}


def _faces(options: argparse.Namespace) -> Faces:
    picture = pictures.read_picture(options.image, options.size)
    return Faces(tuple(tuple(box) for box in find_faces(picture)))


def _treat(options: argparse.Namespace) -> dict[str, object]:
    picture = pictures.read_picture(options.image, options.size)
    matrix, faces = analyse(picture), find_faces(picture)
    sinks = find_sinks(picture, matrix, faces)
    if options.sinks is None:
        chosen = [sink for sink in sinks if not sink.protected]
    else:
        wrong = [n for n in options.sinks if not 0 <= n < len(sinks)]
        if wrong:
            raise BadRequest(
                f"There is no sink {wrong[0]}; the picture has {len(sinks)}.",
                "List them with 'hygiene sinks'.",
            )
        chosen = [sinks[n] for n in options.sinks]
    regions = treat(picture, matrix, chosen, options.seed, options.keep_edges, faces)
    radius = radius_map(regions, picture.shape[:2])
    treated = soften(picture, radius, options.keep_edges)
    pictures.write_picture(options.out, treated)
    if options.radius:
        pictures.write_radius(options.radius, radius)
    return {
        "score": [round(matrix.score, 2), round(analyse(treated, matrix).score, 2)],
        "regions": [
            {**_describe(sinks.index(r.sink), r.sink), "radius": round(r.radius, 3),
             "contrast": [round(r.before, 4), round(r.after, 4)], "target": round(r.target, 4),
             "loss": round(r.loss, 4), "warning": r.warning()}
            for r in regions
        ],
        "written": str(options.out),
    }  # fmt: skip


def _compare(options: argparse.Namespace) -> FrequencyReport:
    first, second = (
        pictures.read_picture(path, options.size) for path in (options.first, options.second)
    )
    if options.plot:
        names = options.first.name, options.second.name
        pictures.write_image(options.plot, frequencies.draw(first, second, names))
    return frequencies.compare(first, second)


def _batch(options: argparse.Namespace) -> dict[str, object]:
    rows = batch.run(options.folder, options.out, options.size, lambda t: print(t, file=sys.stderr))
    unread = sum(bool(row["error"]) for row in rows)
    return {"images": len(rows), "unread": unread, "written": str(options.out)}


def _motion(options: argparse.Namespace) -> dict[str, object]:
    start = pictures.read_picture(options.start, options.size)
    without, treated = (_clip(p, options.size) for p in (options.without, options.treated))
    return motion.pair(without, treated, start)


def _takes(options: argparse.Namespace) -> Takes:
    pair = takes.Take.read(options.without), takes.Take.read(options.treated)
    return takes.compare(*pair, options.sheet)


def _clip(folder: Path, size: tuple[int, int]) -> np.ndarray:
    files = sorted(p for p in folder.glob("*") if pictures.is_picture(p))
    if len(files) < 2:
        raise LengthMismatch(f"{folder} holds {len(files)} frames; motion needs at least 2.")
    return np.stack([pictures.read_picture(path, size) for path in files])


def _describe(index: int, sink: Sink) -> dict[str, object]:
    return {
        "index": index,
        "kind": sink.kind,
        "box": list(sink.box),
        "area": sink.area,
        "score": round(sink.score, 1),
        "share": round(sink.share, 4),
        "protected": sink.protected,
    }


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) > 0 and int(height) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not width x height, for example 832x480")
    if int(width) * int(height) > MOST_PIXELS:
        raise argparse.ArgumentTypeError(f"{text} has more than {MOST_PIXELS} pixels")
    return int(width), int(height)


def _png(text: str) -> Path:
    if Path(text).suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"{text!r} is written as PNG; let its name end in .png")
    return Path(text)


def _seed(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part.strip()]


ACTIONS = {
    "matrix": _matrix,
    "sinks": _sinks,
    "faces": _faces,
    "treat": _treat,
    "compare": _compare,
    "batch": _batch,
    "motion": _motion,
    "takes": _takes,
}
