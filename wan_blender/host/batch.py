# SPDX-License-Identifier: GPL-3.0-or-later
"""``export`` and ``batch``: many shots without a window. ``export`` needs no engine; ``batch`` goes
on with the engine of this machine, and ends with the report."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..core import schema
from ..core.answers.report import Forecast
from ..core.answers.typed import to_json
from ..core.console import ProgressPrinter, interrupts
from ..core.errors import BadRequest, Cancelled, EngineDied, WanError
from ..core.protocol import Progress
from ..core.settings import Job, Shot
from ..farm import manifest
from ..farm.manifest import BatchShot
from ..farm.times import guess_cost, name_model, read_times
from ..process.call import EngineCall
from ..process.child import Child, could_not_start
from ..timeline.span import Span
from . import preferences
from .batch_export import BatchExport, Exported, ReadJob
from .shot_options import add_shot_options, assignments, model_path

SPAN = "span."
ASKED_FORECASTS = 16  # of different sizes and models, in a dry run


def add_commands(commands: Any) -> None:
    """``commands``: what argparse's add_subparsers gave."""
    for command, about in (
        (export, "write the job folders of many shots, for any machine to run"),
        (batch, "export, run on this machine, report"),
    ):
        parser = commands.add_parser(command.__name__, help=about, description=about)
        parser.set_defaults(command=command)
        parser.add_argument("--batch", type=Path, metavar="FILE", help="batch.toml")
        add_shot_options(parser)
        parser.add_argument(
            "--out", type=Path, required=True, help="folder of the batch; repeating is harmless"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="say what would be made, and make nothing"
        )
        parser.add_argument("--engine", help="Python of the environment that runs the engine")


def export(options: argparse.Namespace) -> dict[str, Any]:
    """Export what ``options`` name. Raises WanError where nothing was exported."""
    exporter = BatchExport(_plan(options), options.out)
    jobs = exporter.read()
    if options.dry_run:
        return {"out": str(exporter.out), **_describe(jobs, options)}
    return _answer(exporter, _export(exporter, jobs))


def batch(options: argparse.Namespace) -> dict[str, Any]:
    """Export, run and report. A shot or a job that fails does not stop the others."""
    if options.engine:
        preferences.get().python = options.engine
    python = preferences.engine_python()
    exporter = BatchExport(_plan(options), options.out)
    jobs = exporter.read()
    if options.dry_run:
        return {"out": str(exporter.out), **_describe(jobs, options)}
    told = _answer(exporter, _export(exporter, jobs))
    code, outcomes = _run(python, exporter.out)
    call = EngineCall(python, "report", str(exporter.out))
    call.wait()
    code = told["exit_code"] or code
    return {**told, "ok": code == 0, "exit_code": code, "run": outcomes, "report": call.result()}


def _plan(options: argparse.Namespace) -> manifest.BatchPlan:
    given = [options.scene, options.prompt, options.negative, options.task, options.matte,
             options.model, *options.set]  # fmt: skip
    if options.batch:
        if options.strip or any(given):
            raise BadRequest(
                "--batch names shots and settings; --strip and its like name them, too.",
                "Write them into the manifest.",
            )
        return manifest.read_manifest(options.batch)
    if not options.strip:
        raise BadRequest("No shot is named.", "Give --batch FILE, or --strip NAME.")
    shot = {"strips": list(dict.fromkeys(options.strip)), "mattes": options.matte or []}
    for name in ("scene", "prompt", "negative", "task"):
        if getattr(options, name):
            shot[name] = getattr(options, name)
    scratch, span, settings = Job(Shot()), Span(), {}
    for path, value in assignments(options.set):
        inside = path.startswith(SPAN)
        owner, name = (span, path.removeprefix(SPAN)) if inside else (scratch, path)
        settings[path] = schema.parse(owner, name, value)
    if options.model is not None:
        settings["model.path"] = model_path(options.model)
    return manifest.from_data({"shots": [{**shot, "settings": settings}]}, Path.cwd() / "batch")


def _export(exporter: BatchExport, jobs: list[ReadJob]) -> Exported:
    printer = ProgressPrinter("wan_blender: ")

    def show(shot: BatchShot, done: int, total: int) -> None:
        printer(Progress("", f"export of {shot.name}", done, total, done / total))

    with interrupts() as interrupted:
        return exporter.run(jobs, show, interrupted.is_set)


def _answer(exporter: BatchExport, told: Exported) -> dict[str, Any]:
    counts = {name: len(listed) for name, listed in asdict(told).items() if name != "failed"}
    code = 75 if told.busy else 0
    for failure in told.failed:
        code = 1
        error = failure["error"]
        print(f"wan_blender: {failure['shot']}: {error['message']}", file=sys.stderr, flush=True)
    if told.changed:
        print(
            f"wan_blender: {len(told.changed)} jobs were done before their .blend was changed; "
            "remove their folders to make them again.",
            file=sys.stderr,
        )
    return {
        "ok": code == 0,
        "exit_code": code,
        "out": str(exporter.out),
        "jobs": counts,
        "failed": told.failed,
    }


