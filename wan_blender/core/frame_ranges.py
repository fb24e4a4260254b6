# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of the timeline as people write them: "30-50, 80-"."""

from __future__ import annotations

import re

from . import schema
from .errors import InvalidJob


def frames_in(ranges: str, first: int, last: int) -> set[int] | None:
    """The timeline frames that text like "30-50, 80-" names, within ``first`` .. ``last``; None
    for empty text. Raises InvalidJob that quotes what is not understood, or when no frame of
    the shot is named."""
    if not ranges.strip():
        return None
    frames: set[int] = set()
    for part in ranges.split(","):
        low, high = _range(part.strip())
        frames.update(
            range(
                max(first if low is None else low, first),
                min(last if high is None else high, last) + 1,
            )
        )
    if not frames:
        raise InvalidJob(
            f"mask.frames {schema.show(ranges)} names no frame of the shot, which spans {first} "
            f"to {last}.",
            "Name frames of the timeline within that, or leave it empty for all.",
        )
    return frames


def _range(text: str) -> tuple[int | None, int | None]:
    """ "30-50", "80-", "-20", "7"; "-10..5" where a frame number is negative itself."""
    if re.fullmatch(r"-?\d{1,9}", text) and not text.startswith("-"):
        return int(text), int(text)
    separator = ".." if ".." in text else "-"
    low, _, high = text.partition(separator)
    if not (low or high) or not all(re.fullmatch(r"|-?\d{1,9}", side) for side in (low, high)):
        raise InvalidJob(
            f"mask.frames: {schema.show(text)} is not a range of frames.",
            'Write "30-50", "80-" for all from 80 on, or "-20" for all up to 20.',
        )
    return (int(low) if low else None), (int(high) if high else None)


def frame_ranges(frames: list[int]) -> str:
    """[0, 1, 2, 5] -> "frames 0-2, 5"."""
    parts: list[str] = []
    start = previous = frames[0]
    for frame in [*frames[1:], frames[-1] + 2]:
        if frame == previous + 1:
            previous = frame
            continue
        parts.append(str(start) if start == previous else f"{start}-{previous}")
        start = previous = frame
    more = f" and {len(parts) - 5} more" if len(parts) > 5 else ""
    return ("frame " if len(frames) == 1 else "frames ") + ", ".join(parts[:5]) + more
