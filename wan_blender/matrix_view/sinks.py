# SPDX-License-Identifier: GPL-3.0-or-later
"""The sinks of the open frame as the panel lists them: ticks, marks and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import bpy
import numpy as np

from ..hygiene.blur import Softened, ambiguity_warning
from ..hygiene.sinks import Sink, Xywh, is_on_face
from . import thumbnails


class SinkList:
    """``sinks`` of a picture (H, W, 3); what the user says of them is in the window manager."""

    def __init__(self, sinks: list[Sink], rgb: np.ndarray) -> None:
        self.sinks = sinks
        self._limited: dict[int, str] = {}  # those that still glow after their treatment
        self._items.clear()
        thumbnails.clear()
        for rank, sink in enumerate(sinks, 1):
            item = self._items.add()
            item.rank, item.icon = rank, thumbnails.add(str(rank), rgb, sink.box)
            item.name, item.box = sink.kind.capitalize(), sink.box
            item.score, item.share, item.area = sink.score, sink.share, sink.area
            item.treat = True

    @property
    def _items(self) -> bpy.types.bpy_prop_collection:
        return bpy.context.window_manager.wan_matrix.sinks

    def ticked(self) -> list[Sink]:
        """The ticked ones, as gently as the list says."""
        return [
            replace(sink, protected=item.gentle)
            for sink, item in zip(self.sinks, self._items)
            if item.treat
        ]

    def spare(self, faces: Sequence[Xywh]) -> None:
        """Untick what lies on a face, and mark it as such."""
        for item, sink in zip(self._items, self.sinks):
            if is_on_face(sink.box, faces):
                item.treat, item.gentle = False, True

    def tell(self, regions: list[Softened]) -> None:
        """Show what the treatment of ``regions`` came to."""
        for region in regions:
            for number, (item, sink) in enumerate(zip(self._items, self.sinks)):
                if sink.cells is region.sink.cells:
                    item.radius, item.warning = region.radius, region.warning()
                    self._limited[number] = item.warning

    def warn(self, losses: list[float]) -> None:
        """Show which sinks lost too much; ``losses`` are parts of their shapes, 0..1."""
        for number, (item, sink, loss) in enumerate(zip(self._items, self.sinks, losses)):
            warning = ambiguity_warning(replace(sink, protected=item.gentle), loss)
            item.warning = warning or self._limited.get(number, "")

    def forget(self) -> None:
        """Nothing is treated any more."""
        self._limited.clear()
        for item in self._items:
            item.radius = 0
