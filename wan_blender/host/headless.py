# SPDX-License-Identifier: GPL-3.0-or-later
"""``blender project.blend --command wan_blender generate ...``: the whole path without a window;
``check`` with the same options stops before the model is loaded and says what would be run.

Progress goes to stderr, the result to stdout as one JSON object. Exit codes: 0 done, 1 failed,
2 bad request, 130 cancelled (Ctrl-C).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO

import bpy

from ..core import job, schema
from ..core.errors import BadRequest, UserError, WanError
from ..core.interrupts import interrupts
from ..core.result import RESULT
from ..core.settings import Job
from ..model_info.folder import is_bundled
from ..process.call import EngineCall
from ..timeline import mattes, shot
from ..timeline.place import Placement
from ..timeline.span import Span
from . import answer, preferences, properties, pump, tasks
from .blur_map import require_map, save_map, without_hygiene
from .jobs import LocalJob, make_room
from .printed_progress import PrintedProgress

SPAN = "span."  # settings of the export, not of the job


def main(arguments: list[str]) -> int:
    """Run one command; the process's exit code."""
    if {"-h", "--help"} & set(arguments):
        with contextlib.suppress(SystemExit):
            _parser().parse_args(arguments)
        return 0
    with _claim_stdout() as stdout:
        try:
            options = _parser().parse_args(arguments)
            told = answer.succeeded(**options.command(options))
        except WanError as error:
            print(f"wan_blender: {error}", file=sys.stderr)
            told = answer.failed(error)
        except Exception as error:  # noqa: BLE001 - a script waits for an answer, also from a bug
            traceback.print_exc()
            told = answer.failed(error)
        answer.say(told, stdout)
    return told["exit_code"]


def _claim_stdout() -> TextIO:
    """stdout for the answer alone; what else is printed from here to the process's end, some of
    it from C and late, goes to stderr."""
    sys.stdout.flush()
    stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stdout


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadRequest(f"The command is wrong: {message}.", f"See {self.prog} --help.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="blender FILE.blend --command wan_blender")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command, about in (
        (generate, "generate the masked part of one strip"),
        (check, "say what generate would do: sizes, mask, schedule, memory, notes"),
    ):
        run = commands.add_parser(command.__name__, help=about, description=about)
        run.set_defaults(command=command)
        _add_options(run)
    return parser


def _add_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("--strip", required=True, help="name of the strip to work on")
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
    run.add_argument("--engine", help="Python of the environment that runs the engine")
    run.add_argument(
        "--out",
        type=Path,
        help="folder to make the job in: new, empty, or with an unfinished job, which is made "
        "anew; check keeps none unless it is named",
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
    """Run the shot that ``options`` name, to its end. Raises WanError."""
    if options.save:
        _check_savable(options.save.absolute())
    scene, request, settings = _read(options)
    folder = (options.out or job.new_folder(preferences.jobs_root(), request.strip)).absolute()
    other = folder.with_name(f"{folder.name}-without")
    without = without_hygiene(settings) if options.with_and_without else None
    make_room(folder)
    if without:
        make_room(other, finished=True)
        without = _run(scene, request, without, other, options)
    local = _run(scene, request, settings, folder, options, without)
    if options.save:
        _save(local, options.save.absolute())
    return {
        **answer.of_job(local),
        "without": str(without.folder) if without else None,
        "saved": str(options.save.absolute()) if options.save else None,
    }


def check(options: argparse.Namespace) -> dict[str, Any]:
    """What the engine's ``check`` says of the shot that ``options`` name. Raises the WanError that
    running it would raise."""
    scene, request, settings = _read(options)
    if options.with_and_without:
        without_hygiene(settings)
    python = preferences.engine_python()
    scratch = Path(tempfile.mkdtemp(prefix="wan-check-"))
    try:
        folder = (options.out or scratch / "job").absolute()
        make_room(folder)
        placement = Placement.of(scene, request)
        pump.session().export(request, settings, folder, placement, PrintedProgress())
        save_map(folder, scene.sequence_editor.strips_all[request.strip], settings)
        plan = _ask(EngineCall(python, "check", str(folder)))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {"job": str(folder) if options.out else None, "check": plan}


def _ask(call: EngineCall) -> Any:
    """The call's answer. Ctrl-C cancels. Raises what the engine raised."""
    with interrupts() as interrupted:
        while not call.finished:
            if interrupted.is_set() and not call.cancelled:
                call.cancel()
            time.sleep(0.02)
    return call.result()


def _read(
    options: argparse.Namespace,
) -> tuple[bpy.types.Scene, shot.ShotRequest, Job]:
    """The scene, shot and settings that ``options`` name. Raises WanError."""
    scene = _scene(options.scene)
    if options.engine:
        preferences.get().python = options.engine
    plate = shot.find_plate(scene, options.strip)
    if options.task:
        tasks.set_up(scene, plate, options.task)
    choices = [mattes.read_choice(scene, plate, text) for text in options.matte or []]
    settings = _settings(scene, options)
    request = shot.read_shot(
        scene,
        plate,
        choices or properties.chosen_mattes(scene, plate.name),
        _span(scene, plate, options.set),
        properties.model_matte(settings),
        properties.blur_matte(settings),
        settings.output.place,
    )
    require_map(settings, plate)
    return scene, request, settings


def _run(
    scene: bpy.types.Scene,
    request: shot.ShotRequest,
    settings: Job,
    folder: Path,
    options: argparse.Namespace,
    compare_with: LocalJob | None = None,
) -> LocalJob:
    session = pump.session()
    local = session.submit(request, settings, folder, Placement.of(scene, request))
    save_map(folder, scene.sequence_editor.strips_all[request.strip], settings)
    if compare_with:
        job.compare_with(folder, compare_with.folder)
    local.wants_placing = options.save is not None
    session.wait(local, PrintedProgress())
    return local


def _scene(name: str | None) -> bpy.types.Scene:
    if name is None:
        return bpy.context.scene
    if name not in bpy.data.scenes:
        raise BadRequest(
            f"The file has no scene {name!r}.",
            f"Its scenes: {', '.join(scene.name for scene in bpy.data.scenes)}.",
        )
    return bpy.data.scenes[name]


def _settings(scene: bpy.types.Scene, options: argparse.Namespace) -> Job:
    settings = properties.read(scene)
    for path, value in (
        ("prompt.text", options.prompt),
        ("prompt.negative", options.negative),
        ("model.path", _model_path(options.model)),
    ):
        if value is not None:
            schema.assign(settings, path, value)
    for path, value in _assignments(options.set):
        if path.partition(".")[0] in job.WRITTEN:
            raise BadRequest(
                f"--set {path}: this is written by export and run, and cannot be set.",
                "Change the strip or the scene; the group span says which frames are taken.",
            )
        if not path.startswith(SPAN):
            schema.assign(settings, path, value)
    return settings


def _model_path(given: str | None) -> str | None:
    """Absolute, but for a bundled model ("", "nano/experts")."""
    return given if given is None or is_bundled(given) else str(Path(given).absolute())


def _span(scene: bpy.types.Scene, plate: bpy.types.Strip, texts: list[str]) -> Span:
    span = properties.chosen_span(scene, plate.name)
    for path, value in _assignments(texts):
        if path.startswith(SPAN):
            schema.assign(span, path.removeprefix(SPAN), value)
    return span


def _assignments(texts: list[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals:
            raise BadRequest(f"--set {text!r} has no '='.", "Write --set group.name=value.")
        yield path, value


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
