# SPDX-License-Identifier: GPL-3.0-or-later
"""``scene.wan``: the settings classes of job.py as Blender properties, built from their schema.

A field added to a settings class, or a whole group added to ``Job``, appears here, in the panel
and in the file by itself. Nothing about a run is kept here: that is the session's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from ..core import job, schema
from ..core.errors import BadRequest, WanError
from ..core.settings import Job, Shot
from ..timeline import compat
from ..timeline.mattes import MatteChoice, list_mattes
from ..timeline.shot import ShotRequest, find_plate, read_shot
from ..timeline.span import Span

SPELLINGS = {
    **{word: word.upper() for word in ("cpu", "cuda", "mps", "fps", "vae", "vace", "id")},
    **{f"cuda:{index}": f"CUDA:{index}" for index in (1, 2, 3)},
    "dtype": "Precision",
    "lora": "LoRA",
    "loras": "LoRAs",
}
PATHS = {"path": "DIR_PATH", "file": "FILE_PATH"}


def groups() -> Iterator[tuple[str, type]]:
    """(name, settings class) of each group of a Job that the user sets."""
    types = schema.field_types(Job)
    for field in dataclasses.fields(Job):
        if field.name not in job.WRITTEN and "kind" not in field.metadata:
            yield field.name, types[field.name]


def label(name: str, unit: str = "") -> str:
    """A field's or choice's name as the interface shows it: "feather_px" in px is "Feather"."""
    words = name.removesuffix(f"_{unit}" if unit else "").split("_")
    return " ".join(SPELLINGS.get(word, word.capitalize()) for word in words)


def is_number_list(rules: dict[str, Any]) -> bool:
    """Such a list is one text field with commas; other lists are collections."""
    return rules["kind"] == "many" and rules["item"] in (int, float)


def _property(name: str, rules: dict[str, Any]) -> Any:
    kind = rules["kind"]
    common = {
        "name": label(name, rules.get("unit", "")),
        "description": rules["about"].rstrip("."),
        "options": set(),
    }
    if is_number_list(rules):
        return StringProperty(**common)
    if kind == "many":
        return CollectionProperty(type=_item_class(rules["item"]), **common)
    common["default"] = rules["default"]
    if kind == "flag":
        return BoolProperty(**common)
    if rules.get("subtype") == "matte":
        return StringProperty(search=_find_mattes, **common)
    if kind == "text":
        return StringProperty(subtype=PATHS.get(rules["subtype"], "NONE"), **common)
    if kind == "choice":
        items = [(key, label(key), text) for key, text in rules["choices"].items()]
        return EnumProperty(items=items, **common)
    return (IntProperty if kind == "integer" else FloatProperty)(**common, **_limits(rules))


def _find_mattes(owner: Any, context: bpy.types.Context, typed: str) -> list[str]:
    try:
        scene = compat.sequencer_scene(context)
        return [matte.id for matte in list_mattes(scene, find_plate(scene))]
    except WanError:
        return []


def _limits(rules: dict[str, Any]) -> dict[str, Any]:
    """Hard limits as declared; a slider reaches four times the default, where work is done."""
    low, high, default = rules["low"], rules["high"], rules["default"]
    reach = min(high, default * 4) if default > 0 else high
    limits = {"min": low, "max": high, "soft_min": max(low, -reach), "soft_max": reach}
    if rules["unit"] == "px":
        limits["subtype"] = "PIXEL"
    elif low >= 0 and high == 1:
        limits["subtype"] = "FACTOR"
    if rules["kind"] == "number" and high == 1:
        limits["precision"] = 3  # noise levels such as 0.875
    return limits


class WAN_PG_matte(bpy.types.PropertyGroup):
    """One matte the user chose for one plate."""

    plate: StringProperty(options=set())
    matte: StringProperty(options=set())
    channel: EnumProperty(
        name="Channel",
        description="What of the strip is the matte",
        items=[("luma", "Luma", "Its brightness"), ("alpha", "Alpha", "Its opacity")],
        options=set(),
    )
    operation: EnumProperty(
        name="Operation",
        description="How it joins the mattes above it",
        items=[
            ("add", "Add", "Generate here too"),
            ("subtract", "Subtract", "Keep the source here"),
            ("intersect", "Intersect", "Generate only where both are"),
        ],
        options=set(),
    )


class WAN_PG_line(bpy.types.PropertyGroup):
    """One text of a list of texts."""

    text: StringProperty(options=set())


def read(scene: bpy.types.Scene) -> Job:
    """The settings of ``scene`` as a job without a shot. Raises InvalidJob."""
    data = _read_settings(scene.wan, Job)
    for name, cls in groups():
        data[name] = _read_settings(getattr(scene.wan, name), cls)
    return schema.from_dict(Job, {"shot": {}, **data}, "scene.wan")


def _read_settings(owner: bpy.types.PropertyGroup, cls: type) -> dict[str, Any]:
    return {key: _read(getattr(owner, key), rules) for key, rules in schema.settings(cls)}


def _read(value: Any, rules: dict[str, Any]) -> Any:
    if rules["kind"] == "number":
        return float(f"{value:.7g}")  # Blender keeps 32 bit; 0.3 is not to become 0.30000001
    if is_number_list(rules):
        try:
            return [rules["item"](part) for part in value.split(",") if part.strip()]
        except ValueError:
            return value  # the schema says what it expected
    if rules["kind"] == "many":
        if rules["item"] is str:
            return [line.text for line in value]
        return [_read_settings(item, rules["item"]) for item in value]
    if rules.get("subtype") in PATHS:
        return bpy.path.abspath(value)
    return value


def assign(scene: bpy.types.Scene, values: Mapping[str, Any]) -> None:
    """Set settings by their dotted names: {"sampling.shift": 5.0, "stages": [...]}; the items of a
    list are settings objects or what JSON says of them. Raises InvalidJob, and then sets none."""
    asked = Job(shot=Shot())
    for path, value in values.items():
        group, _, name = path.rpartition(".")
        setattr(getattr(asked, group) if group else asked, name, value)
    checked = schema.from_dict(Job, {**schema.to_dict(asked), "shot": {}}, "scene.wan")
    for path in values:
        group, _, name = path.rpartition(".")
        settings, owner = (getattr(o, group) if group else o for o in (checked, scene.wan))
        _write_setting(
            owner, name, getattr(settings, name), dict(schema.settings(type(settings)))[name]
        )


def use_model(scene: bpy.types.Scene, path: str, stage: int = -1) -> None:
    """Generate with the model at ``path``, in the whole run or in one of its stages."""
    if 0 <= stage < len(scene.wan.stages):
        scene.wan.stages[stage].model = path
    else:
        scene.wan.model.path = path


def write(scene: bpy.types.Scene, settings: Job) -> None:
    """Put the settings of a job into ``scene``."""
    _write_settings(scene.wan, settings)
    for name, _ in groups():
        _write_settings(getattr(scene.wan, name), getattr(settings, name))


def _write_settings(owner: bpy.types.PropertyGroup, settings: Any) -> None:
    for key, rules in schema.settings(type(settings)):
        _write_setting(owner, key, getattr(settings, key), rules)


def _write_setting(
    owner: bpy.types.PropertyGroup, key: str, value: Any, rules: dict[str, Any]
) -> None:
    if is_number_list(rules):
        setattr(owner, key, ", ".join(str(part) for part in value))
    elif rules["kind"] == "many":
        items = getattr(owner, key)
        items.clear()
        for part in value:
            if isinstance(part, str):
                items.add().text = part
            else:
                _write_settings(items.add(), part)
    else:
        setattr(owner, key, value)


def chosen_mattes(scene: bpy.types.Scene, plate: str) -> list[MatteChoice]:
    """What the user chose for the strip named ``plate``; empty means: what the shot offers."""
    return [
        MatteChoice(item.matte, item.channel, item.operation)
        for item in scene.wan.mattes
        if item.plate == plate
    ]


def use_matte(scene: bpy.types.Scene, plate: str, strip: str) -> None:
    """Let the Mask strip of that name, over the strip named ``plate``, say where: all that lie over
    it do, unless the user chose some."""
    if chosen_mattes(scene, plate):
        item = scene.wan.mattes.add()
        item.plate, item.matte = plate, f"strip:{strip}"


def chosen_span(scene: bpy.types.Scene, plate: str) -> Span:
    """The frames chosen for the strip named ``plate``, by default its own. Raises InvalidJob."""
    if scene.wan.span_plate != plate:
        return Span()
    return schema.from_dict(Span, _read_settings(scene.wan.span, Span), "scene.wan.span")


def choose_span(scene: bpy.types.Scene, plate: str, span: Span) -> None:
    """Make ``span`` the frames chosen for the strip named ``plate``."""
    scene.wan.span_plate = plate
    _write_settings(scene.wan.span, span)


def read_request(
    scene: bpy.types.Scene,
    plate: bpy.types.Strip,
    settings: Job | None = None,
    choices: list[MatteChoice] | None = None,
    span: Span | None = None,
) -> ShotRequest:
    """The shot as the user set it up, for a run with ``settings``, ``choices`` and ``span``, by
    default the scene's. Raises WanError."""
    choices = choices or chosen_mattes(scene, plate.name)
    span, settings = span or chosen_span(scene, plate.name), settings or read(scene)
    mattes = model_matte(settings), blur_matte(settings)
    return read_shot(scene, plate, choices, span, *mattes, settings.output.place)


