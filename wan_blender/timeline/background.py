# SPDX-License-Identifier: GPL-3.0-or-later
"""Export in a second Blender, on a saved copy of the file, while the editor goes on working.

The copy and the request lie in ``<job>/export`` and go when the export ends, whichever way. The
child says how far it is in lines of JSON; ``export_main.py`` is its script. It ends with this
Blender: when its stdin ends, it removes the copy and exits.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import IO, Any

import bpy

from ..core import errors, job, schema
from ..core.files import write_json
from ..core.settings import Job, Shot
from .shot import ShotRequest

SCRIPT = Path(__file__).with_name("export_main.py")
LAST_LINES = 12


class BackgroundExport:
    """One export. ``start`` it, ``poll`` until finished, take its ``result``."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._messages: deque[dict[str, Any]] = deque(maxlen=1)  # the newest says it all
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._readers: list[threading.Thread] = []

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
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=_environment(),
                cwd=Path(command[0]).parent,
            )
        except errors.WanError:
            self._clean()
            raise
        except OSError as error:
            self._clean()
            raise errors.from_os_error(error, "starting the export") from error
        atexit.register(self.cancel)
        self._read(self._child.stdout, self._hear)
        self._read(self._child.stderr, self._last_lines.append)

    def poll(self) -> tuple[bool, float]:
        """(finished, fraction done). Never blocks."""
        message = self._messages[-1] if self._messages else {}
        return not self._runs(), message.get("done", 0) / message.get("total", 1)

    def result(self) -> Shot | None:
        """The exported shot, None for a preview, once finished. Raises what the child raised, or
        EngineDied with its last lines where it could not say."""
        self._end()
        message = self._messages[-1] if self._messages else {}
        if "shot" in message:
            return Shot(**message["shot"]) if message["shot"] else None
        if "error" in message:
            raise errors.from_dict(message["error"])
        raise errors.EngineDied(
            f"The background Blender that exports ended with code {self._child.returncode}.",
            "Its last lines: " + " | ".join(self._last_lines),
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
            self._messages.append(json.loads(line))

    def _runs(self) -> bool:
        # The last message may still be on its way after the child has ended.
        return self._child.poll() is None or any(r.is_alive() for r in self._readers)

    def _read(self, pipe: IO[str], take: Any) -> None:
        def read() -> None:
            with pipe:
                for line in pipe:
                    take(line.rstrip())

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        self._readers.append(reader)

    def _end(self) -> None:
        with contextlib.suppress(OSError):  # a killed child's pipe
            self._child.stdin.close()  # the child exits
        self._child.wait()
        for reader in self._readers:
            reader.join()
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
