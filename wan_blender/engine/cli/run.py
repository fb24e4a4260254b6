# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of ``engine run``, and the jobs they name. stdlib only."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from ...core.errors import BadRequest, from_os_error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", type=job_folder, nargs="*", metavar="JOB", help="folder of a job")
    parser.add_argument(
        "--list",
        type=Path,
        metavar="FILE",
        help="a file with a folder on each line, relative to the file; - is stdin",
    )
    parser.add_argument("--batch", type=Path, metavar="DIR", help="a folder of job folders")
    parser.add_argument(
        "--unfinished",
        action="store_true",
        help="leave jobs that have a result as they are; --list and --batch always do",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds to wait, after all others, for jobs that another process works on",
    )
    parser.add_argument(
        "--with-and-without",
        action="store_true",
        help="also make the take without hygiene, in a folder beside, and compare both; one JOB",
    )


def job_folder(text: str) -> Path:
    """The folder of a job, also of one whose job.json is named."""
    path = Path(text)
    return path.parent if path.name == "job.json" else path


def is_single(options: argparse.Namespace) -> bool:
    """Whether the command names one JOB alone, whose report is printed."""
    return len(options.job) == 1 and not options.list and not options.batch


def named_jobs(options: argparse.Namespace) -> list[Path]:
    """Every folder that the command names, once, in order. Raises BadRequest where there is
    none."""
    named = [*options.job, *_listed(options.list), *jobs_in(options.batch)]
    folders = list({folder.absolute(): folder for folder in named}.values())
    if not folders:
        raise BadRequest("No job is named.", "Give JOB..., --list FILE or --batch DIR.")
    if options.with_and_without and not is_single(options):
        raise BadRequest("--with-and-without takes one JOB.", "Run the others by themselves.")
    return folders


def _listed(file: Path | None) -> Iterable[Path]:
    if file is None:
        return []
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError):
            raise from_os_error(error, "reading the list of jobs") from error
        raise BadRequest(f"{file} is not text: {error}.", "Write one folder on a line.") from error
    base = Path.cwd() if str(file) == "-" else file.parent
    return [job_folder(str(base / line.strip())) for line in text.splitlines() if line.strip()]


def jobs_in(folder: Path | None) -> Iterable[Path]:
    """The job folders of a batch. Raises BadRequest."""
    if folder is None:
        return []
    if not folder.is_dir():
        raise BadRequest(f"There is no folder {folder}.", "Export the batch first.")
    return sorted(path.parent for path in folder.glob("*/job.json"))
