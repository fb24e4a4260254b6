# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame files <-> arrays. Numbered PNG, 8 or 16 bit, or half float EXR, RGB or RGBA; masks 16-bit
gray.

Arrays are (H, W, 3|4) or (H, W) in the file's own integer type, so nothing is lost on the way; of
EXR they are float32, see exr_files.py.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from pathlib import Path

import cv2
import numpy as np

from ...core import job as jobs
from ...core.errors import InvalidJob, SizeMismatch, from_os_error
from ...core.files import open_file, read_bytes
from ...core.frame_ranges import frames_in
from ...core.settings import Job
from ...light.tone import PLAIN, Tone
from ...masks.gray import find_gray
from ...masks.motion import widened
from ...masks.preview import settled
from .exr_files import PICTURE_BYTES, measure_exr, read_exr, write_exr
from .kept import GrayFrame, KeptFrames, Part, S, room_bytes

WHOLE: Part = (slice(None), slice(None))


class ShotFrames:
    """The frames of a job folder, read when they are needed. Of a long clip the rest stays on disk:
    see kept.py. Pictures that are handed out are not to be written to.

    ``check`` is called before each frame is read, and may raise Cancelled. ``files``, of plate and
    masks, stand for the folder's own."""

    def __init__(
        self,
        folder: Path,
        job: Job,
        check: Callable[[], None] = lambda: None,
        files: tuple[list[Path], list[Path]] | None = None,
    ) -> None:
        self.folder = folder
        self._check = check
        self.width, self.height = job.shot.width, job.shot.height
        self._bits = job.shot.bit_depth
        self.tone = Tone(job.shot.peak)
        self.plate_files, self.mask_files = files or jobs.frame_files(folder, job)
        self._digest = ""
        first = job.shot.frame_start
        self._chosen = frames_in(job.mask.frames, first, first + len(self) - 1)
        self.first_frame = first
        self._gray_means = job.mask.gray
        self._meaning = find_gray(self._gray_means)
        self._plates = self._keep(_read_plate, self.plate_files)
        self._shutter = job.mask.shutter
        self._masks = self._keep(_read_mask, self.mask_files)
        if self._shutter:
            self._masks = self._keep_wide()

    def _keep(self, read: Callable[[Path, int, int], S], files: list[Path]) -> KeptFrames[S]:
        width, height = self.width, self.height  # not self, which would hold itself
        return KeptFrames(lambda i: read(files[i], width, height), len(files), room_bytes())

    def _keep_wide(self) -> KeptFrames[GrayFrame]:
        """The masks widened by their motion; frames that the job leaves out move nothing."""
        files, size = self.mask_files, (self.width, self.height)
        chosen, first = self._chosen, self.first_frame

        def read(index: int) -> np.ndarray:
            frame = _read_mask(files[index], *size).part(WHOLE)
            return frame if chosen is None or first + index in chosen else np.zeros_like(frame)

        wide = widened(read, len(files), self._shutter)
        return KeptFrames(lambda index: GrayFrame.of(wide(index)), len(files), room_bytes())

    def __len__(self) -> int:
        return len(self.plate_files)

    def check_plate(self) -> None:
        """Raise what is wrong with the plate's frames as far as the first and last bytes of each
        tell: not whole, another size, another depth than the job says. Reads no pixels."""
        for path in self.plate_files:
            self._check()
            measure = measure_exr if path.suffix == ".exr" else measure_png
            width, height, bits = measure(path)
            _check_size((height, width), path, "plate", self.width, self.height)
            if bits != self._bits:
                raise InvalidJob(
                    f"{path} has {bits} bits per channel; job.json's shot.bit_depth is "
                    f"{self._bits}.",
                    "Correct shot.bit_depth, or export the shot again.",
                )

    def plate(self, index: int) -> np.ndarray:
        """(H, W, 3) or (H, W, 4), uint8, uint16 or float32, RGB order, straight alpha."""
        self._check()
        return self._plates[index]

    def picture(self, index: int, part: Part = WHOLE) -> np.ndarray:
        """(H, W, 3) float32 in [-1, 1], or ``part`` of it: the plate as a model sees it."""
        return to_model(self.plate(index)[part], self.tone)

    def mask(self, index: int, part: Part = WHOLE) -> np.ndarray:
        """(H, W) float32 in [0, 1], or ``part`` of it; 1 = generate. All 0 on frames the job leaves
        out, which are not read."""
        self._check()
        if self._chosen is not None and self.first_frame + index not in self._chosen:
            return np.zeros((self.height, self.width), np.float32)[part]
        return _settled(self._masks[index].part(part))

    def made_mask(self, index: int, part: Part = WHOLE) -> np.ndarray:
        """As ``mask``: how much of each pixel is made new."""
        return self._meaning.sampler(self.mask(index, part))

    def shown_mask(self, index: int, part: Part = WHOLE) -> np.ndarray:
        """As ``mask``: how much of what is made shows."""
        return self._meaning.patch(self.mask(index, part))

    def model_mask(self, index: int) -> np.ndarray:
        """As ``mask``, from the job's own model_mask folder."""
        self._check()
        return _settled(self._own[index].part(WHOLE))

    @cached_property
    def _own(self) -> KeptFrames[GrayFrame]:
        return self._keep(_read_mask, self._own_mask_files)

    @cached_property
    def _own_mask_files(self) -> list[Path]:
        return jobs.mask_files(self.folder / jobs.MODEL_MASK, len(self))

    def digest(self) -> str:
        """Content hash of the plate as the model sees it: the cache key of its latents."""
        if not self._digest:
            self._digest = digest(self.plate_files, self._check)
            if self.tone.peak:
                self._digest += f" {self.tone.peak}"
        return self._digest

    def content(self, own_mask: bool) -> str:
        """As ``digest``, of the plate and the masks, and what says how they are read."""
        masks = digest(self._own_mask_files if own_mask else self.mask_files, self._check)
        chosen = None if self._chosen is None else sorted(self._chosen)
        read = (self.width, self.height, self.first_frame, chosen, self._gray_means)
        read += (self._shutter,) if self._shutter else ()
        return f"{self.digest()} {masks} {read}"


