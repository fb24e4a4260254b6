# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch.toml to begin with, from what is selected in a timeline. stdlib only."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import BadRequest, from_os_error
from ..core.files import read_bytes, replacing
from . import manifest

HEAD = """\
# Shots of a batch; docs/batches.md has all that may stand here. What is not named is as the .blend
# has it: mattes, frames, settings.
version = 1
"""


@dataclass(frozen=True)
class DraftShot:
    blend: Path
    scene: str
    strip: str
    prompt: str


def write_draft(path: Path, shots: Sequence[DraftShot], seed: int, takes: int) -> None:
    """Write ``shots`` into the manifest ``path``, each with ``takes`` seeds from ``seed`` on.
    Raises InvalidBatch for what no manifest may hold, BadRequest where another file stands there,
    DiskFull."""
    if path.exists() and not _is_draft(path):
        raise BadRequest(
            f"{path} is there, and was not written by Batch...",
            "Somebody may have written it by hand. Give the new one another name.",
        )
    text = _draft(path.parent, shots, seed, takes)
    manifest.parse(text, path)
    try:
        with replacing(path) as file:
            file.write(text.encode("utf-8"))
    except OSError as error:
        raise from_os_error(error, "writing the batch") from error


def _is_draft(path: Path) -> bool:
    try:
        return read_bytes(path, manifest.BYTES).startswith(HEAD.encode())
    except OSError:
        return False


def _draft(base: Path, shots: Sequence[DraftShot], seed: int, takes: int) -> str:
    lines = [HEAD]
    if takes > 1:
        lines.append(f'[matrix]\nseeds = "{seed}-{seed + takes - 1}"\n')
    for shot in shots:
        named = {
            "blend": _relative(shot.blend, base),
            "scene": shot.scene,
            "strip": shot.strip,
            "prompt": shot.prompt,
        }
        lines.append("[[shots]]")
        lines += [f"{name} = {_quote(value)}" for name, value in named.items()]
        lines.append("")
    return "\n".join(lines)


def _relative(blend: Path, base: Path) -> str:
    try:
        return Path(os.path.relpath(blend, base)).as_posix()
    except ValueError:  # another drive of Windows
        return blend.as_posix()


def _quote(text: str) -> str:
    """A basic string of TOML: JSON's escapes are among its own, but for the one character that JSON
    leaves and TOML does not take. Raises BadRequest for names that are not text."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRequest(f"{text!r} cannot be written in a file of text.", "Rename it.") from error
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
