# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory that each job of a batch wants of a card, asked of an engine. stdlib only."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..core.errors import WanError
from ..process.call import EngineCall
from ..process.engine import find_python


class Needs:
    """Asks at once; ``read`` waits for the answer. Without an engine on this machine nothing is
    known, and jobs go to any card."""

    def __init__(self, batch: Path, python: str = "") -> None:
        self._call: EngineCall | None = None
        with contextlib.suppress(WanError):
            self._call = EngineCall(find_python(python), "forecast", "--batch", str(batch))

    def read(self) -> dict[str, float]:
        """GB by the names of the jobs' folders; {} where nothing is known."""
        if self._call is None:
            return {}
        with contextlib.suppress(WanError, TypeError, KeyError, ValueError, AttributeError):
            self._call.wait()
            answer = self._call.result()["needs_gb"]
            return {str(name): float(needed) for name, needed in answer.items()}
        return {}
