# SPDX-License-Identifier: GPL-3.0-or-later
"""``engine report DIR``: what became of a batch, as CSV, JSON lines and a page with pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ...core.console import ProgressPrinter
from ...core.protocol import Progress
from ...farm.report import write_report


def report(folder: Path) -> dict[str, Any]:
    """Write the report into the batch ``folder``; where its files are, and counts of outcomes."""
    from ..contact_sheet import look_at

    return write_report(folder.absolute(), look_at, _tell())


def _tell() -> Any:
    """Lines for a person, JSON for Blender."""
    if sys.stderr.isatty():
        printer = ProgressPrinter()
        return lambda done, total: printer(Progress("", "report", done, total, done / total))
    return lambda done, total: print(
        json.dumps({"done": done, "total": total}), file=sys.stderr, flush=True
    )
