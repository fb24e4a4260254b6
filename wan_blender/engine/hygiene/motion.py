# SPDX-License-Identifier: GPL-3.0-or-later
"""What a treatment did to the clip: how much moves, how much crawls, how true the first frame is.

Motion is optical flow (OpenCV's DIS). Crawl is fine detail that changes from frame to frame without
moving along: the next frame is brought back along the flow, and what is left of the difference in
the bands of 2 to 8 pixels is crawl. The flow is smoothed over 8 pixels first, so it follows things
and not the twiddling of single pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import cv2
import numpy as np

from ...errors import LengthMismatch, SizeMismatch
from ...hygiene.bands import luminance, resize, split

FLOW_SMOOTHING = 8.0  # pixels
STILL = 0.25  # pixels per frame: slower is no motion
CLOSED_LOOP = 0.75  # pixels: forward and backward flow must agree this well


@dataclass(frozen=True)
class Motion:
    """Measures of one clip."""

    motion: float  # mean speed, pixels per frame
    moving: float  # part of the picture that moves faster than STILL, 0..1
    crawl: float  # root mean square of fine change off the flow, 8-bit levels
    crawl_ratio: float  # the same over the fine detail that is there: 0 settled, 1.4 unrelated
    first_psnr: float  # dB against the start frame; inf when equal; nan without one
    first_ssim: float  # structural similarity, 1 = equal


def measure(frames: Iterable[np.ndarray], start: np.ndarray | None = None) -> Motion:
    """``frames`` are two or more pictures (H, W, 3) in 0..1, taken one at a time; ``start``
    (H, W, 3) is what the first ought to be.

    Raises LengthMismatch for a single frame, SizeMismatch when ``start`` has another size.
    """
    frames = iter(frames)
    one = list(itertools.islice(frames, 1))
    fidelity = (np.nan, np.nan) if start is None else _fidelity(one[0], start)
    planes = (luminance(frame.astype(np.float32)) for frame in itertools.chain(one, frames))
    speeds, moving, residual, detail = [], [], [], []
    for now, after in itertools.pairwise(planes):
        flow = optical_flow(now, after)
        speed = np.hypot(flow[..., 0], flow[..., 1])
        speeds.append(speed.mean())
        moving.append((speed > STILL).mean())
        left, energy = _crawl(now, after, flow)
        residual.append(left)
        detail.append(energy)
    if not speeds:
        raise LengthMismatch(f"Motion needs at least 2 frames; the clip has {len(one)}.")
    crawl, fine = np.sqrt(np.mean(residual)), np.sqrt(np.mean(detail))
    return Motion(
        motion=float(np.mean(speeds)),
        moving=float(np.mean(moving)),
        crawl=float(255 * crawl),
        crawl_ratio=float(crawl / (fine + 1e-6)),
        first_psnr=fidelity[0],
        first_ssim=fidelity[1],
    )


def optical_flow(now: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(H, W, 2) dx, dy in pixels from ``now`` to ``after``; planes (H, W) in 0..1."""
    height, width = now.shape
    size = max(width, 64), max(height, 64)  # DIS needs room for its coarsest patch
    a, b = (
        cv2.GaussianBlur((resize(p[..., None], *size)[..., 0] * 255).astype(np.uint8), (0, 0), 1.0)
        for p in (now, after)
    )
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(a, b, None)
    flow = cv2.GaussianBlur(flow, (0, 0), FLOW_SMOOTHING)
    scale = np.array([width / size[0], height / size[1]], np.float32)
    return resize(flow, width, height) * scale


def _crawl(now: np.ndarray, after: np.ndarray, flow: np.ndarray) -> tuple[float, float]:
    """(mean squared fine change off the flow, mean squared fine detail) where the flow holds."""
    back = optical_flow(after, now)
    y, x = np.mgrid[: now.shape[0], : now.shape[1]].astype(np.float32)
    at_x, at_y = x + flow[..., 0], y + flow[..., 1]
    returned = cv2.remap(back, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    closes = np.hypot(*np.moveaxis(flow + returned, -1, 0)) < CLOSED_LOOP
    inside = (at_x >= 0) & (at_x < now.shape[1] - 1) & (at_y >= 0) & (at_y < now.shape[0] - 1)
    held = closes & inside
    if not held.any():
        held = inside
    brought = cv2.remap(after, at_x, at_y, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
    fine_now, fine_after = (sum(split(plane, 2)[0]) for plane in (now, brought))
    change = (fine_after - fine_now)[held]
    return float((change**2).mean()), float((fine_now[held] ** 2).mean())


def _fidelity(frame: np.ndarray, start: np.ndarray) -> tuple[float, float]:
    """(PSNR in dB, SSIM) of two pictures."""
    if frame.shape != start.shape:
        raise SizeMismatch(
            f"The first frame is {frame.shape[1]} x {frame.shape[0]}, the start frame "
            f"{start.shape[1]} x {start.shape[0]}.",
            "Resize the start frame to the clip's size.",
        )
    error = float(((frame - start) ** 2).mean())
    psnr = float("inf") if error == 0 else -10 * np.log10(error)
    return float(psnr), _ssim(luminance(frame), luminance(start))


def _ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004), Gaussian window of 1.5."""

    def blur(plane: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(plane.astype(np.float64), (11, 11), 1.5)

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    return float((top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


def pair(
    without: Iterable[np.ndarray], treated: Iterable[np.ndarray], start: np.ndarray
) -> dict[str, object]:
    """Two takes of one seed, pictures as for ``measure``, against the same start frame."""
    a, b = asdict(measure(without, start)), asdict(measure(treated, start))
    return {"without": a, "with": b, "change": {name: b[name] - a[name] for name in a}}


def summarise(pairs: list[dict[str, object]], seed: int = 0) -> dict[str, dict[str, float]]:
    """For each measure the mean change over pairs with its 95 % bootstrap interval, and how many
    pairs rose. Pairs where a measure is not finite are left out of it."""
    rng = np.random.default_rng(seed)
    out = {}
    for name in pairs[0]["change"]:
        change = np.array([p["change"][name] for p in pairs], float)
        before = np.array([p["without"][name] for p in pairs], float)
        change, before = (v[np.isfinite(change)] for v in (change, before))
        if not len(change):
            continue
        draws = rng.choice(change, (2000, len(change))).mean(1)
        low, high = np.quantile(draws, (0.025, 0.975))
        out[name] = {
            "pairs": len(change),
            "without": float(before.mean()),
            "change": float(change.mean()),
            "low": float(low),
            "high": float(high),
            "rose": int((change > 0).sum()),
        }
    return out
