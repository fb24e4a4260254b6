# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures given beside the clip, as viewers show them, and fitted to the model's size.

One reader for start and end pictures, references and the hygiene commands: upright, in sRGB, with
straight alpha. Pictures at the model's size are (H, W, 3) in [-1, 1]. No torch: hygiene is asked in
short calls.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ...core.errors import UnsupportedClip
from ...core.files import read_bytes
from .colour_spaces import (
    Space,
    encode_srgb,
    of_chromaticities,
    of_code_points,
    of_profile,
    through_littlecms,
)
from .files import PICTURE_BYTES, to_mask

LINEAR = (".exr", ".hdr")  # hold light; other formats what a display is sent
_NOT_RGB = ("CMYK", "LAB", "YCbCr")  # modes that OpenCV takes for something else, or not at all
# How a picture is turned upright: by rows and columns swapped, then which of them are reversed
# (Exif 2.32, tag Orientation).
_ORIENTATIONS = {
    2: (False, False, True), 3: (False, True, True), 4: (False, True, False),
    5: (True, False, False), 6: (True, False, True), 7: (True, True, True), 8: (True, True, False),
}  # fmt: skip
_TAG_ORIENTATION, _TAG_BITS, _TAG_EXTRA_SAMPLES = 274, 258, 338
Image.MAX_IMAGE_PIXELS = 1 << 30  # OpenCV's limit; Pillow's own is that of a large photograph


def read_picture(path: Path) -> np.ndarray:
    """(H, W, 3) or (H, W, 4) in sRGB, upright, with straight alpha: integers of 8 or 16 bit, or
    float32 in 0..1. The light in EXR and HDR files is encoded as sRGB, as Blender shows it. Raises
    UnsupportedClip when there is no picture."""
    data = _read(path)
    facts = _read_facts(data)
    image = _decode(path, data, facts)
    if path.suffix.lower() in LINEAR:
        return _to_display(image)
    if image.shape[2] == 4 and facts.premultiplied and facts.image is None:  # Pillow does it itself
        image = _straightened(image)
    if facts.space is not None and image.dtype.kind == "u":
        image = np.dstack([facts.space.to_srgb(image[..., :3]), image[..., 3:]])
    return _upright(image, facts.orientation)


def read_colour(path: Path) -> np.ndarray:
    """(H, W, 3) as ``read_picture``, in integers of 8 or 16 bit; transparent parts are white."""
    picture = read_picture(path)
    if picture.dtype.kind == "f":
        picture = np.rint(picture.clip(0, 1) * 65535).astype(np.uint16)
    if picture.shape[2] == 4:
        alpha = to_mask(picture[..., 3])[..., None].astype(np.float64)
        white = np.iinfo(picture.dtype).max
        laid = picture[..., :3] * alpha + white * (1 - alpha)
        picture = np.rint(laid).astype(picture.dtype)
    return picture


def read_values(path: Path) -> np.ndarray:
    """(H, W, 3) or (H, W, 4) of a map, whose numbers are not colours: as they are in the file.
    Raises UnsupportedClip."""
    return _decode(path, _read(path), _Facts())


@dataclass
class _Facts:
    """What a file says of its pixels besides them. ``image`` is set where OpenCV would not read it
    rightly, ``profile`` where it is for LittleCMS."""

    orientation: int = 1
    space: Space | None = None  # None is sRGB
    premultiplied: bool = False
    image: Image.Image | None = None
    profile: bytes | None = None


def _read_facts(data: bytes) -> _Facts:
    """What cannot be read is not said: viewers show such files too."""
    facts = _Facts()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, about odd metadata
        try:
            image = Image.open(io.BytesIO(data))
            facts.orientation = image.getexif().get(_TAG_ORIENTATION, 1)
            facts.premultiplied = _is_premultiplied(image)
        except Exception:  # noqa: BLE001  what odd files make Pillow raise has no bounds
            return facts
    if image.format == "TIFF":
        facts.orientation = 1  # OpenCV turns these itself
    profile = image.info.get("icc_profile")
    facts.space = _space(image, data, profile)
    of_tables = profile and facts.space is None and image.mode in ("RGB", "RGBA")
    if image.mode in _NOT_RGB or of_tables:
        facts.image, facts.profile = image, profile
    elif _loses_alpha(image):
        facts.image = image
    return facts


def _loses_alpha(image: Image.Image) -> bool:
    """Whether OpenCV would multiply the colours by their alpha, or not see what is clear."""
    if image.format == "TIFF":
        return image.mode in ("RGBA", "LA") and set(image.tag_v2.get(_TAG_BITS, ())) == {8}
    return image.mode in ("1", "L") and "transparency" in image.info


def _is_premultiplied(image: Image.Image) -> bool:
    """Of TIFF (tag ExtraSamples, 1: associated alpha)."""
    told = getattr(image, "tag_v2", {}).get(_TAG_EXTRA_SAMPLES)
    return 1 in (told if isinstance(told, tuple) else (told,))


