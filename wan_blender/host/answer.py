# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run without a window answers: one JSON object, on one line of stdout.

{"ok": true, "exit_code": 0, "job": ..., "result": ..., "report": {...}}
{"ok": false, "exit_code": 2, "error": {"code": "EmptyMask", "message": ..., "hint": ...}}
"""

from __future__ import annotations

import json
from typing import Any, TextIO

from ..core.errors import EngineError, WanError

Answer = dict[str, Any]


def succeeded(**told: Any) -> Answer:
    return {"ok": True, "exit_code": 0, **told}


def failed(error: Exception) -> Answer:
    """A bug is an answer too: a script waits for it."""
    if not isinstance(error, WanError):
        error = EngineError(f"The add-on failed: {type(error).__name__}: {error}.", "See stderr.")
    return {"ok": False, "exit_code": error.exit_code, "error": error.to_dict()}


def say(answer: Answer, stdout: TextIO) -> None:
    print(json.dumps(answer, ensure_ascii=False), file=stdout, flush=True)
