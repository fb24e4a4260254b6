# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of the command line that say which shot, and how it is to be made."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import BadRequest
from ..model_info.folder import is_bundled
from . import tasks


def add_shot_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("--strip", action="append", help="name of the strip to work on")
    run.add_argument("--scene", help="name of its scene; the file's active one by default")
    run.add_argument("--prompt", help="what to generate inside the mask")
    run.add_argument("--negative", help="what to avoid")
    run.add_argument(
        "--task",
        choices=tasks.TASKS,
        help="set up the shot for this, as its button does, before all other options",
    )
    run.add_argument(
        "--matte",
        action="append",
        metavar="NAME[:luma|alpha][:add|subtract|intersect]",
        help="what says where to generate, by name or id; repeat to combine",
    )
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="GROUP.NAME=VALUE",
        help="any setting; those of the group span say which frames the shot has",
    )
    run.add_argument("--model", help="model folder, or nano/vace, nano/i2v, nano/experts")


def assignments(texts: list[str]) -> Iterator[tuple[str, str]]:
    """(name, value) of each --set. Raises BadRequest."""
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals:
            raise BadRequest(f"--set {text!r} has no '='.", "Write --set group.name=value.")
        yield path, value


def model_path(given: str | None) -> str | None:
    """Absolute, but for a bundled model ("", "nano/experts")."""
    return given if given is None or is_bundled(given) else str(Path(given).absolute())