def _read_plate(path: Path, width: int, height: int) -> np.ndarray:
    frame = read_frame(path)
    if frame.ndim == 2:
        frame = np.repeat(frame[..., None], 3, 2)
    _check_size(frame.shape, path, "plate", width, height)
    frame.flags.writeable = False
    return frame


def _read_mask(path: Path, width: int, height: int) -> GrayFrame:
    told = measure_png(path)[:2]
    _check_size(told[::-1], path, "mask", width, height)  # before gigabytes are decoded of it
    frame = read_png(path)
    if frame.ndim == 3:
        raise SizeMismatch(
            f"{path} has {frame.shape[2]} channels; a mask has one.",
            "Save masks as gray PNG.",
        )
    _check_size(frame.shape, path, "mask", width, height)
    return GrayFrame.of(frame)


def _check_size(shape: tuple[int, ...], path: Path, what: str, width: int, height: int) -> None:
    if (shape[1], shape[0]) != (width, height):
        raise SizeMismatch(
            f"The {what} frame {path} is {shape[1]}x{shape[0]}; job.json's shot is "
            f"{width}x{height}.",
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
            f"{path} is not a PNG file, or it is cut short: it has {path.stat().st_size} bytes.",
            "Export the shot again.",
        )
    width, height, bits = struct.unpack(">IIB", head[16:])
    return width, height, max(8, bits)


def read_frame(path: Path) -> np.ndarray:
    """Of the plate or the result: a PNG as ``read_png``, an EXR as ``read_exr``."""
    return read_exr(path) if path.suffix == ".exr" else read_png(path)


def write_frame(path: Path, frame: np.ndarray) -> None:
    """What ``read_frame`` reads. Raises DiskFull."""
    if frame.dtype.kind == "u":
        write_png(path, frame)
    else:
        write_exr(path, frame)


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
    try:
        path.write_bytes(encode_png(frame))
    except OSError as error:
        raise from_os_error(error, "writing frames") from error


_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # channels -> PNG's number for gray, RGB, RGBA


def encode_png(frame: np.ndarray) -> bytes:
    """A PNG (ISO/IEC 15948) of integers of 8 or 16 bit, (H, W) or (H, W, 3 or 4).

    Rows are stored as differences to the row above, and only runs are looked for in them: on
    grainy pictures a quarter of the time that a search for longer matches takes, at the same size.
    """
    height, width = frame.shape[:2]
    channels = frame.shape[2] if frame.ndim == 3 else 1
    big_endian = np.ascontiguousarray(frame, frame.dtype.newbyteorder(">"))
    rows = big_endian.view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = 2  # the filter "up", whose first row is above nothing
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    packer = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    data = packer.compress(filtered.data) + packer.flush()
    bits = 8 * frame.dtype.itemsize
    header = struct.pack(">IIBBBBB", width, height, bits, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, body) for name, body in chunks)


def _chunk(name: bytes, body: bytes) -> bytes:
    check = zlib.crc32(body, zlib.crc32(name))
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)


def _settled(frame: np.ndarray) -> np.ndarray:
    """Integer gray -> a mask in [0, 1]."""
    return _settled_values(frame.dtype)[frame]


@cache
def _settled_values(dtype: np.dtype) -> np.ndarray:
    return settled(to_mask(np.arange(np.iinfo(dtype).max + 1).astype(dtype)))


def white(dtype: np.dtype) -> float:
    """The value of white in pixels of ``dtype``."""
    return float(np.iinfo(dtype).max) if np.dtype(dtype).kind == "u" else 1.0


def stored(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """``values`` as pixels of ``dtype``: rounded, where these are integers."""
    return (np.rint(values) if np.dtype(dtype).kind == "u" else values).astype(dtype)


def to_mask(frame: np.ndarray) -> np.ndarray:
    """Pixels -> float32, white is 1."""
    return frame.astype(np.float32) / white(frame.dtype)


def to_model(frames: np.ndarray, tone: Tone = PLAIN) -> np.ndarray:
    """Pixels -> float32 in [-1, 1], by the shot's ``tone``; alpha is dropped."""
    if frames.dtype.kind == "u" and tone.bend == 0:
        return frames[..., :3].astype(np.float32) * (2 / np.iinfo(frames.dtype).max) - 1
    return tone.compress(to_mask(frames[..., :3])) * 2 - 1


def from_model(frames: np.ndarray, dtype: np.dtype, tone: Tone = PLAIN) -> np.ndarray:
    """[-1, 1] -> pixels of ``dtype``: integers, rounded, or by the shot's ``tone``."""
    unit = np.clip(frames, -1, 1) + 1
    if np.dtype(dtype).kind == "u":
        return np.rint(unit * (np.iinfo(dtype).max / 2)).astype(dtype)
    return tone.expand(unit / 2).astype(dtype)
