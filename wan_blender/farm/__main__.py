# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m wan_blender.farm plan|run|status|cancel|report|template: a batch on several engines

plan FILE      what batch.toml asks for, without opening a .blend
run DIR        the jobs of an exported batch, on this machine's engines or those of a Ray cluster
status DIR     how its jobs are;  cancel DIR  stop and drop those that are not done
report DIR     a page, CSV and JSON lines (by the engine)
template DIR   files for somebody else's farm: OpenJD or Flamenco

Exit codes: 0 done, 1 failed, 2 bad request, 75 busy, 130 cancelled. ``run`` prints a line of JSON
for each job as it ends, and how far the engines are on stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from ..core import job as jobs
from ..core.console import claim_stdout, interrupts
from ..core.errors import WanError, from_os_error
from ..core.moved_paths import read_moves
from ..process.call import EngineCall
from ..process.engine import find_python
from . import driver, manifest, templates
from .board import Board, BoardWriter
from .engines import start_local
from .needs import Needs
from .status import count, list_jobs, read_status

LOGS = ".logs"


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except WanError as error:
        print(f"{error.code}: {error}", file=sys.stderr, flush=True)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wan_blender.farm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    plan = commands.add_parser("plan", help="what a manifest asks for")
    plan.add_argument("manifest", type=Path)
    plan.set_defaults(command=_plan)
    for command, about in ((_run, "run the jobs of a batch"), (_status, "how its jobs are"),
                           (_cancel, "stop a batch"), (_report, "write its report"),
                           (_template, "make it a job of OpenJD or Flamenco")):  # fmt: skip
        one = commands.add_parser(command.__name__[1:], help=about)
        one.add_argument("batch", type=Path, help="folder of the batch")
        one.set_defaults(command=command)
        if command in (_run, _report):
            one.add_argument("--python", default="", help="Python of the engine's environment")
        if command is _template:
            _add_template_options(one)
        if command is _run:
            one.add_argument("--engines", type=int, default=1, help="of this machine; 1 by default")
            one.add_argument("--ray", metavar="ADDRESS", help="of a Ray cluster that runs")
            one.add_argument(
                "--cpus", type=int, default=4, help="for each engine on nodes without a GPU"
            )
            one.add_argument(
                "--patience", type=float, default=60.0, metavar="S",
                help="how long to wait for a node while there is none",
            )  # fmt: skip
    return parser


def _add_template_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", choices=list(templates.KINDS), required=True)
    parser.add_argument("--jobs", type=int, default=8, help="of one model in a task; 8 by default")
    parser.add_argument("--python", default="python", help="the engine's, on the workers")
    parser.add_argument("--package", default="", help="folder that holds wan_blender on workers")
    parser.add_argument("--paths", default="", help="FROM=TO;FROM=TO for paths inside the jobs")
    parser.add_argument("--gpus", type=int, default=0, help="that a worker must have (OpenJD)")
    parser.add_argument("--gpu-gb", type=float, default=0.0, help="memory of each (OpenJD)")
    parser.add_argument(
        "--cards",
        action="store_true",
        help="ask an engine of this machine what memory each job wants, and part the lists by it",
    )
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        type=_read_tag,
        metavar="GB=UUID",
        help="tag of the workers whose cards have GB (Flamenco); implies --cards",
    )
    parser.add_argument("--engine", default="", help="Python of this machine's engine")


def _template(options: argparse.Namespace) -> int:
    read_moves(options.paths)
    machine = templates.Machine(
        options.python, options.package, options.paths, options.gpus, options.gpu_gb,
        tuple(options.tag),
    )  # fmt: skip
    asked = options.cards or options.tag
    needs_gb = Needs(options.batch, options.engine).read() if asked else {}
    if asked and not needs_gb:
        print("No engine here says what memory the jobs want.", file=sys.stderr)
    jobs_each = max(1, options.jobs)
    return _print(templates.write_template(options.batch, options.to, machine, jobs_each, needs_gb))


