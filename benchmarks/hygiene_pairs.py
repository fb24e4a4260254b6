# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m benchmarks.hygiene_pairs [MODEL] [--pairs 50] [--out FOLDER]: takes with and without.

Same start frame, prompt and seed; one take with hygiene off, one with each remedy. Half of the
start frames hold a sink, half a uniform texture. Reported as measured, whatever comes out:
motion, crawl and first-frame fidelity of each pair (pairs.csv), their mean change with its 95 %
interval (report.json, report.md) and a contact sheet. The folder is named by the weights and the
settings, and a take that is there already is not run again: a broken-off report goes on where it
stopped, and takes of other weights never mix into it.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import shutil
import sys
import threading
from pathlib import Path

import cv2
import numpy as np

from benchmarks.hygiene_starts import start_frame
from wan_blender.core import job as jobs
from wan_blender.core.files import write_json
from wan_blender.core.result import RESULT, find_result
from wan_blender.core.settings import Job, Prompt, Shot
from wan_blender.engine.frames.files import read_png, write_png
from wan_blender.engine.hygiene.measure import motion
from wan_blender.engine.hygiene.measure.batch import TILE, contact_sheet
from wan_blender.engine.hygiene.measure.frequencies import draw_text
from wan_blender.engine.hygiene.pictures import write_radius
from wan_blender.engine.models.bundle import open_model
from wan_blender.engine.nano import VARIANTS
from wan_blender.engine.pipeline import generate
from wan_blender.engine.watch import Watch
from wan_blender.hygiene.blur import radius_map, treat
from wan_blender.hygiene.matrix import analyse
from wan_blender.hygiene.sinks import find_sinks

REMEDIES = ("soft", "scheduled", "both")
COLUMNS = ("seed", "thing", "has_sinks", "score", "mode", "measure", "without", "with")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "model", nargs="?", default=str(VARIANTS["i2v"]), help="image-to-video model folder"
    )
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path(".cache/hygiene_pairs"))
    parser.add_argument("--size", type=int, nargs=2, default=(128, 128), metavar=("W", "H"))
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--prompt", help="for all takes, instead of each start frame's caption")
    options = parser.parse_args(arguments)
    options.weights = open_model(options.model).fingerprint
    options.out /= _name(options)
    found = [_run_pair(options, seed) for seed in range(options.pairs)]
    _write_report(options, found)
    return 0


def _name(options: argparse.Namespace) -> str:
    """What the takes depend on: the weights' fingerprint, size, frames, steps and prompt."""
    width, height = options.size
    name = f"{options.weights[:10]}-{width}x{height}x{options.frames}-{options.steps}"
    if options.prompt:
        name += "-" + hashlib.sha256(options.prompt.encode()).hexdigest()[:6]
    return name


def _run_pair(options: argparse.Namespace, seed: int) -> dict[str, object]:
    """The takes of one seed and what was measured on them."""
    width, height = options.size
    start = start_frame(seed, options.frames, width, height)
    levels = np.round(start.frame * 255).astype(np.uint8)
    matrix = analyse(start.frame)
    sinks = find_sinks(start.frame, matrix)
    radius = radius_map(treat(start.frame, matrix, sinks, seed), (height, width))
    prompt = options.prompt or start.caption
    takes = {}
    for mode in ("off", *REMEDIES):
        folder = options.out / f"{seed:03d}-{mode}"
        takes[mode] = _take(options, folder, levels, radius, mode, seed, prompt)
        print(f"pair {seed}: {mode} done", file=sys.stderr, flush=True)
    reference = levels.astype(np.float32) / 255
    # Frame 0 is the start frame itself; frame 1 is the first that the model made.
    measured = {
        mode: motion.pair(takes["off"][1:], takes[mode][1:], reference) for mode in REMEDIES
    }
    return {"seed": seed, "thing": start.thing, "has_sinks": start.has_sink,
            "score": matrix.score, "measured": measured, "strip": _strip(takes)}  # fmt: skip