def model_matte(settings: Job) -> str:
    """What the model sees as the mask, by name or id; "" where it is not a matte of its own. Raises
    BadRequest where it is, and none is chosen."""
    if settings.model_mask.shape != "own":
        return ""
    if not settings.model_mask.matte:
        raise BadRequest(
            "model_mask.shape is 'own', and model_mask.matte names no matte.",
            "Choose the strip or mask that the model sees, or another shape.",
        )
    return settings.model_mask.matte


def blur_matte(settings: Job) -> str:
    """What hygiene follows, by name or id; "" where it follows none."""
    return settings.hygiene.matte if settings.hygiene.uses_map else ""


def choose_mattes(scene: bpy.types.Scene, plate: str, choices: list[MatteChoice]) -> None:
    """Make ``choices`` the chosen mattes of the strip named ``plate``."""
    for index in reversed(range(len(scene.wan.mattes))):
        if scene.wan.mattes[index].plate == plate:
            scene.wan.mattes.remove(index)
    for choice in choices:
        item = scene.wan.mattes.add()
        item.plate, item.matte = plate, choice.id
        item.channel, item.operation = choice.channel, choice.operation


def register() -> None:
    bpy.utils.register_class(WAN_PG_matte)
    bpy.utils.register_class(WAN_PG_line)
    _registered[:] = [WAN_PG_matte, WAN_PG_line]
    annotations = {"mattes": CollectionProperty(type=WAN_PG_matte), **_annotations(Job)}
    annotations["active_stage"] = IntProperty(options=set())  # shown in the list of stages
    annotations["span_plate"] = StringProperty(options=set())  # the one that span is for
    annotations["task_settings"] = StringProperty(options=set())  # JSON: what a task put in
    for name, cls in (*groups(), ("span", Span)):
        rules = {key: rule for key, rule in vars(cls).items() if isinstance(rule, property)}
        group = _class(f"WAN_PG_{name}", _annotations(cls), rules)
        annotations[name] = PointerProperty(type=group, name=label(name))
    settings = _class("WAN_PG_settings", annotations)
    bpy.types.Scene.wan = PointerProperty(type=settings, name="Wan")


def unregister() -> None:
    del bpy.types.Scene.wan
    while _registered:
        bpy.utils.unregister_class(_registered.pop())


_registered: list[type] = []


def _annotations(cls: type) -> dict[str, Any]:
    return {key: _property(key, rules) for key, rules in schema.settings(cls)}


def _item_class(item: type) -> type:
    """The element of a collection; made once, since several lists may hold the same."""
    if item is str:
        return WAN_PG_line
    name = f"WAN_PG_{item.__name__.lower()}_item"
    known = next((made for made in _registered if made.__name__ == name), None)
    return known or _class(name, _annotations(item))


def _class(
    name: str, annotations: dict[str, Any], rules: Mapping[str, property] | None = None
) -> type:
    """``rules`` are what the settings class concludes from its values; panels may ask it too."""
    body = {"__annotations__": annotations, "__module__": __name__, **(rules or {})}
    made = type(name, (bpy.types.PropertyGroup,), body)
    bpy.utils.register_class(made)
    _registered.append(made)
    return made
