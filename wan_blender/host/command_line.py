# SPDX-License-Identifier: GPL-3.0-or-later
"""``blender project.blend --command wan_blender generate ...``: the whole path without a window;
``check`` with the same options stops before the model is loaded and says what would be run.
``export`` and ``batch`` do many shots (batch.py).

Progress goes to stderr, the result to stdout as one JSON object. Exit codes: 0 done, 1 failed,
2 bad request, 75 another process works on the job, 130 cancelled (Ctrl-C).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

import bpy

from ..core import console, job
from ..core.errors import BadRequest, Cancelled, UserError, WanError
from ..core.result import RESULT
from ..hygiene.maps import folder_without
from ..process.call import EngineCall
from ..timeline import shot
from . import batch, preferences, request, tasks
from .jobs import LocalJob
from .shot_options import add_shot_options, assignments, model_path


def main(arguments: list[str]) -> int:
    """Run one command; the process's exit code."""
    if {"-h", "--help"} & set(arguments):
        with contextlib.suppress(SystemExit):
            _parser().parse_args(arguments)
        return 0
    with console.claim_stdout() as stdout:
        try:
            options = _parser().parse_args(arguments)
            outcome = console.succeeded(**options.command(options))
        except WanError as error:
            print(f"wan_blender: {error}", file=sys.stderr)
            outcome = console.failed(error)
        except Exception as error:  # noqa: BLE001 - a script waits for an answer, also from a bug
            traceback.print_exc()
            outcome = console.failed(error)
        console.say(outcome, stdout)
    return outcome["exit_code"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadRequest(f"The command is wrong: {message}.", f"See {self.prog} --help.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="blender FILE.blend --command wan_blender")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command, about in (
        (generate, "generate the masked part of strips, one after the other"),
        (check, "say what generate would do: sizes, mask, schedule, memory, notes"),
    ):
        run = commands.add_parser(command.__name__, help=about, description=about)
        run.set_defaults(command=command)
        _add_options(run)
    batch.add_commands(commands)
    return parser


def _add_options(run: argparse.ArgumentParser) -> None:
    add_shot_options(run)
    run.add_argument("--engine", help="Python of the environment that runs the engine")
    run.add_argument(
        "--out",
        type=Path,
        help="folder to make the job in: new, empty, or with an unfinished job, which is "
        "replaced; of several strips the folder of their folders; check keeps none unless it is "
        "named",
    )
    run.add_argument(
        "--with-and-without",
        action="store_true",
        help="also make the take without hygiene, in a folder beside, and compare both",
    )
    run.add_argument(
        "--save", type=Path, help="place the result and save the file as this; check saves nothing"
    )


def generate(options: argparse.Namespace) -> dict[str, Any]:
    """Run the shots that ``options`` name, each to its end. Raises WanError; of several shots that
    of the first that failed, after all others ran."""
    save = options.save.absolute() if options.save else None
    if save:
        _check_savable(save)
    asked = _read_all(options)  # before the first run all are known to be good
    folders = _folders(options.out, asked)
    told, failed, last = [], [], None
    for one, folder in zip(asked, folders, strict=True):
        try:
            last = request.submit(one, folder, places=save is not None)
        except Cancelled:
            raise
        except WanError as error:
            failed.append(error)
            print(f"wan_blender: {one.shot.strip}: {error}", file=sys.stderr)
        else:
            without = str(folder_without(last.folder)) if one.without else None
            told.append({"strip": one.shot.strip, **last.answer, "without": without})
    if save and last:
        _save(last, save)
    if failed:
        raise failed[0]
    saved = {"saved": str(save) if save else None}
    return told[0] | saved if len(told) == 1 else {"jobs": told} | saved


def check(options: argparse.Namespace) -> dict[str, Any]:
    """What the engine's ``check`` says of the shots that ``options`` name. Raises the WanError that
    running them would raise."""
    asked, python = _read_all(options), preferences.engine_python()
    if options.save:
        _check_savable(options.save.absolute())
    told = []
    with tempfile.TemporaryDirectory(prefix="wan-check-", ignore_cleanup_errors=True) as scratch:
        for one, folder in zip(asked, _folders(options.out, asked), strict=True):
            made = folder or Path(scratch) / f"job {len(told)}"
            request.export(one, made)
            plan = _ask(EngineCall(python, "check", str(made)))
            told.append({"job": str(made) if folder else None, "check": plan})
    return told[0] if len(told) == 1 else {"jobs": told}


def _folders(out: Path | None, asked: list[request.JobRequest]) -> list[Path | None]:
    """Where the jobs are made; None leaves it open. Raises BadRequest for names that, as names of
    folders, would be one."""
    if out is None or len(asked) == 1:
        return [out.absolute() if out else None] * len(asked)
    names = [job.folder_slug(one.shot.strip) for one in asked]
    if len(set(names)) < len(names):
        raise BadRequest(
            f"The strips {', '.join(one.shot.strip for one in asked)} would share a folder in "
            f"{out}.",
            "Rename one, or run each with an --out of its own.",
        )
    return [out.absolute() / name for name in names]


def _ask(call: EngineCall) -> Any:
    """The call's answer. Ctrl-C cancels. Raises what the engine raised."""
    with console.interrupts() as interrupted:
        while not call.finished:
            if interrupted.is_set() and not call.cancelled:
                call.cancel()
            time.sleep(0.02)
    return call.result()


def _read_all(options: argparse.Namespace) -> list[request.JobRequest]:
    """The jobs that ``options`` ask for, each strip once. Raises WanError."""
    if not options.strip:
        raise BadRequest("No strip is named.", "Name one or several with --strip.")
    scene = shot.find_scene(options.scene)
    if options.engine:
        preferences.get().python = options.engine
    return [_read(scene, strip, options) for strip in dict.fromkeys(options.strip)]


def _read(scene: bpy.types.Scene, strip: str, options: argparse.Namespace) -> request.JobRequest:
    """The job that ``options`` ask for on one strip. Raises WanError."""
    if options.task:
        tasks.set_up(scene, shot.find_plate(scene, strip), options.task)
    named = (
        ("prompt.text", options.prompt),
        ("prompt.negative", options.negative),
        ("model.path", model_path(options.model)),
    )
    settings = [(path, value) for path, value in named if value is not None]
    overrides = request.Overrides([*settings, *assignments(options.set)], options.matte or ())
    asked = request.read(scene, strip, overrides, pair=options.with_and_without)
    for note in asked.shot.notes:
        print(f"Note: {note}", file=sys.stderr)
    return asked


def _check_savable(path: Path) -> None:
    """Raise BadRequest before the run where its result could not be saved after it."""
    if path.is_dir():
        raise BadRequest(f"--save {path} is a folder.", "Name the .blend file to write.")
    if not path.parent.is_dir():
        raise BadRequest(
            f"--save {path}: there is no folder {path.parent}.", "Make it, or name another file."
        )
    if not os.access(path.parent, os.W_OK):
        raise BadRequest(
            f"--save {path}: the folder {path.parent} cannot be written.", "Name another file."
        )


def _save(local: LocalJob, path: Path) -> None:
    try:
        bpy.ops.wm.save_as_mainfile(filepath=str(path), check_existing=False)
    except RuntimeError as error:
        raise UserError(
            f"{path} could not be saved: {str(error).strip()}.",
            f"The result is in {local.folder / RESULT}.",
        ) from error
