# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame files <-> arrays. Numbered PNG, 8 or 16 bit, RGB or RGBA; masks 16-bit gray.

Arrays are (H, W, 3|4) or (H, W) in the file's own integer type, so nothing is lost on the way.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from ...core import job as jobs
from ...core.errors import InvalidJob, SizeMismatch, from_os_error
from ...core.files import open_file, read_bytes
from ...core.frame_ranges import frames_in
from ...core.settings import Job
from ...masks.gray import find_gray
from ...masks.preview import settled

PICTURE_BYTES = 4 << 30


class ShotFrames:
    """The frames of a job folder, read when they are needed: a long clip stays on disk.

    ``check`` is called before each frame is read, and may raise Cancelled."""

    def __init__(self, folder: Path, job: Job, check: Callable[[], None] = lambda: None) -> None:
        self.folder = folder
        self._check = check
        self.width, self.height = job.shot.width, job.shot.height
        self._bits = job.shot.bit_depth
        self.plate_files, self.mask_files = jobs.frame_files(folder, job)
        self._digest = ""
        first = job.shot.frame_start
        self._chosen = frames_in(job.mask.frames, first, first + len(self) - 1)
        self.first_frame = first
        self._gray_means = job.mask.gray
        self._meaning = find_gray(self._gray_means)

    def __len__(self) -> int:
        return len(self.plate_files)

    def check_plate(self) -> None:
        """Raise what is wrong with the plate's frames as far as the first and last bytes of each
        tell: not whole, another size, another depth than the job says. Reads no pixels."""
        for path in self.plate_files:
            self._check()
            width, height, bits = measure_png(path)
            self._check_size((height, width), path, "plate")
            if bits != self._bits:
                raise InvalidJob(
                    f"{path} has {bits} bits per channel; job.json's shot.bit_depth is "
                    f"{self._bits}.",
                    "Correct shot.bit_depth, or export the shot again.",
                )

    def plate(self, index: int) -> np.ndarray:
        """(H, W, 3) or (H, W, 4), uint8 or uint16, RGB order, straight alpha."""
        self._check()
        frame = read_png(self.plate_files[index])
        if frame.ndim == 2:
            frame = np.repeat(frame[..., None], 3, 2)
        self._check_size(frame.shape, self.plate_files[index], "plate")
        return frame

    def mask(self, index: int) -> np.ndarray:
        """(H, W) float32 in [0, 1]; 1 = generate. All 0 on frames the job leaves out."""
        if self._chosen is not None and self.first_frame + index not in self._chosen:
            return np.zeros((self.height, self.width), np.float32)
        return self._gray(self.mask_files[index])

    def made_mask(self, index: int) -> np.ndarray:
        """As ``mask``: how much of each pixel is made new."""
        return self._meaning.sampler(self.mask(index))

    def shown_mask(self, index: int) -> np.ndarray:
        """As ``mask``: how much of what is made shows."""
        return self._meaning.patch(self.mask(index))

    def model_mask(self, index: int) -> np.ndarray:
        """As ``mask``, from the job's own model_mask folder."""
        return self._gray(self._own_mask_files[index])

    @cached_property
    def _own_mask_files(self) -> list[Path]:
        return jobs.mask_files(self.folder / jobs.MODEL_MASK, len(self))

    def _gray(self, path: Path) -> np.ndarray:
        self._check()
        frame = read_png(path)
        if frame.ndim == 3:
            raise SizeMismatch(
                f"{path} has {frame.shape[2]} channels; a mask has one.",
                "Save masks as gray PNG.",
            )
        self._check_size(frame.shape, path, "mask")
        return settled(to_mask(frame))

    def digest(self) -> str:
        """Content hash of the plate: the cache key of its latents."""
        if not self._digest:
            self._digest = digest(self.plate_files, self._check)
        return self._digest

    def content(self, own_mask: bool) -> str:
        """As ``digest``, of the plate and the masks, and what says how they are read."""
        masks = digest(self._own_mask_files if own_mask else self.mask_files, self._check)
        chosen = None if self._chosen is None else sorted(self._chosen)
        read = (self.width, self.height, self.first_frame, chosen, self._gray_means)
        return f"{self.digest()} {masks} {read}"

    def _check_size(self, shape: tuple[int, ...], path: Path, what: str) -> None:
        height, width = shape[:2]
        if (width, height) != (self.width, self.height):
            raise SizeMismatch(
                f"The {what} frame {path} is {width}x{height}; job.json's shot is "
                f"{self.width}x{self.height}.",
                "Export the shot again.",
            )


