# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a curve over frames jumps: two-sided cumulative sums (Page 1954)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SLACK = 0.5  # deviations that each value may be off for free
LIMIT = 5.0  # deviations summed up that are a jump
NEXT = 8  # values after a jump whose median is the new level


def find_jumps(
    values: Sequence[float | None], deviation: float, smallest: float = 0.0
) -> list[int]:
    """Indices where ``values`` leave their level, up or down; None is passed over.

    The level is the median, and after each jump that of the next few values, so a lasting change is
    found once and a single outlier once. ``deviation`` is what the values are off by without a
    reason, ``smallest`` the difference from the level below which nothing is a jump.
    """
    known = [(i, v) for i, v in enumerate(values) if v is not None]
    if len(known) < 3:
        return []
    series = np.array([v for _, v in known])
    level, found = float(np.median(series)), []
    up = down = 0.0
    for at, value in enumerate(series):
        off = (value - level) / deviation
        up, down = max(0.0, up + off - SLACK), max(0.0, down - off - SLACK)
        if max(up, down) > LIMIT and abs(value - level) >= smallest:
            found.append(known[at][0])
            rest = series[at + 1 : at + 1 + NEXT]
            level = float(np.median(rest)) if len(rest) else level
            up = down = 0.0
    return found


def spread(values: Sequence[float | None]) -> float:
    """Standard deviation of what is known of ``values``, robust against outliers (1.4826 times the
    median absolute deviation); 0 for fewer than three."""
    known = np.array([v for v in values if v is not None])
    if len(known) < 3:
        return 0.0
    return float(1.4826 * np.median(np.abs(known - np.median(known))))
