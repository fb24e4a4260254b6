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

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a script is in no package

from wan_blender.core import job, schema
from wan_blender.core.errors import WanError
from wan_blender.core.settings import Job
from wan_blender.timeline import preview
from wan_blender.timeline.export import export
from wan_blender.timeline.shot import ShotRequest


def main() -> None:
    request_file = Path(sys.argv[sys.argv.index("--") + 1])
    atexit.register(os._exit, 1)  # bpy 4.5 as a module may hang when it frees its memory
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    data = json.loads(request_file.read_text(encoding="utf-8"))
    request, folder = ShotRequest.from_dict(data["request"]), Path(data["folder"])
    ended = threading.Event()
    watch = _end_with_host(request_file.parent, folder, ended)

    def say(**message: object) -> None:
        try:
            messages.write(json.dumps(message) + "\n")
            messages.flush()
        except BrokenPipeError:  # as stdin has ended too
            ended.clear()
            watch.join()

    if not bpy.data.filepath:
        bpy.ops.wm.open_mainfile(filepath=data["blend"])
    shot = None

    def on_frame(done: int, total: int) -> None:
        say(done=done, total=total)

    try:
        if data["preview"]:
            preview.make(request, folder, data["preview"], on_frame)
        else:
            shot = asdict(export(request, folder, on_frame))
        if data["settings"]:
            settings = {**data["settings"], "shot": shot}
            job.create(folder, schema.from_dict(Job, settings, "settings"))
    except WanError as error:
        say(error=error.to_dict())  # if nobody is listening, the watch has the folder to clear
        ended.set()
    else:
        ended.set()
        say(shot=shot, done=1, total=1)
    shutil.rmtree(request_file.parent, ignore_errors=True)


def _end_with_host(scratch: Path, folder: Path, ended: threading.Event) -> threading.Thread:
    """Exit when stdin ends: the Blender that started this one is done with it, or is gone. Then
    nobody else removes the frames of an export that has not ``ended``."""

    def watch() -> None:
        while os.read(0, 4096):  # not sys.stdin, whose lock a dying interpreter wants
            pass
        shutil.rmtree(scratch, ignore_errors=True)
        tries = 0
        while not ended.is_set() and folder.exists() and tries < 100:  # one more may be written
            shutil.rmtree(folder, ignore_errors=True)
            tries += 1
        os._exit(1)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


main()
