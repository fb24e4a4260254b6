# SPDX-License-Identifier: GPL-3.0-or-later
"""How fine detail of two pictures compares: numbers, and a plot drawn with OpenCV."""

from __future__ import annotations

import unicodedata

import cv2
import numpy as np

from ....core.answers.hygiene import FrequencyReport, Profile
from ....hygiene.bands import luminance, split
from ....hygiene.matrix import Matrix, analyse
from ....hygiene.sinks import find_sinks

BANDS = ("2-4 px", "4-8 px", "8-16 px", "16-32 px")
_FIRST, _SECOND, _INK, _DIM = (90, 170, 255), (255, 190, 90), (230, 230, 230), (110, 110, 110)
Drawing = np.ndarray  # (H, W, 3) uint8, BGR


def profile(picture: np.ndarray, matrix: Matrix | None = None) -> Profile:
    """(H, W, 3) in 0..1."""
    matrix = matrix or analyse(picture)
    bands, _ = split(luminance(picture), len(BANDS))
    return Profile(
        score=round(matrix.score, 2),
        light=matrix.light,
        sinks=len(find_sinks(picture, matrix)),
        glow=round(float(matrix.glow.mean()), 5),
        noise=round(255 * matrix.noise, 3),
        bands=tuple(round(255 * float(np.sqrt((b * b).mean())), 3) for b in bands),
    )


def compare(first: np.ndarray, second: np.ndarray) -> FrequencyReport:
    """Profiles of both and what changed. Pictures may differ in size."""
    a, b = profile(first), profile(second)
    ratio = [round(y / x, 4) if x > 0 else None for x, y in zip(a.bands, b.bands, strict=True)]
    return FrequencyReport(BANDS, a, b, round(b.score - a.score, 2), tuple(ratio))


def draw(first: np.ndarray, second: np.ndarray, names: tuple[str, str]) -> Drawing:
    """Both pictures, both matrix views and a bar plot of their bands, on one sheet."""
    height, width = 300, round(300 * first.shape[1] / first.shape[0])
    matrices = analyse(first), analyse(second)
    rows = []
    for picture, matrix in zip((first, second), matrices, strict=True):
        tiles = [draw_tile(picture, width, height), draw_tile(matrix.glow, width, height)]
        rows.append(np.hstack(tiles))
    sheet = np.vstack(rows)
    for index, (name, matrix) in enumerate(zip(names, matrices, strict=True)):
        draw_text(sheet, f"{name}: score {matrix.score:.0f}", 8, index * height + 20,
              (_FIRST, _SECOND)[index])  # fmt: skip
    profiles = [profile(p, m) for p, m in zip((first, second), matrices, strict=True)]
    return np.vstack([sheet, _bars([p.bands for p in profiles], sheet.shape[1], 220)])


def draw_tile(picture: np.ndarray, width: int, height: int) -> Drawing:
    image = (picture.clip(0, 1) * 255).astype(np.uint8)
    image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _bars(series: list[tuple[float, ...]], width: int, height: int) -> Drawing:
    """Grouped bars with their values, one group for each band."""
    plot = np.full((height, width, 3), 24, np.uint8)
    base, top, left = height - 34, 44, 60
    peak = max(max(values) for values in series) or 1.0
    draw_text(plot, "Detail by band (root mean square, 8-bit levels)", 12, 22, _INK)
    cv2.line(plot, (left, base), (width - 20, base), _DIM, 1)
    slot = (width - left - 20) / len(BANDS)
    for band, name in enumerate(BANDS):
        for index, values in enumerate(series):
            x = int(left + slot * (band + 0.18 + 0.33 * index))
            y = int(base - (base - top) * values[band] / peak)
            corner = (x + int(slot * 0.3), base - 1)
            cv2.rectangle(plot, (x, y), corner, (_FIRST, _SECOND)[index], -1)
            draw_text(plot, f"{values[band]:.2f}", x, y - 4, _INK, 0.4)
        draw_text(plot, name, int(left + slot * (band + 0.35)), height - 12, _INK)
    return plot


def draw_text(
    image: Drawing, text: str, x: int, y: int, color: tuple[int, int, int], size: float = 0.5
) -> None:
    """OpenCV's font is ASCII: accents are dropped, other letters become underscores."""
    apart = unicodedata.normalize("NFKD", text)
    bare = (letter for letter in apart if not unicodedata.combining(letter))
    text = "".join(letter if letter.isascii() else "_" for letter in bare)
    for ink, thickness in (((0, 0, 0), 3), (color, 1)):
        cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, ink, thickness, 16)
