# SPDX-License-Identifier: GPL-3.0-or-later
"""The start frame as it is delivered: itself, where the model was shown a treated one."""

from __future__ import annotations

import numpy as np

from ..core.job_pictures import START, pictures
from .frames.files import to_model
from .frames.pictures import fill_size, read_colour
from .plan import Plan


def delivered_start(plan: Plan) -> np.ndarray | None:
    """Frame 0 of the result as a canvas picture (H, W, 3) in [-1, 1]; None where it is what the
    model made, or the plate's own.

    A start frame of another size than the shot is fitted to the part of the canvas that the model
    sees, as the model is shown it.
    """
    start = _read(plan)
    if start is None or start.shape[:2] == (plan.shot.height, plan.shot.width):
        return None if start is None else to_model(start, plan.shot.tone)
    canvas = plan.shot.picture(0)
    region = plan.region
    canvas[region.window] = fill_size(to_model(start, plan.shot.tone), region.width, region.height)
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
            f"The start frame is {width} x {height}, the shot {plan.shot.width} x "
            f"{plan.shot.height}: the first frame is delivered resized, not bit for bit."
        )
    bits = 8 * start.itemsize
    if bits > plan.job.shot.bit_depth:
        notes.append(
            f"The start frame has {bits} bits, the shot {plan.job.shot.bit_depth}: the first frame "
            "is delivered rounded to that."
        )
    return notes


def _read(plan: Plan) -> np.ndarray | None:
    """The start picture (H, W, 3) in its own type, where it is to be delivered itself."""
    files = pictures(plan.folder, plan.job.model_mask, START)
    hygiene = plan.job.hygiene
    wanted = hygiene.mode != "off" and hygiene.deliver_original and plan.bundle.traits.needs_image
    return read_colour(files[0]) if wanted and files else None