def _run(python: Path, out: Path) -> tuple[int, dict[str, int]]:
    """Run what is unfinished in ``out``; the exit code, and how many jobs ended in which way.
    Ctrl-C ends it after this step."""
    outcomes: Counter[str] = Counter()

    def hear(line: str) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            outcomes[json.loads(line)["outcome"]] += 1

    command = (python, "-m", "wan_blender.engine", "run", "--batch", out)
    try:
        child = Child(command, hear, lambda line: print(line, file=sys.stderr, flush=True))
    except OSError as error:
        raise could_not_start(python, error) from error
    with interrupts() as interrupted:
        told = False
        while not child.finished:
            if interrupted.is_set() and not told:
                child.terminate()
                told = True
            time.sleep(0.05)
    child.wait()
    if interrupted.is_set():
        raise Cancelled
    if child.code < 0:
        raise EngineDied(
            f"The engine ended by signal {-child.code}.", "Run the same command again: it goes on."
        )
    return child.code, dict(outcomes)


def _describe(jobs: list[ReadJob], options: argparse.Namespace) -> dict[str, Any]:
    """Jobs, sizes, disk, memory and time, before anything is written or loaded."""
    shots: dict[str, dict[str, Any]] = {}
    wanted: dict[str, list[str]] = {}
    for read in jobs:
        request = read.request
        described = shots.setdefault(
            read.key,
            {
                "shot": read.cell.shot.name,
                "frames": request.frame_count,
                "size": [request.width, request.height],
                "jobs": 0,
            },
        )
        described["jobs"] += 1
        wanted.setdefault(_forecast_of(read), []).append(read.cell.folder)
    pixels = {
        read.key: read.request.frame_count * read.request.width * read.request.height
        for read in jobs
    }
    # At most, as if PNG did not compress: RGBA in 16 bits and a mask once for each export, RGBA
    # for each result.
    disk = sum(pixels.values()) * 10 + sum(pixels[read.key] * 8 for read in jobs)
    return {
        "jobs": len(jobs),
        "shots": list(shots.values()),
        "disk_gb_at_most": round(disk / 1e9, 6),
        "memory": _forecasts(list(wanted)[:ASKED_FORECASTS], wanted, options),
        "memory_not_asked": max(0, len(wanted) - ASKED_FORECASTS),
        "time": _foretell_time(jobs, options.out),
        "cells": [
            {"job": read.cell.folder, "shot": read.cell.shot.name, **read.cell.varied}
            for read in jobs
        ],
    }


def _foretell_time(jobs: list[ReadJob], out: Path) -> dict[str, Any]:
    """Seconds on one engine, by what earlier jobs of the same models took here; ``not_known`` is
    how many jobs have a model that never ran."""
    times = read_times(_earlier_jobs(out))
    seconds, not_known, models = 0.0, 0, set()
    for read in jobs:
        request = read.request
        shot = Shot(width=request.width, height=request.height, frame_count=request.frame_count)
        settings = replace(read.settings, shot=shot)
        model = name_model(settings)
        models.add(model)
        spent = times.seconds(model, guess_cost(settings))
        seconds += spent or 0.0
        not_known += spent is None
    loading = sum(times.load_s(model) or 0.0 for model in models)
    return {"seconds": round(seconds + loading, 1), "not_known": not_known}


def _earlier_jobs(out: Path) -> Iterator[Path]:
    """Of the batch, then of this file, the newest first."""
    for root in (out, *preferences.jobs_roots()):
        with contextlib.suppress(OSError):
            yield from sorted(root.iterdir(), reverse=True)


def _forecast_of(read: ReadJob) -> str:
    """The job as the engine's forecast takes it; those that differ by seed or words are one."""
    request = read.request
    data = schema.to_dict(read.settings)
    data["shot"] = {
        "strip": "", "scene": "", "width": request.width, "height": request.height,
        "fps_num": request.fps_num, "fps_den": request.fps_den,
        "frame_count": request.frame_count,
    }  # fmt: skip
    data["prompt"], data["sampling"]["seed"] = {}, 0
    return json.dumps(data, sort_keys=True)


def _forecasts(
    asked: list[str], wanted: dict[str, list[str]], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """What the engine predicts for each of ``asked``; nothing where there is no engine."""
    if options.engine:
        preferences.get().python = options.engine
    found = []
    for data in asked:
        try:
            call = EngineCall(preferences.engine_python(), "forecast", data)
            call.wait()
            answer = to_json(call.answer(Forecast))
        except WanError as error:
            answer = {"error": error.to_dict()}
        found.append({"jobs": len(wanted[data]), "first": wanted[data][0], **answer})
    return found
