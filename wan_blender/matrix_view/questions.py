# SPDX-License-Identifier: GPL-3.0-or-later
"""What the view asks the engine, which has OpenCV: where faces are, how two frames compare."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import bpy
import numpy as np

from ..core.errors import UserError, WanError
from ..process.call import EngineCall

REPORT = "Wan Frequency Report"
T = TypeVar("T")


class Questions:
    """Calls of the engine about one frame. ``error`` is what went wrong last."""

    def __init__(self) -> None:
        self.error: WanError | None = None
        self._calls: list[tuple[EngineCall, type, Callable[[Any], None]]] = []
        self._scratch = tempfile.TemporaryDirectory(prefix="wan-matrix-")

    @property
    def busy(self) -> bool:
        return bool(self._calls)

    def file(self, name: str) -> Path:
        return Path(self._scratch.name) / name

    def ask(
        self,
        python: Path,
        answer: type[T],
        take: Callable[[T], None],
        size: tuple[int, int],
        *words: object,
    ) -> None:
        """``hygiene WORDS`` at generation ``size``; ``tick`` gives its ``answer`` to ``take``.
        Raises EngineMissing."""
        width, height = size
        arguments = "hygiene", "--size", f"{width}x{height}", *map(str, words)
        self._calls.append((EngineCall(python, *arguments), answer, take))
        self.error = None

    def tick(self) -> bool:
        """Whether an answer was taken."""
        ended = [asked for asked in self._calls if asked[0].finished]
        for asked in ended:
            self._calls.remove(asked)
            call, answer, take = asked
            try:
                take(call.answer(answer))
            except WanError as error:
                self.error = error
        return bool(ended)

    def stop(self) -> None:
        """Take no answers to what was asked so far."""
        for call, *_ in self._calls:
            call.kill()
        self._calls.clear()

    def close(self) -> None:
        self.stop()
        with contextlib.suppress(OSError):
            self._scratch.cleanup()


def write_picture(path: Path, rgb: np.ndarray) -> None:
    """(H, W, 3) in 0..1 as 8-bit PNG. Raises UserError."""
    height, width = rgb.shape[:2]
    image = bpy.data.images.new("wan-picture", width, height, alpha=False)
    try:
        pixels = np.ones((height, width, 4), np.float32)
        pixels[..., :3] = rgb[::-1]
        image.pixels.foreach_set(pixels.ravel())
        image.filepath_raw, image.file_format = str(path), "PNG"
        image.save()
    except RuntimeError as error:
        raise UserError(
            f"{path} could not be written: {str(error).strip()}.", "Choose another folder."
        ) from error
    finally:
        bpy.data.images.remove(image)


def keep_report(path: Path) -> bpy.types.Image:
    """The plot in ``path`` as an image of the file, in place of an earlier one."""
    old = bpy.data.images.get(REPORT)
    if old:
        bpy.data.images.remove(old)
    image = bpy.data.images.load(str(path))
    image.name = REPORT
    image.pack()
    return image
