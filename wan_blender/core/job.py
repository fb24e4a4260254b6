# SPDX-License-Identifier: GPL-3.0-or-later
"""The job folder: everything that decides the pixels of one run, readable by a person.

    job.json            this module's Job, schema version first
    plate/000000.png    frames of the plate at its own size and bit depth, RGB or RGBA; .exr, half
                        float, linear Rec.709, where some are brighter than white (shot.peak)
    mask/000000.png     16-bit gray at plate size, white (65535) = generate
    model_mask/         the same for the model's eyes, when model_mask.shape is "own"
    start.png end.png   given first and last frame, when they are not the plate's own (any format)
    references/         pictures of what to generate, for VACE
    compare_with        name of the folder beside it with the take without hygiene; optional
    radius.png          16-bit gray blur map of the shot, white = 2.5 px; optional
    start_radius.png    the same of the start picture, where it has its own; optional
    blur_matte/         16-bit gray matte that hygiene follows; white = hygiene.matte_blur_px
    cancel              its presence stops the run within one step
    lock                held by the process that works on the job: lock.py
    state.jsonl         append-only journal: what happened, when
    log.txt             the engine's log of this job
    result/             appears whole by one rename when the run is done
        patch/          RGBA frames in the plate's format, alpha = composite matte
        frames/         full frames, on request
        takes.png       both takes, where there is one to compare with
        insight/        maps of what was measured, where the job asks for it
        report.json

All paths inside are relative, so the folder can be moved to another machine and run there.
No bpy, no torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

from . import schema
from .errors import InvalidJob, LengthMismatch, from_os_error
from .files import JOURNAL_BYTES, append, read_bytes, read_json, replacing, write_json
from .job_pictures import END, PICTURES, REFERENCES, START
from .moved_paths import move_paths
from .result import EARLIER, PART, RESULT
from .settings import Job, MadeWith, Shot

SCHEMA = 1
WRITTEN = ("shot", "made_with")  # groups of a Job that export and run write; nobody sets them
PLATE, MASK, MODEL_MASK = "plate", "mask", "model_mask"
RADIUS, START_RADIUS, BLUR_MATTE = "radius.png", "start_radius.png", "blur_matte"
COMPARE_WITH = "compare_with"
JOURNAL, LOG, CANCEL = "state.jsonl", "log.txt", "cancel"
PATCH, FRAMES, TAKES = "patch", "frames", "takes.png"
SETTLEDNESS, DECISIONS = "insight/settledness", "insight/decisions"


def create(folder: Path, job: Job) -> Path:
    """Write a new job folder's job.json; the frames are written beside it by the exporter."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        append_state(folder, "created")
        write_json(folder / "job.json", {"schema": SCHEMA, **schema.to_dict(job)})
    except OSError as error:
        raise from_os_error(error, "creating the job folder") from error
    return folder


def note_weights(folder: Path, made_with: MadeWith) -> None:
    """Write into job.json what its first run is made with; the rest of the file stays as it is, and
    so does what an earlier run has written."""
    path = folder / "job.json"
    data = read_json(path)
    if not data.get("made_with", {}).get("fingerprint"):
        write_json(path, data | {"made_with": schema.to_dict(made_with)})


def new_folder(root: Path, strip: str) -> Path:
    """A folder name that sorts by time, says the strip and cannot collide."""
    return root / f"{time.strftime('%Y%m%d-%H%M%S')}-{folder_slug(strip)}-{uuid.uuid4().hex[:6]}"


def folder_slug(strip: str) -> str:
    """The part of a strip's name that every file system takes."""
    return re.sub(r"[^A-Za-z0-9]+", "-", strip).strip("-")[:32] or "shot"


def read(folder: Path) -> Job:
    """Read and validate job.json, its paths as this machine calls them (moved_paths.py). Raises
    InvalidJob that names the field or the file."""
    path = folder / "job.json"
    try:
        data = read_json(path)
    except FileNotFoundError as error:
        raise InvalidJob(
            f"{folder} is not a job folder: it has no job.json.",
            "Give the folder of an exported shot.",
        ) from error
    except OSError as error:
        raise from_os_error(error, "reading job.json") from error
    except ValueError as error:
        raise InvalidJob(
            f"{path} is not valid JSON: {error}.", "Correct it, or export the shot again."
        ) from error
    if not isinstance(data, dict):
        raise InvalidJob(f"{path} holds {type(data).__name__}; expected an object.")
    version = data.pop("schema", None)
    if version != SCHEMA:
        raise InvalidJob(
            f"{path} has schema version {schema.show(version)}; this version reads {SCHEMA}.",
            "Export the shot again, or run the job with the version that wrote it.",
        )
    return move_paths(schema.from_dict(Job, data, "job.json"))


