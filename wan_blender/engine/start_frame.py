# SPDX-License-Identifier: GPL-3.0-or-later
"""The start frame as it is delivered: itself, where the model was shown a treated one."""

from __future__ import annotations

import numpy as np

from .. import job as jobs
from .conditioning.scene import fill_size, read_colour
from .plan import Plan
from .video import to_model


def delivered_start(plan: Plan) -> np.ndarray | None:
    """Frame 0 of the result as a canvas picture (H, W, 3) in [-1, 1]; None where it is what the
    model made, or the plate's own.

    A start.png of another size than the shot is fitted to the part of the canvas the model sees, as
    the model is shown it.
    """
    start = _read(plan)
    if start is None or start.shape[:2] == (plan.shot.height, plan.shot.width):
        return None if start is None else to_model(start)
    canvas = to_model(plan.shot.plate(0))
    region = plan.region
    canvas[region.window] = fill_size(to_model(start), region.width, region.height)
    return canvas


def start_notes(plan: Plan) -> list[str]:
    """Why the delivered first frame is not bit for bit the start frame, in words; [] when it is."""
    start = _read(plan)
    if start is None:
        return []
    notes = []
    height, width = start.shape[:2]
    if (height, width) != (plan.shot.height, plan.shot.width):
        notes.append(
            f"{jobs.START} is {width} x {height}, the shot {plan.shot.width} x "
            f"{plan.shot.height}: the first frame is the start frame resized, not its own pixels."
        )
    bits = 8 * start.itemsize
    if bits > plan.job.shot.bit_depth:
        notes.append(
            f"{jobs.START} has {bits} bits, the shot {plan.job.shot.bit_depth}: the first frame is "
            "the start frame rounded to that."
        )
    return notes


def _read(plan: Plan) -> np.ndarray | None:
    """start.png (H, W, 3) in its own type, where it is to be delivered itself."""
    path, hygiene = plan.folder / jobs.START, plan.job.hygiene
    wanted = hygiene.mode != "off" and hygiene.deliver_original and plan.bundle.traits.needs_image
    return read_colour(path) if wanted and path.is_file() else None
