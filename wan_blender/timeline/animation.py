# SPDX-License-Identifier: GPL-3.0-or-later
"""Keyframes and drivers of strips, which the scene holds under the strips' names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import bpy

from . import compat

# sequences_all in files of older versions
PATH = re.compile(r'^(sequence_editor\.(?:strips|sequences)_all\[")((?:[^"\\]|\\.)*)("\]\.)(.*)$')


def curves_of(scene: bpy.types.Scene, strip: str, names: tuple[str, ...]) -> list[Any]:
    """F-curves and drivers of the properties ``names`` of the strip of that name; "modifiers" is
    all of theirs."""
    data = scene.animation_data
    if data is None:
        return []
    return [curve for curve in _curves(data) if _matches(curve.data_path, strip, names)]


def rename(scene: bpy.types.Scene, old: str, new: str, names: tuple[str, ...]) -> None:
    """Let the animation of the properties ``names`` of strip ``old`` move those of ``new``."""
    data = scene.animation_data
    if data is None:
        return
    for user in _users(data):
        _own_action(user)

    def renamed(path: str) -> str:
        if not _matches(path, old, names):
            return path
        head, _, middle, rest = PATH.match(path).groups()
        return head + bpy.utils.escape_identifier(new) + middle + rest

    for curve in _curves(data):
        curve.data_path = renamed(curve.data_path)
    _rename_sources(data.drivers, scene, renamed)


def without(
    scene: bpy.types.Scene, is_dropped: Callable[[str, str], bool]
) -> list[bpy.types.Action]:
    """Take animation from a throw-away copy of a scene: ``is_dropped`` is asked with the name of a
    strip and the path below it. The scene gets copies of the actions that it is taken from, which
    are returned."""
    data = scene.animation_data
    if data is None:
        return []

    def goes(curve: Any) -> bool:
        found = PATH.match(curve.data_path)
        return found is not None and is_dropped(bpy.utils.unescape_identifier(found[2]), found[4])

    for driver in [driver for driver in data.drivers if goes(driver)]:
        data.drivers.remove(driver)
    copied = []
    for user in _users(data):
        if any(map(goes, compat.fcurves(user))):
            _copy_action(user)
            copied.append(user.action)
            for bag in compat.curve_bags(user):
                for curve in [curve for curve in bag.fcurves if goes(curve)]:
                    bag.fcurves.remove(curve)
    return copied


def _rename_sources(drivers: Any, scene: bpy.types.Scene, renamed: Callable[[str], str]) -> None:
    """What drivers of the scene read from the strip, they read from the other one."""
    for driver in drivers:
        for variable in driver.driver.variables:
            for target in variable.targets:
                if target.id == scene:
                    target.data_path = renamed(target.data_path)


def _users(data: bpy.types.AnimData) -> list[bpy.types.AnimData | bpy.types.NlaStrip]:
    """What holds an action: the scene, and the strips of its NLA."""
    return [data, *(strip for track in data.nla_tracks for strip in track.strips)]


def _own_action(data: bpy.types.AnimData | bpy.types.NlaStrip) -> None:
    """Another scene may have its strips moved by the same action: it keeps it."""
    action = data.action
    if action is not None and action.users - action.use_fake_user > 1:
        _copy_action(data)


def _copy_action(data: bpy.types.AnimData | bpy.types.NlaStrip) -> None:
    slot = data.action_slot
    data.action = data.action.copy()
    if slot is not None:
        data.action_slot = data.action.slots.get(slot.identifier)


def _curves(data: bpy.types.AnimData) -> Iterator[Any]:
    yield from data.drivers
    for user in _users(data):
        yield from compat.fcurves(user)


def _matches(path: str, strip: str, names: tuple[str, ...]) -> bool:
    found = PATH.match(path)
    if found is None or found[2] != bpy.utils.escape_identifier(strip):
        return False
    return re.split(r"[.\[]", found[4])[0] in names
