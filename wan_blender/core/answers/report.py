# SPDX-License-Identifier: GPL-3.0-or-later
"""report.json: what was run, on what, how long it took, and what was measured.

``check`` gives the parts that are known before a run; the others are added as they are measured.
docs/reference/report.md lists every field; typed.py says how another version's file is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .hygiene import Takes, TreatmentReport
from .insight import AttentionBudget, Decisions, Settledness
from .typed import entry


@dataclass(frozen=True)
class ModelUsed:
    name: str = entry("Name of the model", "")
    kind: str = entry('How it takes its condition: "vace", "i2v", "t2v", ...', "")
    revision: str = entry("Its commit, or the beginning of its fingerprint", "")
    fingerprint: str = entry("SHA-256 over samples of its weights", "")
    notes: tuple[str, ...] = entry("How its weights differ from those the job was made with", ())


@dataclass(frozen=True)
class ShotNotes:
    notes: tuple[str, ...] = entry("What to know of the plate and of where the result goes", ())


@dataclass(frozen=True)
class SeenSize:
    box: tuple[int, int, int, int] = entry("Part of the plate the model saw: x, y, width, height")
    model_pixels: tuple[int, int] = entry("Width and height at which the model saw it, padded")
    model_frames: int = entry("Frames the model saw, padded", 0)
    latents: tuple[int, int, int] = entry("Latent frames, rows and columns", (0, 0, 0))
    tokens: int = entry("Tokens of the transformer over the whole shot", 0)
    windows: tuple[tuple[int, int], ...] = entry(
        "First latent frame of each window, and the one after its last", ()
    )


@dataclass(frozen=True)
class MaskFound:
    pixels: float = entry("Share of the shot's pixels that is masked, 0..1")
    box: tuple[int, int, int, int] = entry("x0, y0, x1, y1 around the mask on all frames")
    latent_cells: float | None = entry("Share of the latent cells that is generated, 0..1", None)
    frames: int | None = entry("Frames with anything masked", None)
    notes: tuple[str, ...] = entry("What the editor should know of the mask", ())


@dataclass(frozen=True)
class Finding:
    rule: str = entry("Name of the rule: docs/schedule_rules.md")
    message: str = entry("What is advised against, in words")
    fix: dict[str, Any] = entry("Settings that cure it, by dotted name", {})


@dataclass(frozen=True)
class Schedule:
    sigmas: tuple[float, ...] = entry("Noise levels, from the first step to 0")
    findings: tuple[Finding, ...] = entry("What practice advises against, gravest first", ())


@dataclass(frozen=True)
class Memory:
    """Gigabytes are of 1e9 bytes."""

    predicted_gb: float = entry("Predicted peak of the model's share")
    free_gb: float = entry("What the device had free before")
    fits: bool = entry("Whether the one fits into the other")
    words: str = entry("The same in words")
    measures: tuple[str, ...] = entry("What is done to make the run fit", ())
    device: str = entry("Name of the device", "")
    remedy: str = entry("What the user can do where it does not fit", "")
    measured_gb: float | None = entry("What the run took", None)
    measures_taken: int | None = entry("Measures added on the way, when memory ran short", None)


@dataclass(frozen=True)
class Spread:
    mean: float = entry("Mean")
    max: float = entry("Largest")


@dataclass(frozen=True)
class Compute:
    """What sampling.compute and sampling.reuse did."""

    asked: str = entry("The setting sampling.compute")
    used: str = entry("What was done")
    why: str = entry("Why it differs from what was asked", "")
    active_share: float = entry("Share of the tokens that is generated, 0..1", 0.0)
    rows_share: float = entry("Largest share of the tokens that one step computes, 0..1", 0.0)
    predicted_ratio: float = entry("Predicted time over that of computing everything", 1.0)
    staleness: Spread | None = entry("Relative change of what was kept between full steps", None)
    passes: dict[str, int] = entry("Model calls by kind", {})
    actual_ratio: float | None = entry("Time of the calls over that of full ones", None)


@dataclass(frozen=True)
class Switched:
    """What of the settings under speed was on."""

    attention: str = entry("How attention was computed", "native")
    compiled: bool = entry("Whether the blocks were compiled", False)
    fp8_products: bool = entry("Whether products were in fp8", False)
    notes: tuple[str, ...] = entry("Why what was asked for is not on", ())


@dataclass(frozen=True)
class BorrowReport:
    share: float = entry("Share of the mask that was taken from other frames, 0..1")
    notes: tuple[str, ...] = entry("What could not be, and why", ())


@dataclass(frozen=True)
class SeamReport:
    gradient_ratio: float | None = entry(
        "Steps across the patch's edge over the plate's own there; 1: invisible", None
    )
    colour_step: float | None = entry(
        "Difference of mean colours across the edge, result against plate, 0..1", None
    )
    visible: float | None = entry(
        "How visible the edge is, by what was made just beyond it, 0..1; absent where nothing was",
        None,
    )


@dataclass(frozen=True)
class Cut:
    frame: int = entry("Number in the shot, from 0, of the second of the two frames at the cut")
    moved: float = entry("Mean difference of these two, 0..1")
    own: float = entry("The same between frames on one side of the cut, the larger of both")


@dataclass(frozen=True)
class Versions:
    python: str = entry("Python")
    torch: str = entry("PyTorch")
    diffusers: str = entry("diffusers")


@dataclass(frozen=True)
class Report:
    schema: int = entry("Version of the job folder's layout", 0)
    settings: dict[str, Any] = entry("The job as it ran, laid out as in job.json", {})
    model: ModelUsed | None = entry("The model; absent where everything was borrowed", None)
    shot: ShotNotes | None = entry("The shot", None)
    size: SeenSize | None = entry("What the model saw", None)
    mask: MaskFound | None = entry("What is masked", None)
    schedule: Schedule | None = entry("Noise levels and advice", None)
    memory: Memory | None = entry("Memory of the device", None)
    compute: Compute | None = entry("Where not everything was computed at every step", None)
    speed: Switched | None = entry("What was faster on this machine, where it was asked for", None)
    hygiene: TreatmentReport | None = entry("How the start frame was treated", None)
    borrow: BorrowReport | None = entry("What was taken from other frames", None)
    takes: Takes | None = entry("This take against the one without hygiene", None)
    settledness: Settledness | None = entry("Whether fine detail sticks to its surface", None)
    decisions: Decisions | None = entry("What the model had decided at the hand-over", None)
    attention: AttentionBudget | None = entry("What attention was spent on", None)
    max_diff_outside: float | None = entry(
        "Largest difference to the plate outside the patch, in levels of the plate, or in parts "
        "of white for half float; always 0",
        None,
    )
    max_latent_diff_kept: float | None = entry(
        "Largest difference of the latents where the mask is 0; always 0", None
    )
    seam: SeamReport | None = entry("How visible the patch's edge is", None)
    cuts: tuple[Cut, ...] = entry("Where new frames begin and end, and how far they jump", ())
    loras_skipped: dict[str, tuple[str, ...]] = entry(
        "Layers of each LoRA file that this model does not have", {}
    )
    seconds: dict[str, float] = entry("Time of each phase", {})
    peak_memory_gb: float | None = entry("Peak resident memory of the process, 2^30 bytes", None)
    peak_vram_gb: float | None = entry("Peak memory on the GPU, 2^30 bytes", None)
    device: str = entry('Where it ran: "cuda", "cuda:1", "mps" or "cpu"', "")
    dtype: str = entry("Precision of the transformer", "")
    versions: Versions | None = entry("What the engine runs on", None)
    files: dict[str, tuple[int, str]] = entry("Size and SHA-256 of each file of the result", {})


@dataclass(frozen=True)
class Forecast:
    """What a run would take, before its shot is exported."""

    size: tuple[int, int, int] = entry("Width, height and frames the model would see, padded")
    memory: Memory = entry("Memory of the device")
    compute: Compute | None = entry("What passes over rows would save, of a known mask", None)
