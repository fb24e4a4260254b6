# SPDX-License-Identifier: GPL-3.0-or-later
"""Images as planes in 0..1, at generation size, split into starlet bands.

The starlet (isotropic undecimated wavelet, Starck, Fadili, Murtagh 2007) smooths with the B3
spline [1 4 6 4 1]/16 at dilations 1, 2, 4, ...; band j is the difference of two smoothings, so the
bands and the last smoothing add up to the image exactly. Band 0 holds periods of 2 to 4 pixels,
band 1 of 4 to 8, band 2 of 8 to 16.
"""

from __future__ import annotations

import numpy as np

from ..core.errors import UnsupportedClip

# Standard deviation of each band for white noise of deviation 1 (2-D B3 starlet).
NOISE_GAIN = (0.8908, 0.2007, 0.0856, 0.0413)
# Where each band lies, cycles per pixel: the gain of a Gaussian blur there is its gain on the band.
FREQUENCY = (0.38, 0.13, 0.065, 0.0325)

_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)


def to_rgb(image: np.ndarray) -> np.ndarray:
    """Any picture as (H, W, 3) float32 in 0..1.

    Takes (H, W), (H, W, 1), (H, W, 2) gray with alpha, (H, W, 3) or (H, W, 4); integers are divided
    by their type's largest value. Transparent pixels are laid over mid gray, so that the edge of
    the alpha is not detail of its own. Raises UnsupportedClip for other shapes, no pixels, NaN or
    infinity.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 2, 3, 4) or 0 in image.shape:
        raise UnsupportedClip(
            f"A start frame of shape {image.shape} is not a picture.",
            "Give one image with 1 to 4 channels.",
        )
    if image.dtype.kind in "ui":
        image = image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    image = image.astype(np.float32, copy=False)
    if not np.isfinite(image).all():
        bad = int((~np.isfinite(image)).any(-1).sum())
        raise UnsupportedClip(
            f"The start frame has {bad} pixels that are not numbers.", "Render it again."
        )
    color = image[..., :3] if image.shape[2] > 2 else image[..., :1].repeat(3, axis=2)
    if image.shape[2] in (2, 4):
        alpha = image[..., -1:].clip(0, 1)
        color = color * alpha + 0.5 * (1 - alpha)
    return np.ascontiguousarray(color.clip(0, 1))


def luminance(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H, W): Rec. 709 weights on the encoded values, as the VAE is given them."""
    return rgb @ _LUMA


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """(H, W, C) -> (height, width, C) by area when smaller, linear when larger.

    A picture of another aspect is stretched; crop it first where that matters.
    """
    for axis, size in ((0, height), (1, width)):
        step = image.shape[axis] // (2 * size)
        if step > 1:
            image = _block_mean(image, axis, step)
        image = _resample(image, axis, size)
    return image


def _block_mean(image: np.ndarray, axis: int, step: int) -> np.ndarray:
    """Mean of ``step`` neighbours along ``axis``: the cheap part of a large reduction."""
    image = np.moveaxis(image, axis, 0)
    edges = np.linspace(0, len(image), len(image) // step + 1).astype(int)
    sums = np.add.reduceat(image, edges[:-1], axis=0)
    mean = sums / np.diff(edges).reshape(-1, *[1] * (image.ndim - 1))
    return np.moveaxis(mean.astype(np.float32), 0, axis)


def _resample(image: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Triangle filter as wide as one output pixel (at least one input pixel)."""
    length = image.shape[axis]
    if length == size:
        return image
    scale = max(length / size, 1.0)
    centers = (np.arange(size) + 0.5) * length / size - 0.5
    weight = 1 - np.abs(np.arange(length)[None] - centers[:, None]) / scale
    weight = np.maximum(weight, 0)
    weight = (weight / weight.sum(1, keepdims=True)).astype(np.float32)
    moved = np.tensordot(weight, np.moveaxis(image, axis, 0), axes=1)
    return np.ascontiguousarray(np.moveaxis(moved, 0, axis))


def smooth(plane: np.ndarray, dilation: int) -> np.ndarray:
    """B3 spline smoothing of (H, W) or (H, W, C) along both axes; edges repeat."""
    return _smooth_axis(_smooth_axis(plane, dilation, 0), dilation, 1)


def _smooth_axis(plane: np.ndarray, dilation: int, axis: int) -> np.ndarray:
    size = plane.shape[axis]
    pad = [(0, 0)] * plane.ndim
    pad[axis] = (2 * dilation, 2 * dilation)
    wide = np.pad(plane, pad, mode="edge")

    def tap(offset: int) -> np.ndarray:
        where = [slice(None)] * plane.ndim
        where[axis] = slice((2 + offset) * dilation, (2 + offset) * dilation + size)
        return wide[tuple(where)]

    out = tap(-1) + tap(1)
    out *= 4.0
    out += tap(-2)
    out += tap(2)
    out += np.float32(6.0) * plane
    out *= 1.0 / 16.0
    return out


def split(plane: np.ndarray, count: int = 3) -> tuple[list[np.ndarray], np.ndarray]:
    """(bands, base): ``count`` starlet bands, finest first; ``sum(bands) + base`` is the plane."""
    bands = []
    for level in range(count):
        coarser = smooth(plane, 1 << level)
        bands.append(plane - coarser)
        plane = coarser
    return bands, plane