def _space(image: Image.Image, data: bytes, profile: bytes | None) -> Space | None:
    """By the more exact word where there are two, as PNG's specification has it (third edition,
    4.3)."""
    if image.format == "PNG":
        if points := _code_points(data):
            return of_code_points(*points)
        if not profile and "srgb" not in image.info and "chromaticity" in image.info:
            gamma = image.info.get("gamma") or 1 / 2.2
            return of_chromaticities(image.info["chromaticity"], 1 / gamma)
    is_gray = image.mode in ("1", "L", "LA", "I", "I;16")
    if not profile or (profile[16:20] == b"GRAY" and not is_gray):
        return None
    return of_profile(profile)


def _code_points(data: bytes) -> tuple[int, int] | None:
    """Primaries and transfer of PNG's cICP chunk, which lies before the pixels."""
    at = 8
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"cICP" and size == 4:
            return data[at + 8], data[at + 9]
        if kind == b"IDAT":
            break
        at += 12 + size
    return None


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path, PICTURE_BYTES, links=True)
    except FileNotFoundError as error:
        raise UnsupportedClip(
            f"There is no picture at {path}.", "Export it again or choose another one."
        ) from error
    except OSError as error:
        raise UnsupportedClip(
            f"{path} cannot be read: {error.strerror or error}.",
            "Check its permissions, or choose another picture.",
        ) from error


def _decode(path: Path, data: bytes, facts: _Facts) -> np.ndarray:
    """The pixels (H, W, 3 or 4) in RGB(A) order and in their own type, not turned."""
    image, reason = None, f"{len(data)} bytes"
    try:
        if facts.image is not None:
            return _through_pillow(facts)
        if data:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:  # more pixels than it takes, or a codec that it was built without
        reason += f": {error.err}" if error.err else ""
    except (OSError, ValueError, SyntaxError) as error:  # Pillow's
        reason += f": {error}"
    if image is None:
        raise UnsupportedClip(
            f"{path} is not a picture that can be read ({reason}).",
            "Save it as PNG, JPEG, TIFF or EXR.",
        )
    if image.ndim == 2:
        image = image[..., None]
    if image.shape[2] < 3:
        return np.dstack([image[..., :1]] * 3 + [image[..., 1:]])
    return image[..., [2, 1, 0, *range(3, image.shape[2])]]


def _through_pillow(facts: _Facts) -> np.ndarray:
    image = facts.image
    if image.mode in ("1", "L", "LA"):
        return np.asarray(image.convert("RGBA"))
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    colour = image.convert("RGB") if alpha else image
    colour = np.asarray(through_littlecms(colour, facts.profile))
    return np.dstack([colour, np.asarray(alpha)]) if alpha else colour


def _straightened(image: np.ndarray) -> np.ndarray:
    """Colours that were multiplied by their alpha, divided by it."""
    peak = 1.0 if image.dtype.kind == "f" else np.iinfo(image.dtype).max
    alpha = image[..., 3:].astype(np.float64)
    colour = image[..., :3] * (peak / np.where(alpha > 0, alpha, peak))
    colour = colour.clip(0, peak) if peak == 1.0 else np.rint(colour.clip(0, peak))
    return np.dstack([colour.astype(image.dtype), image[..., 3:]])


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    if orientation not in _ORIENTATIONS:
        return image
    swapped, rows, columns = _ORIENTATIONS[orientation]
    image = image.swapaxes(0, 1) if swapped else image
    return np.ascontiguousarray(image[:: -1 if rows else 1, :: -1 if columns else 1])


def _to_display(light: np.ndarray) -> np.ndarray:
    """Linear (H, W, 3 or 4) to sRGB values; the alpha of EXR is multiplied in."""
    colour = light[..., :3]
    if light.shape[2] == 4:
        colour = colour / np.where(light[..., 3:] > 0, light[..., 3:], 1)
    return np.dstack([encode_srgb(colour).astype(np.float32), light[..., 3:]])


def fill_size(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scaled to cover width x height, the surplus cut off evenly."""
    scale = max(width / picture.shape[1], height / picture.shape[0])
    w, h = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    big = _resize(picture, max(w, width), max(h, height))
    x, y = (big.shape[1] - width) // 2, (big.shape[0] - height) // 2
    return big[y : y + height, x : x + width]


def scale_inside(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """The whole of it, scaled to fit into width x height."""
    scale = min(width / picture.shape[1], height / picture.shape[0])
    return _resize(picture, round(picture.shape[1] * scale), round(picture.shape[0] * scale))


def on_white(small: np.ndarray, width: int, height: int) -> np.ndarray:
    """Centred on white, as VACE was trained."""
    canvas = np.ones((height, width, 3), np.float32)
    y, x = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
    return canvas


def _resize(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    method = cv2.INTER_AREA if width < picture.shape[1] else cv2.INTER_CUBIC
    return np.clip(
        cv2.resize(picture, (max(width, 1), max(height, 1)), interpolation=method), -1, 1
    )