def _take(
    options: argparse.Namespace,
    folder: Path,
    start: np.ndarray,
    radius: np.ndarray,
    mode: str,
    seed: int,
    prompt: str,
) -> np.ndarray:
    """(T, H, W, 3) in 0..1 of one run; run only when its folder holds no result."""
    width, height = options.size
    if find_result(folder) is None:
        shot = Shot("pair", "Scene", width, height, 16, 1, 1, options.frames, 1, 8)
        job = Job(shot, Prompt(prompt))
        job.model.path = options.model
        job.sampling.seed, job.sampling.steps = seed, options.steps
        job.hygiene.mode, job.output.full_frames = mode, True
        for part in (jobs.PLATE, jobs.MASK):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for index in range(options.frames):
            name = jobs.frame_name(index)
            write_png(folder / jobs.PLATE / name, start)
            level = 0 if index == 0 else 65535
            write_png(folder / jobs.MASK / name, np.full((height, width), level, np.uint16))
        write_radius(folder / jobs.RADIUS, radius)
        jobs.create(folder, job)
        report = generate(folder, Watch(folder, lambda message: None, threading.Event()))
        if report.model.fingerprint != options.weights:
            shutil.rmtree(folder)
            sys.exit("The model's weights were replaced meanwhile; start the report again.")
    files = sorted((folder / RESULT / jobs.FRAMES).glob("*.png"))
    return np.stack([read_png(path)[..., :3] for path in files]).astype(np.float32) / 255


def _strip(takes: dict[str, np.ndarray]) -> np.ndarray:
    """First, middle and last frame of each take, one take above the other (BGR)."""
    rows = []
    for mode, frames in takes.items():
        row = np.hstack([frames[i] for i in (1, len(frames) // 2, -1)])
        row = cv2.cvtColor((row * 255).astype(np.uint8), cv2.COLOR_RGB2BGR)
        row = cv2.resize(row, (TILE, round(row.shape[0] * TILE / row.shape[1])))
        draw_text(row, mode, 6, 16, (255, 255, 255), 0.4)
        rows.append(row)
    return np.vstack(rows)


def _write_report(options: argparse.Namespace, found: list[dict[str, object]]) -> None:
    summary = {
        mode: {
            kind: motion.summarise([p["measured"][mode] for p in found if p["has_sinks"] == flag])
            for kind, flag in (("with sinks", True), ("uniform", False))
            if any(p["has_sinks"] == flag for p in found)
        }
        for mode in REMEDIES
    }
    settings = {k: str(v) for k, v in vars(options).items()}
    page = {"settings": settings, "pairs": len(found), "summary": summary}
    write_json(options.out / "report.json", page)
    (options.out / "report.md").write_text(_page(page), encoding="utf-8")
    with open(options.out / "pairs.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["seed", "thing", "has_sinks", "score", "mode", "measure", "without", "with"]
        )
        for pair in found:
            for mode, data in pair["measured"].items():
                for name in data["change"]:
                    writer.writerow([pair["seed"], pair["thing"], pair["has_sinks"],
                                     round(pair["score"], 1), mode, name, data["without"][name],
                                     data["with"][name]])  # fmt: skip
    cv2.imwrite(str(options.out / "contact.png"), contact_sheet([p["strip"] for p in found]))
    print(json.dumps(summary, indent=1))


def _page(page: dict) -> str:
    lines = [
        "# Hygiene: takes with and without",
        "",
        f"{page['pairs']} start frames, model `{Path(page['settings']['model']).name}`, weights "
        f"`{Path(page['settings']['out']).name.partition('-')[0]}`, {page['settings']['frames']} "
        f"frames, {page['settings']['steps']} steps. Change = with minus without, mean and 95 % "
        "bootstrap interval over pairs of one seed.",
        "",
        "| remedy | start frames | measure | without | change | 95 % | rose in |",
        "|---|---|---|---|---|---|---|",
    ]
    for mode, kinds in page["summary"].items():
        for kind, measures in kinds.items():
            for name, m in measures.items():
                lines.append(
                    f"| {mode} | {kind} | {name} | {m['without']:.3f} | {m['change']:+.3f} | "
                    f"{m['low']:+.3f} .. {m['high']:+.3f} | {m['rose']} of {m['pairs']} |"
                )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
