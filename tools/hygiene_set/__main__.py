# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m tools.hygiene_set [PICTURES]: sinks found and treated on the labelled set.

python -m tools.hygiene_set objects: small things found on drawn walls and in photographs.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict

import cv2
import numpy as np

from wan_blender.hygiene.blur import radius_map, soften, treat
from wan_blender.hygiene.matrix import analyse
from wan_blender.hygiene.sinks import KINDS, find_sinks

from . import objects
from .scenes import labelled

FIRST_SEED = 4000  # smaller ones were used to choose numbers


def main(count: int) -> None:
    scores: dict[tuple[bool, str], list[float]] = defaultdict(list)
    found: dict[str, list[bool]] = defaultdict(list)
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    regions, touched, textured = [], 0, 0
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        picture = labelled(seed)
        matrix = analyse(picture.rgb)
        sinks = find_sinks(picture.rgb, matrix)
        treated = treat(picture.rgb, matrix, sinks, seed)
        regions += treated
        radius = radius_map(treated, picture.rgb.shape[:2])
        changed = (soften(picture.rgb, radius) != picture.rgb).any(-1)
        true_sinks = np.any([r.mask for r in picture.regions if r.is_sink], axis=0)
        far = cv2.dilate(true_sinks.astype(np.uint8), np.ones((41, 41))) == 0
        for region in picture.regions:
            cells = cv2.resize(region.mask.astype(np.float32), matrix.salience.shape[::-1],
                               interpolation=cv2.INTER_AREA) > 0.5  # fmt: skip
            scores[region.is_sink, region.name].append(float(matrix.salience[cells].mean()))
            if region.is_sink:
                best = max(sinks, key=lambda s: s.cells[cells].mean(), default=None)
                hit = best is not None and best.cells[cells].mean() > 0.25
                found[region.name].append(hit)
                kinds[region.name][best.kind if hit else "missed"] += 1
            else:
                touched += int(changed[region.mask & far].sum())
                textured += int((region.mask & far).sum())
    _print_table(scores, found)
    _print_kinds(kinds)
    sink, texture = (np.array([s for k, v in scores.items() if k[0] == w for s in v])
                     for w in (True, False))  # fmt: skip
    wins = (sink[:, None] > texture).mean() + 0.5 * (sink[:, None] == texture).mean()
    print(f"\narea under the curve {wins:.4f} ({len(sink)} sinks, {len(texture)} textures)")
    print(f"sinks found {np.mean([h for v in found.values() for h in v]):.1%}")
    before, after, radii, losses = (
        np.array([getattr(r, name) for r in regions])
        for name in ("before", "after", "radius", "loss")
    )
    print(f"fine contrast of {len(regions)} treated regions: {before.mean():.3f} -> "
          f"{after.mean():.3f}; held back by the limit: "
          f"{np.mean([r.limited for r in regions]):.1%}")  # fmt: skip
    print(f"radius {np.median(radii):.2f} px in the median, {radii.max():.2f} at most; "
          f"shape lost {losses.mean():.1%} on average, {losses.max():.1%} at most")  # fmt: skip
    print(f"texture pixels changed: {touched / textured:.4%}")


def _print_table(scores: dict, found: dict[str, list[bool]]) -> None:
    print("| region | pictures | salience: low, median, high | found |\n|---|---|---|---|")
    for (is_sink, name), values in sorted(scores.items()):
        low, middle, high = np.quantile(values, (0, 0.5, 1))
        hits = f"{np.mean(found[name]):.0%}" if is_sink else ""
        kind = "" if is_sink else " (texture)"
        print(f"| {name}{kind} | {len(values)} | {low:.2f} {middle:.2f} {high:.2f} | {hits} |")


def _print_kinds(kinds: dict[str, Counter[str]]) -> None:
    columns = [*KINDS, "missed"]
    print(f"\n| drawn | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for name, counted in sorted(kinds.items()):
        print(f"| {name} | {' | '.join(str(counted[column] or '') for column in columns)} |")


def show_objects() -> None:
    """How many of the planted things are found, by contrast and by how far they stand off."""
    print("| contrast | on walls | beside them |\n|---|---|---|")
    for contrast in objects.CONTRASTS:
        looks = [objects.look(*objects.draw_wall(seed, contrast)) for seed in range(100, 124)]
        hits = np.concatenate([hits for hits, _ in looks])
        print(f"| {contrast} | {hits.mean():.0%} | {sum(beside for _, beside in looks)} |")
    stands_off, found_there = [], []
    for name in objects.PHOTOGRAPHS:
        for contrast in objects.CONTRASTS:
            rgb, things = objects.plant_in_photograph(name, contrast)
            stands_off += [contrast / 255 / thing.ground for thing in things]
            found_there += objects.look(rgb, things)[0]
    ratio, hit = np.array(stands_off), np.array(found_there)
    print("\n| contrast over the ground's detail | things in photographs | found |\n|---|---|---|")
    for low, high in ((0, 8), (8, 20), (20, 40), (40, np.inf)):
        inside = (ratio >= low) & (ratio < high)
        print(f"| {low} to {high} | {inside.sum()} | {hit[inside].mean():.0%} |")


if sys.argv[1:] == ["objects"]:
    show_objects()
else:
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
