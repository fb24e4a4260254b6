# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a start frame and its treatment: docs/hygiene.md. stdlib only."""

from __future__ import annotations

from dataclasses import dataclass

from .typed import entry


@dataclass(frozen=True)
class MeasuredPicture:
    """A picture beside the shot, an end frame or a reference, that was treated by measure."""

    score: float = entry("Amount of troublesome detail, 0..100")
    score_blurred: float | None = entry("The same after the blur", None)
    blurred: float | None = entry("Share of the picture that was blurred, 0..1", None)
    largest_radius: float | None = entry("Largest blur radius, pixels", None)
    low_passed: float | None = entry("Share of the picture that was low-passed, 0..1", None)
    warnings: tuple[str, ...] = entry("Regions whose blur was limited", ())


@dataclass(frozen=True)
class TreatmentReport:
    mode: str = entry('The setting hygiene.mode: "soft", "scheduled" or "both"')
    score: float | None = entry("Amount of troublesome detail in the start frame, 0..100", None)
    score_blurred: float | None = entry("The same after the blur", None)
    blurred: float | None = entry("Share of the start frame that was blurred, 0..1", None)
    largest_radius: float | None = entry("Largest blur radius, pixels", None)
    low_passed_steps: tuple[int, int] | None = entry(
        "First and last step that saw the low-passed frame, from 1", None
    )
    factor: float | None = entry("Size the low-passed frame was reduced to, 0..1", None)
    low_passed: float | None = entry("Share of the frame that was low-passed, 0..1", None)
    by_measure: dict[str, MeasuredPicture] = entry(
        "End frame and references that were treated by measure, by name", {}
    )
    notes: tuple[str, ...] = entry("What the editor should know", ())


@dataclass(frozen=True)
class TakeMeasures:
    """Measures of one take, or how much they changed. A PSNR of equal pictures has no number and is
    left out."""

    motion: float | None = entry("Mean speed, pixels per frame", None)
    moving: float | None = entry("Share of the picture that moves, 0..1", None)
    crawl: float | None = entry("Fine change off the flow, root mean square, 8-bit levels", None)
    crawl_ratio: float | None = entry("Crawl over the fine detail that is there", None)
    first_psnr: float | None = entry("First new frame against the start frame, dB", None)
    first_ssim: float | None = entry("The same as structural similarity, 1: equal", None)


@dataclass(frozen=True)
class Takes:
    """This take against the one without hygiene."""

    error: str = entry("Why the takes could not be compared", "")
    without_folder: str = entry("Name of the folder of the take without hygiene", "")
    seed: int = entry("Seed of both takes", 0)
    mode: str = entry("Hygiene mode of this take", "")
    frames: int = entry("Frames of each take", 0)
    same_frames: int = entry("Leading frames that are equal in both, and not measured", 0)
    without: TakeMeasures | None = entry("The take without hygiene", None)
    treated: TakeMeasures | None = entry("This take", None)
    change: TakeMeasures | None = entry("This take less the one without", None)


@dataclass(frozen=True)
class Profile:
    """Numbers of one picture at generation size."""

    score: float = entry("Amount of troublesome detail, 0..100")
    light: str = entry("The score as a traffic light")
    sinks: int = entry("Regions that hold the detail")
    glow: float = entry("Mean of the matrix view, 0..1")
    noise: float = entry("Deviation of the sensor noise, 8-bit levels")
    bands: tuple[float, ...] = entry("Root mean square of each band, 8-bit levels")


@dataclass(frozen=True)
class FrequencyReport:
    """How fine detail of two pictures compares."""

    bands: tuple[str, ...] = entry("Names of the bands")
    first: Profile = entry("The first picture")
    second: Profile = entry("The second picture")
    score_change: float = entry("Score of the second less that of the first")
    band_ratio: tuple[float | None, ...] = entry("Each band of the second over that of the first")


@dataclass(frozen=True)
class Faces:
    faces: tuple[tuple[int, int, int, int], ...] = entry("x, y, width, height of each face, pixels")