def _read_tag(text: str) -> tuple[float, str]:
    gb, equals, tag = text.partition("=")
    if not (equals and tag):
        raise argparse.ArgumentTypeError(f"{text!r} is not GB=UUID")
    return float(gb), tag


def _plan(options: argparse.Namespace) -> int:
    plan = manifest.read_manifest(options.manifest)
    cells = [
        {"job": cell.folder, "line": cell.shot.line, "strip": cell.shot.strip, **cell.varied}
        for cell in plan.cells
    ]
    return _print({"shots": len(plan.shots), "jobs": len(cells), "cells": cells})


def _run(options: argparse.Namespace) -> int:
    folder = options.batch.absolute()
    list_jobs(folder)
    out = claim_stdout()  # Ray prints of nodes that die
    tell = partial(_tell, out)
    with driver.hold_batch(folder), interrupts() as stop:
        if options.ray:
            return _run_on_ray(folder, options, tell, stop)
        engines = start_local(max(1, options.engines), find_python(options.python), folder / LOGS)
        try:
            return _drive(driver.Driver(folder, engines, tell), stop)
        finally:
            for engine in engines:
                engine.stop()


def _run_on_ray(
    folder: Path, options: argparse.Namespace, tell: driver.Tell, stop: threading.Event
) -> int:
    from .ray_engines import Cluster  # Ray lives in an environment of its own

    needs = Needs(folder, options.python)
    with Cluster(options.ray, folder, options.python, max(1, options.cpus)) as cluster:
        more = cluster.look_for_more
        drive = driver.Driver(folder, [], tell, more, options.patience, needs.read())
        return _drive(drive, stop)


def _drive(drive: driver.Driver, stop: threading.Event) -> int:
    """Run it with a view of the engines on stderr, and on the board of the batch."""
    shown = ""

    def show() -> Board:
        nonlocal shown
        board = driver.read_board(drive)
        lines = "\n".join(_words(board, drive))
        if lines != shown:
            shown = lines
            print(lines, file=sys.stderr, flush=True)
        return board

    with BoardWriter(drive.folder, show):
        try:
            return drive.run(stop)
        finally:
            show()


def _words(board: Board, drive: driver.Driver) -> Iterator[str]:
    for line in board.engines:
        yield f"{line.name}: " + (
            f"{line.fraction:4.0%} {line.state}  {line.job}" if line.job else line.state
        )
    told = ", ".join(f"{number} {outcome}" for outcome, number in sorted(drive.counts.items()))
    left = f", about {board.left_s:.0f} s left" if len(drive.queue) and board.left_s >= 0 else ""
    yield f"{told or 'nothing done yet'}; {len(drive.queue)} wait{left}"


def _tell(out: TextIO, folder: str, outcome: str, error: dict[str, str]) -> None:
    told: dict[str, Any] = {"job": folder, "outcome": outcome, "time": round(time.time(), 3)}
    print(json.dumps(told | ({"error": error} if error else {})), file=out, flush=True)


def _status(options: argparse.Namespace) -> int:
    statuses = [read_status(path) for path in list_jobs(options.batch)]
    listed = [
        {"job": status.folder.name, "outcome": status.outcome, **status.error}
        for status in statuses
        if status.outcome != "done"
    ]
    return _print({"counts": count(statuses), "not_done": listed})


def _cancel(options: argparse.Namespace) -> int:
    asked = 0
    for path in list_jobs(options.batch):
        if read_status(path).outcome in ("waiting", "running"):
            try:
                jobs.request_cancel(path)
            except OSError as error:
                raise from_os_error(error, "cancelling the batch") from error
            asked += 1
    return _print({"cancelled": asked})


def _report(options: argparse.Namespace) -> int:
    call = EngineCall(find_python(options.python), "report", str(options.batch.absolute()))
    call.wait()
    return _print(call.result())


def _print(data: dict[str, Any]) -> int:
    print(json.dumps(data, indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
