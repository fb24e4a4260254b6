# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of pictures judged in one go: a CSV line and a tile on the contact sheet each."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from ....core.errors import NothingSelected, WanError, from_os_error
from ....hygiene.matrix import analyse
from ..pictures import SUFFIXES, is_picture, read_picture, write_image
from .frequencies import BANDS, Drawing, draw_text, draw_tile, profile

TILE, COLUMNS = 320, 4
LIGHTS = {"green": (90, 200, 90), "amber": (60, 180, 250), "red": (80, 80, 250)}


def run(
    folder: Path, out: Path, size: tuple[int, int], say: Callable[[str], None] = print
) -> list[dict[str, object]]:
    """Judge every image of ``folder`` at generation ``size``; writes hygiene.csv and contact.png.

    An image that cannot be read gets a line with its error and stops nothing; what an earlier
    batch drew there is left out. Tiles carry the number of their line. Raises NothingSelected for
    a folder without images.
    """
    sheet = out / "contact.png"
    files = sorted(p for p in folder.glob("*") if is_picture(p) and p.is_file())
    files = [path for path in files if path.resolve() != sheet.resolve()]
    if not files:
        raise NothingSelected(
            f"{folder} holds no images.", f"Known endings: {', '.join(SUFFIXES)}."
        )
    rows, tiles = [], []
    for number, path in enumerate(files, 1):
        row, tile = _judge(number, path, size)
        rows.append(row)
        tiles.append(tile)
        say(f"{path.name}: {row['error'] or row['light'] + ' ' + str(row['score'])}")
    _write_csv(out / "hygiene.csv", rows)
    write_image(sheet, contact_sheet(tiles))
    return rows


def contact_sheet(tiles: list[Drawing]) -> Drawing:
    """Tiles of equal width in rows of four; rows are as high as their highest tile."""
    rows = []
    for start in range(0, len(tiles), COLUMNS):
        row = tiles[start : start + COLUMNS]
        height = max(tile.shape[0] for tile in row)
        sheet = np.zeros((height, COLUMNS * TILE, 3), np.uint8)
        for index, tile in enumerate(row):
            sheet[: tile.shape[0], index * TILE : index * TILE + TILE] = tile
        rows.append(sheet)
    return np.vstack(rows)


def _judge(number: int, path: Path, size: tuple[int, int]) -> tuple[dict[str, object], Drawing]:
    row: dict[str, object] = dict.fromkeys(("error", "light", "score"), "")
    row |= {"number": number, "file": path.name}
    try:
        picture = read_picture(path, size)
    except WanError as error:
        blank = np.zeros((60, TILE, 3), np.uint8)
        draw_text(blank, f"{number} {path.name[:32]}: unreadable", 6, 34, LIGHTS["red"], 0.4)
        return {**row, "error": str(error)}, blank
    matrix = analyse(picture)
    found = profile(picture, matrix)
    row |= {"light": found.light, "score": found.score, "sinks": found.sinks}
    row |= {"glow": found.glow, "noise": found.noise}
    row |= dict(zip(BANDS, found.bands, strict=True))
    height = round(TILE * size[1] / size[0])
    tile = np.vstack([draw_tile(picture, TILE, height), draw_tile(matrix.glow, TILE, height)])
    cv2.rectangle(tile, (0, 0), (TILE - 1, len(tile) - 1), LIGHTS[found.light], 3)
    draw_text(tile, f"{number} {path.name[:28]}  {found.score:.0f}", 8, 20, LIGHTS[found.light])
    return row, tile


def _write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    names = ["number", "file", "light", "score", "sinks", "glow", "noise", *BANDS, "error"]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, restval="")
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise from_os_error(error, "writing the CSV") from error
