# SPDX-License-Identifier: GPL-3.0-or-later
"""make mask-report: what the packing of masks into latents does to pixels.

Removes the object of small scenes with the bundled model, with our causal maximum and with the
resampling of other engines; everything else is equal. Prints a table and writes docs/mask_report.md
with pictures.

    ghost     what is left of the old object's difference to the wall behind it, inside the mask:
              0 is gone, 1 is untouched
    seam      steps across the mask's edge, against the plate's own there; 1 is invisible
    outside   largest difference of any pixel outside the mask, in steps of 255
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from wan_blender.core.mask_settings import Mask, Output, RegionSettings
from wan_blender.core.result import RESULT
from wan_blender.core.settings import Job, Prompt, Sampling, Shot

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tools.train_nano.backgrounds import random_background  # noqa: E402
from tools.train_nano.world import Scene, cover, random_shape, render  # noqa: E402
from wan_blender.core import job as jobs  # noqa: E402
from wan_blender.core.errors import EmptyMask  # noqa: E402
from wan_blender.engine.frames.files import read_png, write_png  # noqa: E402
from wan_blender.engine.pipeline import generate  # noqa: E402
from wan_blender.engine.watch import Watch  # noqa: E402

WORK = ROOT / ".cache" / "mask_report"
PAGE = ROOT / "docs" / "mask_report.md"
PICTURES = ROOT / "docs" / "images"
FRAMES, SIZE, SEEDS, STEPS = 17, 96, 4, 12
REDUCTIONS = {
    "causal maximum (ours)": "max",
    "trilinear (ComfyUI)": "comfy_trilinear",
    "nearest (Wan2GP)": "wan2gp_nearest",
}
MOTIONS = {"slow object": 0.15, "fast object": 0.9, "one-frame matte": 0.15}


def main() -> int:
    shutil.rmtree(WORK, ignore_errors=True)
    rows, strips = [], []
    for motion, travel in MOTIONS.items():
        for name, reduction in REDUCTIONS.items():
            found = [_run(motion, travel, reduction, seed) for seed in range(SEEDS)]
            ghost = np.mean([f["ghost"] for f in found])
            seams = [f["seam"] for f in found if not np.isnan(f["seam"])]
            seam = f"{np.mean(seams):.2f}" if seams else "none made"
            outside = max(f["outside"] for f in found)
            rows.append(f"| {motion} | {name} | {ghost:.0%} | {seam} | {outside} |")
            print(rows[-1], flush=True)
            strips.append((f"{motion}, {name}", found[0]["strip"]))
    _write_page(rows, strips)
    return 0


def scene_of(seed: int, travel: float) -> Scene:
    """A random wall with one vivid ball that crosses it."""
    rng = np.random.default_rng(90_000 + seed)
    wall = random_background(rng, FRAMES)
    ball = replace(
        random_shape(rng, FRAMES, colour="red", kind="ball"),
        radius=0.16,
        centre=(0.5, 0.5),
        travel=(travel, 0.0),
        growth=0.0,
        spin=0.0,
        shiny=False,
    )
    return Scene(wall, (ball,))


def _run(motion: str, travel: float, reduction: str, seed: int) -> dict:
    scene = scene_of(seed, travel)
    plate = np.rint(render(scene, FRAMES, SIZE, SIZE) * 255).astype(np.uint8)
    times = np.linspace(0, 1, FRAMES)
    body = np.stack([cover(scene.shapes[0], t, SIZE, SIZE)[0] > 0.5 for t in times])
    mask = np.stack([_box(b, 4) for b in body])
    if motion == "one-frame matte":
        mask[np.arange(FRAMES) != 3 + 2 * seed] = False
    folder = WORK / f"{motion}-{reduction}-{seed}".replace(" ", "_")
    _write_job(folder, plate, mask, reduction, seed)
    wall = render(scene.without_shapes(), FRAMES, SIZE, SIZE)
    seam = float("nan")
    try:
        seam = generate(folder, Watch(folder)).seam.gradient_ratio
        frames = folder / RESULT / jobs.FRAMES
        after = np.stack([read_png(frames / jobs.frame_name(i)) for i in range(FRAMES)])
    except EmptyMask:  # the reduction left no cell of it: nothing is generated
        after = plate
    shown = np.flatnonzero(mask.any((1, 2)))
    picks = shown[np.linspace(0, len(shown) - 1, min(6, len(shown))).round().astype(int)]
    return {
        "ghost": ghost(plate, after, wall, body & mask),
        "seam": seam,
        "outside": int(np.abs(after.astype(int) - plate)[~mask].max()),
        "strip": np.concatenate([np.concatenate([plate[i], after[i]]) for i in picks], 1),
    }


def ghost(plate: np.ndarray, after: np.ndarray, wall: np.ndarray, inside: np.ndarray) -> float:
    """Regression of after - wall on plate - wall over the pixels ``inside``; ``wall`` is 0..1."""
    old = plate[inside] / 255 - wall[inside]
    return float(((after[inside] / 255 - wall[inside]) * old).sum() / (old * old).sum())


def _box(body: np.ndarray, margin: int) -> np.ndarray:
    out = np.zeros_like(body)
    ys, xs = np.nonzero(body)
    out[max(ys.min() - margin, 0) : ys.max() + 1 + margin,
        max(xs.min() - margin, 0) : xs.max() + 1 + margin] = True  # fmt: skip
    return out


def _write_job(folder, plate, mask, reduction: str, seed: int) -> None:
    for name, stack in ((jobs.PLATE, plate), (jobs.MASK, mask.astype(np.uint16) * 65535)):
        (folder / name).mkdir(parents=True)
        for i, frame in enumerate(stack):
            write_png(folder / name / jobs.frame_name(i), frame)
    shot = Shot("plate", "Scene", SIZE, SIZE, 24, 1, 1, FRAMES, 1, 8)
    job = Job(shot, Prompt("empty background"))
    job.sampling = Sampling(seed=seed, steps=STEPS)
    job.mask = Mask(reduction=reduction)
    job.region = RegionSettings(mode="whole")
    job.output = Output(full_frames=True, feather_px=0.0)  # what was generated, unmixed
    jobs.create(folder, job)


def _write_page(rows: list[str], strips: list[tuple[str, np.ndarray]]) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    lines = [
        "# Mask report",
        "",
        f"Made by `make mask-report`: {SEEDS} scenes of {FRAMES} frames at {SIZE}x{SIZE}, {STEPS}",
        "steps, bundled model, asked for an empty background. Only the mask reduction differs.",
        "",
        "- **ghost**: what is left, inside the mask, of the old object's difference to the wall",
        "  behind it: 0 is gone, 1 is untouched (regression of the one difference on the other)",
        "- **seam**: steps across the mask's edge against the plate's own there (1 is invisible)",
        "- **outside**: largest difference outside the mask, in steps of 255",
        "",
        "| mask | reduction | ghost | seam | outside |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]
    for number, (title, picture) in enumerate(strips):
        name = f"mask_report_{number}.png"
        big = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
        write_png(PICTURES / name, big)
        lines += [f"{title} (above before, below after)", "", f"![{title}](images/{name})", ""]
    PAGE.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
