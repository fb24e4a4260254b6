# SPDX-License-Identifier: GPL-3.0-or-later
"""What is unfinished in a batch, cut into lists of one model each, for schedulers that start a
process for each task: ``engine run --list`` then loads a model once for a list. stdlib only."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.errors import BadRequest, WanError, from_os_error
from ..core.result import find_result
from .driver import read_work
from .order import Work
from .status import list_jobs

FOLDER = ".chunks"


@dataclass(frozen=True)
class Chunk:
    """Jobs of one model. ``file`` lists their folders, relative to itself."""

    file: Path
    jobs: tuple[str, ...]
    priority: int
    gpu_gb: float = 0.0  # what the jobs want of a card; 0 where that is not known


def write_chunks(
    batch: Path, jobs_each: int = 8, needs_gb: Mapping[str, float] | None = None
) -> list[Chunk]:
    """Write the lists of a batch; those of an earlier call go. The highest priority comes first,
    then what takes longest. ``needs_gb`` has the memory that jobs want, by their folders' names.
    Raises BadRequest where nothing is unfinished, DiskFull."""
    folder = batch / FOLDER
    unfinished = [path for path in list_jobs(batch) if not find_result(path)]
    groups = _groups(unfinished, needs_gb or {})
    if not groups:
        raise BadRequest(f"{batch} has no unfinished job that can be run.", "Look at its report.")
    chunks: list[Chunk] = []
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for works in _cut(groups, jobs_each):
            file = folder / f"{len(chunks) + 1:05d}.txt"
            names = tuple(Path(work.folder).name for work in works)
            lines = "".join(f"..{os.sep}{name}\n" for name in names).replace("\\", "/")
            file.write_text(lines, encoding="utf-8")
            chunks.append(Chunk(file, names, works[0].priority, works[0].gpu_gb))
    except OSError as error:
        raise from_os_error(error, "writing the lists of the batch") from error
    return chunks


def _groups(folders: list[Path], needs_gb: Mapping[str, float]) -> list[list[Work]]:
    """Work of one priority, model and card; what cannot be read is left to `status`."""
    groups: dict[tuple[int, str, float], list[Work]] = defaultdict(list)
    for path in folders:
        try:
            work = read_work(path)
        except WanError:
            continue
        work = replace(work, gpu_gb=needs_gb.get(path.name, 0.0))
        groups[work.priority, work.model, work.gpu_gb].append(work)
    return list(groups.values())


def _cut(groups: list[list[Work]], jobs_each: int) -> list[list[Work]]:
    """Seeds of one shot stay together where they can."""
    cut = []
    for works in groups:
        works.sort(key=lambda work: (work.shot, -work.cost_s, work.folder))
        cut += [works[n : n + jobs_each] for n in range(0, len(works), jobs_each)]
    return sorted(cut, key=lambda works: (-works[0].priority, -sum(work.cost_s for work in works)))
