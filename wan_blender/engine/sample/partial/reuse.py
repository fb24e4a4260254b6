# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps whose model call would say nearly what the one before it said.

The rule is EasyCache's (arXiv 2507.02860): the change of the output for a change of the input is
about the same from step to step, so the input alone tells how far the output has moved.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

Tensor = torch.Tensor
WARM = 2  # first steps, which are always computed


@dataclass
class _Track:
    """Of one window: the last input, input and output of the last computed step, and how much the
    output changes for a change of the input."""

    x: Tensor
    computed: Tensor | None = None
    output: Tensor | None = None
    gain: float | None = None
    moved: float = 0.0


class Reuse:
    """``threshold`` is the change of the output, relative to the output, that may be left out."""

    def __init__(self, threshold: float, steps: int) -> None:
        self._threshold, self._steps = threshold, steps
        self._tracks: dict[int, _Track] = {}
        self._decided: dict[int, tuple[int, bool]] = {}

    def restart(self) -> None:
        self._tracks.clear()
        self._decided.clear()

    def repeats(self, window: int, step: int, x: Tensor) -> bool:
        """Whether the output for ``x`` may be that of the last computed step; decided at the first
        call of a step, for both guidance branches."""
        if self._decided.get(window, (-1, False))[0] != step:
            self._decided[window] = step, self._decide(window, step, x)
        return self._decided[window][1]

    def note(self, window: int, x: Tensor, output: Tensor) -> None:
        """A computed step."""
        track = self._tracks.setdefault(window, _Track(x))
        if track.output is not None and track.output.shape == output.shape:
            change = _norm(x - track.computed)
            track.gain = _norm(output - track.output) / change if change else None
        track.x = track.computed = x
        track.output, track.moved = output, 0.0

    def _decide(self, window: int, step: int, x: Tensor) -> bool:
        track = self._tracks.get(window)
        if track is None or track.gain is None or step < WARM or step >= self._steps - 1:
            return False
        track.moved += track.gain * _norm(x - track.x) / max(_norm(track.output), 1e-12)
        track.x = x
        return track.moved < self._threshold


def _norm(x: Tensor) -> float:
    return float(x.float().norm())
