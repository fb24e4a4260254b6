# SPDX-License-Identifier: GPL-3.0-or-later
"""Placing a result in the compositor: its frames over what the scene composites so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
from mathutils import Vector

from ..core import job
from . import compat
from .place import LINEAR, Placement, find_frames, moved_by, stored_path


def place_in_compositor(
    scene: bpy.types.Scene, placement: Placement, result_folder: Path, name: str
) -> bpy.types.Node:
    """The image node with the patch, laid over the compositor's output on the shot's frames.

    A plate that was moved since is followed. What was linked to the output stays below the patch.
    A result that is there already is not added again. Raises BadRequest when result frames are
    missing.
    """
    first = find_frames(result_folder, placement.frame_count)[0]
    tree = compat.ensure_node_tree(scene)
    known = _find(tree, first)
    if known is not None:
        return known
    picture = tree.nodes.new("CompositorNodeImage")
    picture.label = name
    picture.image = bpy.data.images.load(str(first), check_existing=False)
    picture.image.source = "SEQUENCE"
    picture.image.filepath = stored_path(first)
    if first.suffix == ".exr":
        picture.image.colorspace_settings.name = LINEAR
    moved = moved_by(scene, placement)
    picture.frame_start = placement.frame_start + moved
    picture.frame_duration = placement.frame_count
    picture.frame_offset = -1  # the files count from 0
    over = tree.nodes.new("CompositorNodeAlphaOver")
    background, foreground, factor = compat.alpha_over_sockets(over)
    _insert(tree, over, background)
    picture.location = over.location - Vector((300, 200))
    tree.links.new(picture.outputs["Image"], foreground)
    _show_between(factor, placement.shown.start + moved, placement.shown.stop + moved)
    return picture


def find_in_compositor(scene: bpy.types.Scene, result_folder: Path) -> bpy.types.Node | None:
    """The image node that shows the result, if there is one."""
    tree = compat.node_tree(scene)
    firsts = [result_folder / job.PATCH / f"000000{suffix}" for suffix in (".png", ".exr")]
    found = [node for first in firsts if tree and (node := _find(tree, first))]
    return found[0] if found else None


def _find(tree: bpy.types.NodeTree, first: Path) -> bpy.types.Node | None:
    for node in tree.nodes:
        image = node.image if node.bl_idname == "CompositorNodeImage" else None
        if image and Path(bpy.path.abspath(image.filepath)) == first:
            return node
    return None


def _insert(tree: bpy.types.NodeTree, over: bpy.types.Node, background: Any) -> None:
    """Put ``over`` between the output and what it shows: without that, the render."""
    output = compat.output_socket(tree)
    if output.is_linked:
        source = output.links[0].from_socket
    else:
        source = tree.nodes.new("CompositorNodeRLayers").outputs["Image"]
        source.node.location = output.node.location - Vector((500, 0))
    tree.links.new(source, background)
    tree.links.new(over.outputs["Image"], output)
    over.location = output.node.location - Vector((200, 0))


def _show_between(factor: Any, first: int, end: int) -> None:
    """Factor 1 from ``first`` to ``end`` - 1, else 0: outside its frames an image sequence holds
    its first or last one."""
    for frame, value in ((first - 1, 0.0), (first, 1.0), (end, 0.0)):
        factor.default_value = value
        factor.keyframe_insert("default_value", frame=frame)
    path = factor.path_from_id("default_value")
    for curve in compat.fcurves(factor.id_data.animation_data):
        if curve.data_path == path:
            for key in curve.keyframe_points:
                key.interpolation = "CONSTANT"
