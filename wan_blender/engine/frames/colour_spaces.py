# SPDX-License-Identifier: GPL-3.0-or-later
"""From the colour space of a picture to sRGB.

Most spaces are a curve for each channel and three primaries ("matrix/TRC" in ICC.1:2022): these are
read and computed here, in the picture's own depth. What is more than that, CMYK and profiles of
tables, goes through LittleCMS, in 8 bit. No torch.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

Curve = Callable[[np.ndarray], np.ndarray]  # encoded 0..1 -> linear light 0..1
_D50 = np.array([0.9642, 1.0, 0.8249])  # the white of profiles
_D65 = (0.3127, 0.329)
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_REC709 = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
# By their numbers in ITU-T H.273: x and y of red, green, blue, and of white.
_PRIMARIES = {
    1: (_REC709, _D65),
    9: ((0.708, 0.292, 0.17, 0.797, 0.131, 0.046), _D65),
    11: ((0.68, 0.32, 0.265, 0.69, 0.15, 0.06), (0.314, 0.351)),
    12: ((0.68, 0.32, 0.265, 0.69, 0.15, 0.06), _D65),
}


@dataclass(frozen=True)
class Space:
    """``curves`` of its channels, three or one for gray; ``colorants`` (3, 3) are the columns of
    red, green and blue in XYZ under D50, None for gray."""

    curves: tuple[Curve, ...]
    colorants: np.ndarray | None = None

    def to_srgb(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W, 3) of integers, in their type; pixels of sRGB itself stay as they are."""
        steps = np.linspace(0, 255, 18).round().astype(np.uint8)
        probe = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
        if np.abs(self._convert(probe).astype(int) - probe).max() <= 1:
            return pixels
        return self._convert(pixels)

    def _convert(self, pixels: np.ndarray) -> np.ndarray:
        peak = np.iinfo(pixels.dtype).max
        every = np.arange(peak + 1) / peak
        curves = self.curves if len(self.curves) == 3 else self.curves * 3
        tables = [np.asarray(curve(every), np.float32) for curve in curves]
        made = np.empty_like(pixels)
        matrix = None if self.colorants is None else (_TO_SRGB @ self.colorants).T
        for row, line in enumerate(pixels):  # a row at a time: a picture in float is four times it
            light = np.stack([table[line[:, c]] for c, table in enumerate(tables)], -1)
            if matrix is not None:
                light = light @ matrix
            made[row] = np.rint(encode_srgb(light).clip(0, 1) * peak)
        return made


def encode_srgb(light: np.ndarray) -> np.ndarray:
    """Linear light to sRGB values (IEC 61966-2-1); less than none is none."""
    light = np.maximum(light, 0)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _decode_srgb(value: np.ndarray) -> np.ndarray:
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _power(gamma: float) -> Curve:
    return lambda value: value**gamma


def _decode_rec709(value: np.ndarray) -> np.ndarray:
    return np.where(value < 0.081, value / 4.5, ((value + 0.099) / 1.099) ** (1 / 0.45))


# Transfer characteristics by their numbers in ITU-T H.273. PQ (16) and HLG (18) are of displays
# brighter than sRGB's, and left as they are.
_TRANSFERS: dict[int, Curve] = {
    1: _decode_rec709, 4: _power(2.2), 5: _power(2.8), 6: _decode_rec709, 8: _power(1.0),
    13: _decode_srgb, 14: _decode_rec709, 15: _decode_rec709,
}  # fmt: skip


def colorants(primaries: Sequence[float], white: Sequence[float]) -> np.ndarray:
    """Red, green and blue in XYZ under D50, in columns, from chromaticities (SMPTE RP 177), the
    white adapted by Bradford's matrix. Raises numpy's LinAlgError for primaries in one line."""
    xy = np.array([primaries[0::2], primaries[1::2]])
    xyz = np.vstack([xy, 1 - xy.sum(0)])
    source = np.array([white[0], white[1], 1 - white[0] - white[1]]) / white[1]
    columns = xyz * np.linalg.solve(xyz, source)
    cones = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ source))
    return np.linalg.inv(_BRADFORD) @ cones @ _BRADFORD @ columns


