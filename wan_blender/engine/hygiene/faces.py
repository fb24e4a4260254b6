# SPDX-License-Identifier: GPL-3.0-or-later
"""The faces in a picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ...hygiene.sinks import Xywh


def find_faces(picture: np.ndarray) -> list[Xywh]:
    """Boxes of faces by OpenCV's own cascades (Viola and Jones 2001); (H, W, 3) in 0..1.

    Upright faces from the front and from both sides, from a sixteenth of the picture's smaller side
    on and at least 24 pixels. It misses tilted, turned away, covered, drawn and smaller ones, and
    now and then takes something else for a face. Eyes and mouths are found as parts of a face.
    """
    gray = cv2.cvtColor((picture * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
    smallest = max(min(gray.shape) // 16, 24)

    def detect(name: str, plane: np.ndarray) -> list[Xywh]:
        cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / name))
        found = cascade.detectMultiScale(plane, 1.1, 6, minSize=(smallest, smallest))
        return [tuple(int(v) for v in box) for box in found]

    front = detect("haarcascade_frontalface_default.xml", gray)
    left = detect("haarcascade_profileface.xml", gray)
    right = detect("haarcascade_profileface.xml", np.ascontiguousarray(gray[:, ::-1]))
    mirrored = [(gray.shape[1] - x - width, y, width, height) for x, y, width, height in right]
    return front + left + mirrored