def frame_files(folder: Path, job: Job) -> tuple[list[Path], list[Path]]:
    """Plate and mask files in frame order; a one-frame mask serves every frame.

    Raises InvalidJob for missing frames, LengthMismatch with both numbers for a mask of
    another length.
    """
    plate = _numbered(folder / PLATE, job.shot.suffix)
    if len(plate) != job.shot.frame_count:
        raise InvalidJob(
            f"{folder / PLATE} holds {len(plate)} {job.shot.suffix} frames; job.json's "
            f"shot.frame_count says {job.shot.frame_count}.",
            "Export the shot again.",
        )
    return plate, mask_files(folder / MASK, len(plate))


def mask_files(folder: Path, frames: int) -> list[Path]:
    mask = _numbered(folder)
    if len(mask) == 1:
        mask *= frames
    if len(mask) != frames:
        raise LengthMismatch(
            f"{folder} has {len(mask)} mask frames, the plate has {frames} frames.",
            "Export the shot again, or give one mask frame for all or one for each.",
        )
    return mask


def _numbered(folder: Path, suffix: str = ".png") -> list[Path]:
    files = sorted(p for p in folder.glob(f"*{suffix}") if p.stem.isdecimal())
    for number_, path in enumerate(files):
        if int(path.stem) != number_:
            raise InvalidJob(
                f"{folder / f'{number_:06d}{suffix}'} is missing.", "Export the shot again."
            )
    return files


def frame_name(index: int) -> str:
    """Of a mask or a map."""
    return f"{index:06d}.png"


def picture_name(index: int, shot: Shot) -> str:
    """Of a frame of the plate or the result."""
    return f"{index:06d}{shot.suffix}"


def append_state(folder: Path, event: str, **details: Any) -> None:
    """One line in the journal. The journal informs; only result/ means done."""
    line = json.dumps(
        {"time": round(time.time(), 3), "event": event, **details}, ensure_ascii=False
    )
    with append(folder / JOURNAL) as journal:
        if end := journal.seek(0, os.SEEK_END):
            journal.seek(end - 1)
            if journal.read(1) != b"\n":  # a line that was cut off stays its own
                line = "\n" + line
        journal.write(f"{line}\n".encode("utf-8", "backslashreplace"))


def read_events(folder: Path) -> list[str]:
    """What the journal says happened, oldest first. Lines that cannot be read are passed over."""
    try:
        lines = read_bytes(folder / JOURNAL, JOURNAL_BYTES).splitlines()
    except OSError:
        return []
    events = []
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            events.append(json.loads(line)["event"])
    return [event for event in events if isinstance(event, str)]


def compare_with(folder: Path, other: Path) -> None:
    """Let the run in ``folder`` end with a comparison with the take in ``other``, beside it.
    Raises DiskFull."""
    try:
        with replacing(folder / COMPARE_WITH) as file:
            file.write(other.name.encode())
    except OSError as error:
        raise from_os_error(error, "writing the job") from error


def request_cancel(folder: Path) -> None:
    append(folder / CANCEL).close()


def cancel_requested(folder: Path) -> bool:
    return (folder / CANCEL).exists()


def clear_cancel(folder: Path) -> None:
    (folder / CANCEL).unlink(missing_ok=True)


def clear(folder: Path) -> None:
    """Remove what exports and runs have left, so that the shot can be exported again; files of
    others stay. Raises DiskFull."""
    unfinished = ("export", PART, EARLIER)
    try:
        if (folder / RESULT).exists():  # by a rename: half of one would look finished
            shutil.rmtree(folder / EARLIER, ignore_errors=True)
            os.replace(folder / RESULT, folder / EARLIER)
        for name in (PLATE, MASK, MODEL_MASK, BLUR_MATTE, REFERENCES, *unfinished):
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
        maps = (RADIUS, START_RADIUS)
        for name in ("job.json", JOURNAL, LOG, CANCEL, *maps, COMPARE_WITH):
            (folder / name).unlink(missing_ok=True)
        for name in (START, END):
            for picture in folder.glob(f"{Path(PICTURES[name]).stem}.*"):
                picture.unlink()
    except OSError as error:
        raise from_os_error(error, "clearing the job folder") from error