_TO_SRGB = np.linalg.inv(colorants(_REC709, _D65))


def of_code_points(primaries: int, transfer: int) -> Space | None:
    """What PNG's cICP says; None for what is not known here."""
    if primaries not in _PRIMARIES or transfer not in _TRANSFERS:
        return None
    return Space((_TRANSFERS[transfer],) * 3, colorants(*_PRIMARIES[primaries]))


def of_chromaticities(white_rgb: Sequence[float], gamma: float) -> Space | None:
    """What PNG's cHRM (x and y of white, red, green, blue) and gAMA say. 1/2.2 with sRGB's
    primaries is how sRGB is written."""
    white, primaries = white_rgb[:2], white_rgb[2:]
    if not 0.1 < gamma < 10 or not all(0 < v < 1 for v in white_rgb):
        return None
    is_srgb = np.abs(np.subtract(primaries, _REC709)).max() < 0.01 and abs(gamma - 2.2) < 0.02
    try:
        columns = colorants(primaries, white)
    except np.linalg.LinAlgError:
        return None
    return Space((_decode_srgb if is_srgb else _power(gamma),) * 3, columns)


def of_profile(profile: bytes) -> Space | None:
    """Of an ICC profile that is curves and primaries; None for others and for damaged ones."""
    try:
        tags = _tags(profile)
        if profile[16:20] == b"GRAY":
            return Space((_curve(tags[b"kTRC"]),))
        if profile[16:20] != b"RGB " or profile[20:24] != b"XYZ " or b"A2B0" in tags:
            return None
        curves = tuple(_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC"))
        columns = [_xyz(tags[name]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
        return Space(curves, np.array(columns).T)
    except (KeyError, ValueError, IndexError, struct.error):
        return None


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    found = {}
    for index in range(min(count, 256)):
        name, at, size = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        found[name] = profile[at : at + size]
    return found


def _xyz(tag: bytes) -> list[float]:
    return [n / 65536 for n in struct.unpack_from(">3i", tag, 8)]


def _curve(tag: bytes) -> Curve:
    """A curveType or parametricCurveType of ICC.1:2022 (10.6, 10.18)."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        points = np.frombuffer(tag, ">u2", count, 12)
        if count < 2:
            return _power(points[0] / 256 if count else 1.0)
        return lambda value: np.interp(value, np.linspace(0, 1, count), points / 65535)
    if tag[:4] != b"para":
        raise ValueError(f"a curve of type {tag[:4]!r}")
    (kind,) = struct.unpack_from(">H", tag, 8)
    g, *more = (n / 65536 for n in struct.unpack_from(f">{(1, 3, 4, 5, 7)[kind]}i", tag, 12))
    a, b = (*more, 1, 0)[:2] if more else (1.0, 0.0)
    c = more[2] if kind >= 2 else 0.0
    d = more[3] if kind >= 3 else (-b / a if a else 0.0)
    offset, e, f = 0.0, c, 0.0  # above d: (a x + b)^g + offset; below: e x + f
    if kind in (1, 2):
        offset, e, f = c, 0.0, c
    elif kind == 4:
        offset, f = more[4], more[5]

    def curve(value: np.ndarray) -> np.ndarray:
        above = np.maximum(a * value + b, 0) ** g + offset
        return np.clip(above if kind == 0 else np.where(value >= d, above, e * value + f), 0, 1)

    return curve


def through_littlecms(image: Image.Image, profile: bytes | None) -> Image.Image:
    """``image`` in 8-bit sRGB, by its profile where it has a usable one. Raises OSError."""
    image.load()
    srgb = ImageCms.createProfile("sRGB")
    try:
        if image.mode == "LAB":
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        elif profile:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        else:
            return image.convert("RGB")
        return ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
    except (OSError, ImageCms.PyCMSError):  # damaged, or of another space than the picture's
        return image.convert("RGB")
