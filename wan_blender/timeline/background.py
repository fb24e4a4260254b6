# SPDX-License-Identifier: GPL-3.0-or-later
"""Export in a second Blender, on a saved copy of the file, while the editor goes on working.

The copy and the request lie in ``<job>/export`` and go when the export ends, whichever way. The
child says how far it is in lines of JSON; ``export_main.py`` is its script. It ends with this
Blender: when its stdin ends, it removes the copy and exits.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import bpy

from ..core import errors, job, schema
from ..core.files import write_json
from ..core.settings import Job, Shot
from ..process.child import Child
from .shot import ShotRequest

SCRIPT = Path(__file__).with_name("export_main.py")


class BackgroundExport:
    """One export. ``start`` it, ``poll`` until finished, take its ``result``."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._newest: dict[str, Any] = {}  # the newest message says it all

    def start(
        self,
        request: ShotRequest,
        folder: Path,
        preview: dict[str, Any] | None = None,
        settings: Job | None = None,
    ) -> None:
        """Save the copy, which blocks, and start the child. Raises DiskFull.

        With ``settings`` the child makes the folder a whole job, so that nothing is lost when this
        Blender dies as the export ends. With ``preview``, what ``preview.make`` takes, the mask
        alone is exported and looked at.
        """
        self._scratch = folder / "export"
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
            blend = self._scratch / "shot.blend"
            write_json(
                self._scratch / "request.json",
                {
                    "blend": str(blend),
                    "folder": str(folder),
                    "request": request.to_dict(),
                    "preview": preview,
                    "settings": schema.to_dict(settings) if settings else None,
                },
            )
            _save_copy(blend)
            command = [*_interpreter(blend), str(self._scratch / "request.json")]
            self._child = Child(command, self._hear, listens=True, environment=_environment())
        except errors.WanError:
            self._clean()
            raise
        except OSError as error:
            self._clean()
            raise errors.from_os_error(error, "starting the export") from error
        atexit.register(self.cancel)

    def poll(self) -> tuple[bool, float]:
        """(finished, fraction done). Never blocks."""
        return self._child.finished, self._newest.get("done", 0) / self._newest.get("total", 1)

    def result(self) -> Shot | None:
        """The exported shot, None for a preview, once finished. Raises what the child raised, or
        EngineDied with its last lines where it could not say."""
        self._end()
        message = self._newest
        if "shot" in message:
            return Shot(**message["shot"]) if message["shot"] else None
        if "error" in message:
            raise errors.from_dict(message["error"])
        raise errors.EngineDied(
            f"The background Blender that exports ended with code {self._child.code}.",
            "Its last lines: " + " | ".join(self._child.last_lines),
        )

    def cancel(self) -> None:
        """End the child at once and remove the copy and the frames written so far."""
        if self._child is None or not self._scratch.exists():
            return  # not started, or over
        self._child.kill()
        self._end()
        for name in (job.PLATE, job.MASK, job.MODEL_MASK, job.BLUR_MATTE):
            shutil.rmtree(self._scratch.parent / name, ignore_errors=True)

    def _hear(self, line: str) -> None:
        # Blender itself may print before the script has the pipe to itself.
        if line.startswith("{"):
            self._newest = json.loads(line)

    def _end(self) -> None:
        self._child.hang_up()  # it exits
        self._child.wait()
        self._clean()

    def _clean(self) -> None:
        atexit.unregister(self.cancel)
        shutil.rmtree(self._scratch, ignore_errors=True)


def _save_copy(path: Path) -> None:
    """Write the open file with all unsaved changes; the session goes on as if nothing was.

    Without the preview picture, which Blender would render for it: that takes up to a second, the
    rest milliseconds.
    """
    preferences = bpy.context.preferences
    preview, dirty = preferences.filepaths.file_preview_type, preferences.is_dirty
    preferences.filepaths.file_preview_type = "NONE"
    try:
        bpy.ops.wm.save_as_mainfile(
            filepath=str(path), copy=True, relative_remap=True, compress=False, check_existing=False
        )
    except RuntimeError as error:  # on a full disk it says "No such file or directory"
        said = str(error).strip()
        copy = f"A copy of the file could not be saved as {path} ({said})."
        raise errors.disk_full(copy, path.parent) from error
    finally:
        preferences.filepaths.file_preview_type = preview
        preferences.is_dirty = dirty


def _environment() -> dict[str, str]:
    """The host's without what is meant for its Python: nothing is imported from the folder that
    Blender was started in, where a project may lie that somebody sent."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return kept | {"PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _interpreter(blend: Path) -> list[str]:
    """How to run the script with bpy: this Blender without a window, or this Python where bpy is a
    module."""
    if bpy.app.module:
        return [sys.executable, str(SCRIPT), "--"]
    # A file that was opened as untrusted is no more trusted in the second Blender: there its
    # scripts would be the first to run.
    preferences = bpy.context.preferences.filepaths
    trust = preferences.use_scripts_auto_execute and not bpy.app.autoexec_fail
    return [
        bpy.app.binary_path,
        "--background",
        "--factory-startup",
        "--enable-autoexec" if trust else "--disable-autoexec",
        str(blend),
        "--python-exit-code",
        "1",
        "--python",
        str(SCRIPT),
        "--",
    ]
