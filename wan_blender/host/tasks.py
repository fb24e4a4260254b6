# SPDX-License-Identifier: GPL-3.0-or-later
"""What an editor may want of a shot, each as the settings it takes.

A task sets up; nothing runs before Generate is pressed. A setting changes only where it holds its
default or what a task put there, which is kept in the file; what the editor set, and words the
editor wrote, stay.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

import bpy

from ..core.errors import NothingSelected
from ..core.registry import find
from ..core.schema import settings
from ..timeline import sources
from ..timeline.mattes import EMPTY, WHOLE, MatteChoice, siblings
from . import properties

PROMPTS = ("prompt.text", "prompt.negative")


@dataclass(frozen=True)
class TaskButton:
    """``span`` is what kind of frames the shot has (timeline.span.Span.kind), ``matte`` the id of
    its only matte, or "" for the drawn ones. ``settings`` are values of a job by dotted name.
    ``words`` are prompts for when there are none."""

    label: str
    about: str
    span: str = "strip"
    matte: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)


TASKS = {
    "replace": TaskButton("Replace", "Make something else where the mask is"),
    "remove": TaskButton(
        "Remove",
        "Make the empty background where the mask is. The model sees a box around the mask, so "
        "that it cannot fill in the old outline",
        settings={
            "mask.grow_px": 8,
            "model_mask.shape": "box",
            "model_mask.grow_px": 16,
            "output.feather_px": 2.0,
        },
        words={
            "prompt.text": "empty background, nothing there",
            "prompt.negative": "person, animal, object, shadow, text",
        },
    ),
    "fill": TaskButton(
        "Fill",
        "Continue the picture where the strip leaves the canvas empty: scale or move it first",
        matte=EMPTY,
    ),
    "extend": TaskButton(
        "Extend",
        "Add new frames before or after the strip; its own stay as they are",
        span="extend",
        matte=EMPTY,
        settings={"model_mask.start_frames": 0, "output.match_cuts": "light"},
    ),
    "bridge": TaskButton(
        "Bridge",
        "Lead from one clip to the next over the gap or the cut between them: select both",
        span="bridge",
        matte=EMPTY,
        settings={"model_mask.start_frames": 0, "output.match_cuts": "light"},
    ),
    "restyle": TaskButton(
        "Restyle",
        "Make the whole picture over again from the shot itself. Less strength stays closer to it",
        matte=WHOLE,
        settings={"sampling.strength": 0.6},
    ),
    "still": TaskButton(
        "Still",
        "Make one frame over again, by default the one at the playhead, as a still above the strip",
        span="still",
    ),
}


def set_up(scene: bpy.types.Scene, plate: bpy.types.Strip, name: str) -> None:
    """Set mattes, frames and settings of ``scene`` for task ``name`` on ``plate``.

    Raises NothingSelected when more than one other clip is selected for a bridge, InvalidJob for an
    unknown task.
    """
    task = find(TASKS, name, "task")
    before = properties.chosen_span(scene, plate.name)
    span = replace(before, kind=task.span)
    if task.span == "bridge":
        span.other = _other_selected(scene, plate)
    properties.choose_span(scene, plate.name, span)
    _choose_matte(scene, plate, task.matte)
    if span.kind != before.kind:  # a limit to some frames was of the shot as it was
        scene.wan.mask.frames = ""
    _apply(scene, task.settings)
    for path in PROMPTS:
        made_here = {other.words.get(path, "") for other in TASKS.values()}
        if attrgetter(path)(scene.wan).strip() in made_here | {""}:
            _assign(scene, path, task.words.get(path, ""))


def _apply(scene: bpy.types.Scene, wanted: Mapping[str, Any]) -> None:
    """Take back what the task before put into settings, and put in ``wanted``, by dotted name;
    values that are neither a default nor a task's are the editor's and stay."""
    put = _put_before(scene)
    now = {}
    for path in sorted({*put, *wanted}):
        group, _, name = path.partition(".")
        owner = getattr(scene.wan, group)
        default = owner.bl_rna.properties[name].default
        if getattr(owner, name) not in (default, put.get(path, default)):
            continue
        setattr(owner, name, wanted.get(path, default))
        if path in wanted:
            now[path] = getattr(owner, name)  # as Blender keeps it: in 32 bit
    scene.wan.task_settings = json.dumps(now)


def _put_before(scene: bpy.types.Scene) -> dict[str, Any]:
    """What the task before set, by dotted name; of another version, what is known here."""
    put = json.loads(scene.wan.task_settings or "{}")
    known = {f"{group}.{name}" for group, cls in properties.groups() for name, _ in settings(cls)}
    return {path: put[path] for path in put if path in known}


def _assign(scene: bpy.types.Scene, path: str, value: Any) -> None:
    group, _, name = path.partition(".")
    setattr(getattr(scene.wan, group), name, value)


def _other_selected(scene: bpy.types.Scene, plate: bpy.types.Strip) -> str:
    """The other selected clip; "" when the next one on the channel is meant."""
    others = [
        s for s in siblings(scene, plate) if s.select and s != plate and sources.is_picture(s)
    ]
    if len(others) > 1:
        raise NothingSelected(
            f"{len(others) + 1} clips are selected; a bridge joins 2.", "Select two clips."
        )
    return others[0].name if others else ""


def _choose_matte(scene: bpy.types.Scene, plate: bpy.types.Strip, matte: str) -> None:
    """Only ``matte``; "" keeps drawn mattes and drops those that tasks chose."""
    made_here = {task.matte for task in TASKS.values()}
    drawn = [c for c in properties.chosen_mattes(scene, plate.name) if c.id not in made_here]
    properties.choose_mattes(scene, plate.name, [MatteChoice(matte)] if matte else drawn)
