# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages between Blender and the engine: one JSON object a line over the child's pipes.

Both sides import this module, so a message has one definition. ``kind`` is the class name.

    host -> engine   Run  Check  Cancel  LimitCache  FreeMemory  Shutdown
    engine -> host   Hello  Ready  Heartbeat  Progress  Done  Checked  MemoryFreed  Failed

The engine says Hello first, before it imports anything large, and Ready once it has; what is sent
between the two waits. A host that reads another ``protocol`` refuses it. Frames never travel in
messages, only the paths of job folders do. stdin EOF tells the engine that its host is gone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields

from .answers.report import Report
from .answers.typed import read, to_json
from .errors import ProtocolError

VERSION = 3


@dataclass(frozen=True)
class Run:
    """Generate the job in folder ``job``; ``unfinished``: unless it has a result, which then is the
    answer."""

    job: str
    unfinished: bool = False


@dataclass(frozen=True)
class Check:
    """Dry run of the job in folder ``job``: sizes, masks, memory; loads no model."""

    job: str


@dataclass(frozen=True)
class Cancel:
    """Stop the job within one step. A job that still waits is dropped."""

    job: str


@dataclass(frozen=True)
class LimitCache:
    """How much of the disk prompts and latents that are kept for later jobs may take, in 2**30
    bytes; 0 keeps nothing."""

    gigabytes: float


@dataclass(frozen=True)
class FreeMemory:
    """Let go of what is held for the next job; after the one that runs."""


@dataclass(frozen=True)
class Shutdown:
    """Finish cleanly and exit."""


@dataclass(frozen=True)
class Hello:
    """First message of the engine: who it is."""

    protocol: int
    engine: str  # version of wan_blender
    python: str
    pid: int


@dataclass(frozen=True)
class Ready:
    """The engine has imported what it works with."""

    torch: str  # version
    device: str  # "cuda", "mps" or "cpu"
    device_gb: float = 0.0  # all memory of the card, 1e9 bytes; 0 where there is none


@dataclass(frozen=True)
class Heartbeat:
    """Sent every few seconds, also while a step runs; silence means a hung process."""

    busy: str = ""  # folder of the running job, or ""
    memory_gb: float = 0.0  # resident memory of the engine process
    held_gb: float = 0.0  # on its device, let go as soon as a job needs the room; 1e9 bytes


@dataclass(frozen=True)
class Progress:
    """How far the job is. ``fraction`` (0..1) covers the whole job, ``step`` the phase."""

    job: str
    phase: str
    step: int = 0
    steps: int = 0
    fraction: float = 0.0
    eta_s: float = -1.0  # -1: not known yet


@dataclass(frozen=True)
class Done:
    """The result folder is complete on disk."""

    job: str
    result: str
    report: Report = field(default_factory=Report)


@dataclass(frozen=True)
class Checked:
    """Answer to Check: sizes, coverage, estimates and warnings in words."""

    job: str
    report: Report = field(default_factory=Report)


@dataclass(frozen=True)
class MemoryFreed:
    """Answer to FreeMemory."""

    memory_gb: float  # resident memory of the engine process now


@dataclass(frozen=True)
class Failed:
    """The job ended without a result; ``error`` is WanError.to_dict()."""

    job: str
    error: dict[str, str]


ToEngine = Run | Check | Cancel | LimitCache | FreeMemory | Shutdown
ToHost = Hello | Ready | Heartbeat | Progress | Done | Checked | MemoryFreed | Failed
Message = ToEngine | ToHost
_KINDS: dict[str, type] = {cls.__name__: cls for cls in Message.__args__}


def encode(message: Message) -> str:
    """One line of JSON, without the newline."""
    return json.dumps({"kind": type(message).__name__, **to_json(message)}, ensure_ascii=False)


def decode(line: str) -> Message:
    """The message in one line. Raises ProtocolError that quotes what was read."""
    try:
        data = json.loads(line)
        cls = _KINDS[data.pop("kind")]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ProtocolError(f"Not a message: {line[:200]!r} ({error}).") from error
    unknown = set(data) - {f.name for f in fields(cls)}
    if unknown:
        raise ProtocolError(f"{cls.__name__} has no field {sorted(unknown)}.")
    try:
        message: Message = read(cls, data, cls.__name__)
    except ValueError as error:
        raise ProtocolError(f"{error}.") from error
    return message
