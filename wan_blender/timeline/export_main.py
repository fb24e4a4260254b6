# SPDX-License-Identifier: GPL-3.0-or-later
"""Script of the background Blender: ``... --python export_main.py -- REQUEST.json``.

Messages go to the stdout it was started with, one JSON object a line: done and total, then shot
or error. What Blender prints goes to stderr.
"""

import atexit
import json
import os
import shutil
import sys
import threading
from dataclasses import asdict
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from wan_blender.errors import WanError
from wan_blender.timeline import preview
from wan_blender.timeline.export import export
from wan_blender.timeline.shot import ShotRequest


def main() -> None:
    request_file = Path(sys.argv[sys.argv.index("--") + 1])
    atexit.register(os._exit, 1)  # bpy 4.5 as a module may hang when it frees its memory
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**message: object) -> None:
        messages.write(json.dumps(message) + "\n")
        messages.flush()

    _end_with_host(request_file.parent)
    data = json.loads(request_file.read_text(encoding="utf-8"))
    if not bpy.data.filepath:
        bpy.ops.wm.open_mainfile(filepath=data["blend"])
    request, folder = ShotRequest.from_dict(data["request"]), Path(data["folder"])
    shot = None

    def on_frame(done: int, total: int) -> None:
        say(done=done, total=total)

    try:
        if data["preview"]:
            preview.make(request, folder, data["preview"], on_frame)
        else:
            shot = asdict(export(request, folder, on_frame))
    except WanError as error:
        say(error=error.to_dict())
    else:
        say(shot=shot, done=1, total=1)


def _end_with_host(scratch: Path) -> None:
    """Exit when stdin ends: the Blender that started this one is gone, or is done with it."""

    def watch() -> None:
        while os.read(0, 4096):  # not sys.stdin, whose lock a dying interpreter wants
            pass
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


main()