def digest(files: Sequence[Path], check: Callable[[], None] = lambda: None) -> str:
    """Hex SHA-256 of the contents of ``files`` and of where each ends. Raises OSError."""
    hasher = hashlib.sha256()
    for path in files:
        check()
        data = read_bytes(path, PICTURE_BYTES)
        hasher.update(struct.pack("<Q", len(data)))
        hasher.update(data)
    return hasher.hexdigest()


def measure_png(path: Path) -> tuple[int, int, int]:
    """Width, height and bits per channel (8 or 16) of a PNG, from its header. Raises InvalidJob
    for other files and for one that is cut short."""
    try:
        with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
            head = file.read(25)
            file.seek(max(0, path.stat().st_size - 12))
            whole = head[:8] == b"\x89PNG\r\n\x1a\n" and b"IEND" in file.read()
    except OSError as error:
        raise from_os_error(error, "reading a frame") from error
    if not whole or len(head) < 25:
        raise InvalidJob(
            f"{path} is no PNG, or cut short: it has {path.stat().st_size} bytes.",
            "Export the shot again.",
        )
    width, height, bits = struct.unpack(">IIB", head[16:])
    return width, height, max(8, bits)


def read_png(path: Path) -> np.ndarray:
    """RGB(A) or gray array, 8 or 16 bit, of any picture. Raises InvalidJob for other files."""
    try:
        data = np.frombuffer(read_bytes(path, PICTURE_BYTES, links=True), np.uint8)
    except OSError as error:
        raise from_os_error(error, "reading a frame") from error
    try:
        frame = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except cv2.error:  # more pixels than OpenCV takes, or a codec that it was built without
        frame = None
    if frame is None:
        raise InvalidJob(f"{path} is not a readable picture.", "Export the shot again.")
    if not np.issubdtype(frame.dtype, np.integer):
        raise InvalidJob(
            f"{path} holds {frame.dtype} values; expected 8 or 16-bit integers.",
            "Save it as PNG.",
        )
    if frame.ndim == 2:
        return frame
    order = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}[frame.shape[2]]
    return cv2.cvtColor(frame, order)


def write_png(path: Path, frame: np.ndarray) -> None:
    """Lossless; the array's own type and channels. Raises DiskFull."""
    if frame.ndim == 3:
        order = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[frame.shape[2]]
        frame = cv2.cvtColor(frame, order)
    _, data = cv2.imencode(".png", frame, [cv2.IMWRITE_PNG_COMPRESSION, 2])
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise from_os_error(error, "writing frames") from error


def to_mask(frame: np.ndarray) -> np.ndarray:
    """Integer gray -> float32 in [0, 1]."""
    return frame.astype(np.float32) / np.iinfo(frame.dtype).max


def to_model(frames: np.ndarray) -> np.ndarray:
    """Integer pixels -> float32 in [-1, 1]; alpha is dropped."""
    return frames[..., :3].astype(np.float32) * (2 / np.iinfo(frames.dtype).max) - 1


def from_model(frames: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """[-1, 1] -> integer pixels of ``dtype``, rounded."""
    peak = np.iinfo(dtype).max
    return np.rint((np.clip(frames, -1, 1) + 1) * (peak / 2)).astype(dtype)
