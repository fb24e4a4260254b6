# SPDX-License-Identifier: GPL-3.0-or-later
"""What a treatment did to the clip: how much moves, how much crawls, how true the first frame is.

Motion is optical flow (OpenCV's DIS, refined). Crawl is fine detail that changes from frame to
frame without moving along: the next frame is brought back along the flow, and what is left of the
difference in the bands of 2 to 8 pixels is crawl. The flow is smoothed over 8 pixels and refined
over 25, so it follows things and not the twiddling of single pixels. Flow and resampling are never
exact, and the finer the detail, the more that leaves of a rigid motion: the same is measured on the
frame itself, moved by the very flow, and taken off in each neighbourhood.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import cv2
import numpy as np

from ....core.errors import LengthMismatch, SizeMismatch
from ....hygiene.bands import luminance, resize, split

FLOW_SMOOTHING = 8.0  # pixels
FLOW_WINDOW = 25  # pixels: what moves as one when the flow is refined
FLAT = 1e-4  # squared slope per pixel that says nothing about motion
STILL = 0.25  # pixels per frame: slower does not count as motion
CLOSED_LOOP = 0.75  # pixels: forward and backward flow must agree this well
NEAR = 17  # pixels: side of the neighbourhood in which what rigid motion leaves is taken off
RIGID = 1.5  # factor on that, since it is known as a mean over the neighbourhood only


@dataclass(frozen=True)
class ClipMotion:
    """Measures of one clip."""

    motion: float  # mean speed, pixels per frame
    moving: float  # part of the picture that moves faster than STILL, 0..1
    crawl: float  # root mean square of fine change off the flow, 8-bit levels
    crawl_ratio: float  # the same over the fine detail that is there: 0 settled, 1.4 unrelated
    first_psnr: float  # dB against the start frame; inf when equal; nan without one
    first_ssim: float  # structural similarity, 1 = equal


def measure(frames: Iterable[np.ndarray], start: np.ndarray | None = None) -> ClipMotion:
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
    return ClipMotion(
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
        cv2.GaussianBlur(resize(p[..., None], *size)[..., 0], (0, 0), 1.0) for p in (now, after)
    )
    levels = ((255 * plane).astype(np.uint8) for plane in (a, b))
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*levels, None)
    flow = _refine(a, b, cv2.GaussianBlur(flow, (0, 0), FLOW_SMOOTHING))
    scale = np.array([width / size[0], height / size[1]], np.float32)
    return resize(flow, width, height) * scale


def _refine(now: np.ndarray, after: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """``flow`` a fraction of a pixel nearer to the truth (Lucas and Kanade 1981): DIS is a tenth of
    a pixel off, which fine detail does not forgive."""

    def near(plane: np.ndarray) -> np.ndarray:
        return cv2.blur(plane, (FLOW_WINDOW, FLOW_WINDOW))

    for _ in range(3):
        brought = _sample(after, _grid(now.shape) + flow, cv2.INTER_CUBIC)
        dy, dx = np.gradient(brought)
        off = now - brought
        xx, yy, xy = near(dx * dx) + FLAT, near(dy * dy) + FLAT, near(dx * dy)
        x, y = near(dx * off), near(dy * off)
        step = np.stack([yy * x - xy * y, xx * y - xy * x], -1) / (xx * yy - xy * xy)[..., None]
        flow = flow + step.clip(-0.5, 0.5)
    return flow


@dataclass(frozen=True)
class FineChange:
    """The fine bands of one frame and of another brought along the flow; (H, W) maps."""

    fine: np.ndarray  # of the frame
    brought: np.ndarray  # of the other one
    rigid: np.ndarray  # of the frame itself, moved rigidly and brought back as the other one
    flow: np.ndarray  # (H, W, 2) pixels from the frame to the other one
    inside: np.ndarray  # bool: the flow ends inside of the other frame
    held: np.ndarray  # bool: and from there leads back


def fine_change(now: np.ndarray, after: np.ndarray, flow: np.ndarray | None = None) -> FineChange:
    """Planes (H, W) in 0..1; the maps lie as ``now`` does. ``flow`` from ``now`` to ``after``
    where it is known already."""
    flow = optical_flow(now, after) if flow is None else flow
    back = optical_flow(after, now)
    at = _grid(now.shape) + flow
    closes = np.hypot(*np.moveaxis(flow + _sample(back, at, cv2.INTER_LINEAR), -1, 0)) < CLOSED_LOOP
    inside = ((at >= 0) & (at < np.array(now.shape[::-1]) - 1)).all(-1)
    moved = _move(now, flow)
    rigid = _bring(moved, optical_flow(now, moved))
    return FineChange(_fine(now), _bring(after, flow), rigid, flow, inside, closes & inside)


def along_flow(maps: np.ndarray, flow: np.ndarray, taps: int) -> np.ndarray:
    """Each pixel of ``maps`` (H, W, C) as the mean along its ``flow``, centred on it."""
    grid = _grid(flow.shape[:2])
    shares = ((np.arange(taps) + 0.5) / taps - 0.5).tolist()
    return sum(_sample(maps, grid + t * flow, cv2.INTER_LINEAR) for t in shares) / taps


def _crawl(now: np.ndarray, after: np.ndarray, flow: np.ndarray) -> tuple[float, float]:
    """(mean squared fine change off the flow, mean squared fine detail) where the flow holds."""
    found = fine_change(now, after, flow)
    held = found.held if found.held.any() else found.inside
    change, rigid = (
        cv2.blur((bands - found.fine) ** 2, (NEAR, NEAR)) for bands in (found.brought, found.rigid)
    )
    crawl = np.maximum(change - RIGID * rigid, 0)
    return float(crawl[held].mean()), float((found.fine[held] ** 2).mean())


def _bring(after: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """(H, W): the fine bands of ``after``, brought back along ``flow``."""
    return _fine(_sample(after, _grid(after.shape) + flow, cv2.INTER_LANCZOS4))


def _fine(plane: np.ndarray) -> np.ndarray:
    return sum(split(plane, 2)[0])


def _move(plane: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """``plane`` (H, W) with each pixel carried along ``flow``, without occlusion."""
    grid = _grid(plane.shape)
    source = grid - flow
    for _ in range(3):  # to where source + flow(source) is the grid
        source = grid - _sample(flow, source, cv2.INTER_LINEAR)
    return _sample(plane, source, cv2.INTER_LANCZOS4)


def _grid(shape: tuple[int, int]) -> np.ndarray:
    """(H, W, 2): x, y of each pixel."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return np.stack([x, y], -1)


def _sample(image: np.ndarray, at: np.ndarray, method: int) -> np.ndarray:
    """(H, W[, C]) at the places ``at`` (H, W, 2), x and y; edges repeat."""
    return cv2.remap(image, at[..., 0], at[..., 1], method, borderMode=cv2.BORDER_REPLICATE)


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
