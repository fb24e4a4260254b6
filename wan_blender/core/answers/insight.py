# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run reports of what the model did inside: docs/attention.md. stdlib only."""

from __future__ import annotations

from dataclasses import dataclass

from .typed import entry

SAME = 0.5  # correlation below which a thing came back as another


@dataclass(frozen=True)
class Return:
    before: int = entry("Last frame before it was hidden, from 0")
    frame: int = entry("First frame on which it can be compared with that one, from 0")
    correlation: float = entry("Of its detail on both, -1..1")

    @property
    def differs(self) -> bool:
        """Whether it came back as something else."""
        return self.correlation < SAME


@dataclass(frozen=True)
class RegionCurve:
    """Tuples have one entry for each frame; the first frame has none before it, so its entries are
    None and 0."""

    name: str = entry('"mask", or "ring" for what is around it')
    settled: tuple[float | None, ...] = entry(
        "How well detail sticks to its surface, 0..1, of each frame against the one before"
    )
    visible: tuple[float, ...] = entry("Share of the region seen in both frames, 0..1")
    mean: float | None = entry("Mean of settled over the frames where it can be told")
    blinks: tuple[int, ...] = entry("Frames, from 0, at which the region becomes something else")
    returns: tuple[Return, ...] = entry("Each time the region comes back after it was hidden")
    beat: float | None = entry(
        "Change at the borders of latent groups over change inside them; 1: no beat"
    )
    beats: bool = entry("Whether the beat is more than chance")


@dataclass(frozen=True)
class Settledness:
    frames: int = entry("Frames of the clip")
    regions: tuple[RegionCurve, ...] = entry("One curve for each region")
    noise: float = entry("Deviation between frames that the ring has everywhere, 8-bit levels")
    sentences: tuple[str, ...] = entry("The same in words")
    box: tuple[int, int, int, int] | None = entry(
        "What the maps cover: x, y, width, height in plate pixels", None
    )


@dataclass(frozen=True)
class DecisionRegion:
    """Shares are 0..1, None where it cannot be told."""

    name: str = entry('"mask", "plate" or "sinks"')
    cells: int = entry("Latent cells in it")
    undecided: float | None = entry("Share that was undecided at the hand-over")
    at_end: float | None = entry("Share undecided at the last step, by drift")
    settles: float | None = entry("Median noise level from which on its cells stay as they are")
    late: float | None = entry("Share that settles late, or never")
    gap: float | None = entry("Mean guidance gap at the hand-over, over the plate's")
    detail: float | None = entry("Fine detail of the estimate at the hand-over over the final one")
    switch: float | None = entry("Jump across the expert switch over the drift around it")


@dataclass(frozen=True)
class Decisions:
    handover: float = entry("Noise level at which the high-noise expert let go")
    signal: str = entry('What tells: "probe", "drift" or "gap"')
    regions: tuple[DecisionRegion, ...] = entry("What each region had decided")
    sigmas: tuple[float, ...] = entry("Noise levels of the run")
    curve: tuple[float | None, ...] = entry(
        "Share of the mask that is undecided at each step, by drift; null across two stages"
    )
    sentences: tuple[str, ...] = entry("The same in words")


@dataclass(frozen=True)
class StageBudget:
    """Means over the measured layers and steps of one stage. The four shares add up to 1; masses
    are means over heads and tokens, 0..1."""

    stage: int = entry("Which stage, from 0")
    self_structural: float = entry("Share: self-attention to the token's own frame")
    self_temporal: float = entry("Share: self-attention to other frames")
    cross_structural: float = entry("Share: the prompt, alike on all frames")
    cross_temporal: float = entry("Share: the prompt, frame by frame")
    in_frame: float = entry("Mass that tokens give to their own frame")
    uniform: float = entry("The same of attention that prefers nothing")
    first_frame: float | None = entry("Mass that later frames give to frame 0")


@dataclass(frozen=True)
class LayerBudget:
    """One layer at one step; the shares are those of StageBudget."""

    layer: int = entry("Which layer, from 0")
    step: int = entry("Which step, from 0")
    sigma: float = entry("Its noise level")
    stage: int = entry("Its stage, from 0")
    self_structural: float = entry("Share: self-attention to the token's own frame")
    self_temporal: float = entry("Share: self-attention to other frames")
    cross_structural: float = entry("Share: the prompt, alike on all frames")
    cross_temporal: float = entry("Share: the prompt, frame by frame")
    in_frame: float = entry("Mass that tokens give to their own frame")
    uniform: float = entry("The same of attention that prefers nothing")
    first_frame: float | None = entry("Mass that later frames give to frame 0")


@dataclass(frozen=True)
class AttentionBudget:
    stages: tuple[StageBudget, ...] = entry("One for each stage")
    layers: tuple[LayerBudget, ...] = entry("One for each measured layer and step")
    sentences: tuple[str, ...] = entry("The same in words")
