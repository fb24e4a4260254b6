# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m wan_blender.engine run|check|forecast|report|serve|doctor|hygiene|matte|models

Exit codes: 0 done, 1 failed, 2 bad request, 75 another process works on the job, 130 cancelled.
Results are JSON on stdout, progress and errors go to stderr; those of check, forecast, report,
hygiene, matte, models and serve are JSON, too, unless a person reads them in a terminal. Several
jobs of `run` are one line of JSON each (cli/batch.py).
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from ..core.answers.report import Report
from ..core.answers.typed import to_json
from ..core.console import ProgressPrinter, claim_stdout
from ..core.errors import BadRequest, EngineMissing, WanError
from .cli import run as run_command

# Each command imports what it needs: doctor has to run where the packages are missing.


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        options = _parse(arguments)
        return COMMANDS[options.command](options)
    except WanError as error:
        failed = error
    except ImportError as error:
        if (error.name or "").startswith("wan_blender"):
            raise
        failed = EngineMissing(
            f"{sys.executable} cannot run the engine: {error}.",
            "Run it with the Python of the engine's environment; "
            f"`{sys.executable} -m wan_blender.engine doctor` lists what is missing.",
        )
    told = f"{failed.code}: {failed}"
    if arguments[0] in CALLED and not sys.stderr.isatty():
        told = json.dumps({"error": failed.to_dict()})
    print(told, file=sys.stderr, flush=True)
    return failed.exit_code


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="wan_blender.engine", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run_command.add_arguments(commands.add_parser("run", help="generate the jobs in folders"))
    check = commands.add_parser("check", help="dry run: sizes, masks, memory; loads no model")
    check.add_argument("job", type=run_command.job_folder)
    forecast = commands.add_parser("forecast", help="the memory a run would take, from its sizes")
    forecast.add_argument("job", nargs="?", help="JSON as in job.json")
    forecast.add_argument("--batch", type=Path, help="instead: the card each job in it wants")
    held = "GB on the device that a warm engine holds and would let go of"
    forecast.add_argument("--held", type=float, default=0.0, metavar="GB", help=held)
    forecast.add_argument("--mask", type=Path, metavar="FILE", help="the mask's preview, .npz")
    report = commands.add_parser("report", help="a page, CSV and JSON lines about a batch")
    report.add_argument("batch", type=Path, help="its folder")
    commands.add_parser("serve", help="answer messages on stdin and stdout until EOF")
    doctor = commands.add_parser("doctor", help="say what is wrong with this installation")
    doctor.add_argument("--json", action="store_true", help="the lines as a JSON list")
    hygiene = commands.add_parser(
        "hygiene", help="attention sinks of pictures: see, soften, compare"
    )
    matte = commands.add_parser("matte", help="find a thing in a picture, follow it over a shot")
    models = commands.add_parser(
        "models", help="list, scan, identify, describe, price, fetch, compose", add_help=False
    )
    models.add_argument("rest", nargs=argparse.REMAINDER)
    if arguments[:1] == ["hygiene"]:
        from .cli import hygiene as command

        command.add_arguments(hygiene)
    elif arguments[:1] == ["matte"]:
        from .cli import matte as matte_command

        matte_command.add_arguments(matte)
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> int:
    from ..core.files import has_room
    from . import signals
    from .cli.batch import Batch, wait_for

    folders = run_command.named_jobs(options)
    out = claim_stdout()
    stop = signals.listen()
    again = not (options.unfinished or options.list or options.batch)
    single = run_command.is_single(options)
    held = None if single else _hold()
    printer = ProgressPrinter()

    def run(folder: Path, forget_cancel: bool) -> tuple[Report, bool]:
        return _generate(folder, stop, again, forget_cancel, held, printer)

    with printer.heartbeat():
        if not single:
            return Batch(folders, run, has_room, out, stop, options.wait)()
        folder = options.job[0]
        if options.with_and_without:
            _make_without(folder, stop)
        return _print(wait_for(lambda: run(folder, True), options.wait, stop)[0], out)


def _hold() -> Any:
    from .models.held import Held

    return Held()


def _make_without(folder: Path, stop: threading.Event) -> None:
    from .hygiene.measure.takes import make_without

    _generate(make_without(folder), stop, again=False, forget_cancel=True)


def _generate(
    folder: Path,
    stop: threading.Event,
    again: bool,
    forget_cancel: bool,
    held: Any = None,
    printer: ProgressPrinter | None = None,
) -> tuple[Report, bool]:
    from . import worker
    from .once import run_once
    from .watch import Watch

    try:
        watch = Watch(folder, printer or ProgressPrinter(), stop)
        return run_once(folder, watch, again, forget_cancel, held)
    except Exception as error:
        worker.record_failure(folder, error)
        raise worker.describe(error) from error


def _check(options: argparse.Namespace) -> int:
    from .check import check

    return _print(check(options.job))


def _forecast(options: argparse.Namespace) -> int:
    if options.batch:
        from .cards import needs_of

        return _print({"needs_gb": needs_of(run_command.jobs_in(options.batch))})
    if options.job is None:
        raise BadRequest("No job is named.", "Give one as JSON, or --batch DIR.")
    from .forecast import forecast

    return _print(forecast(options.job, options.held, options.mask))


def _report(options: argparse.Namespace) -> int:
    from .cli.report import report

    return _print(report(options.batch))


def _serve(options: argparse.Namespace) -> int:
    from . import worker

    out = claim_stdout()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the host decides; its end is our EOF
    return worker.Worker(sys.stdin, out).serve()


def _doctor(options: argparse.Namespace) -> int:
    from .doctor import examine

    findings = examine()
    lines = [finding.line for finding in findings]
    print(json.dumps(lines) if options.json else "\n".join(lines))
    return 1 if any(f.bad for f in findings) else 0


def _hygiene(options: argparse.Namespace) -> int:
    from .cli import hygiene as command

    return command.run(options)


def _matte(options: argparse.Namespace) -> int:
    from .cli import matte as command

    return command.run(options)


def _models(options: argparse.Namespace) -> int:
    from .cli.models import main as models

    return models(options.rest)


def _print(data: Any, out: Any = None) -> int:
    out = out or sys.stdout
    json.dump(to_json(data), out, indent=2, ensure_ascii=False)
    out.write("\n")
    out.flush()
    return 0


COMMANDS = {
    "run": _run,
    "check": _check,
    "forecast": _forecast,
    "report": _report,
    "serve": _serve,
    "doctor": _doctor,
    "hygiene": _hygiene,
    "matte": _matte,
    "models": _models,
}

# By Blender, which reads their errors as JSON (process/call.py, process/engine.py).
CALLED = ("check", "forecast", "report", "hygiene", "matte", "models", "serve")

if __name__ == "__main__":
    sys.exit(main())
