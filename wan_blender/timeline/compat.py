# SPDX-License-Identifier: GPL-3.0-or-later
"""The differences between Blender 4.5 and 5.x, all of them.

Strip times lost the ``frame_`` prefix in 5.2, effects take a length instead of an end frame, and
the scene's compositor became a node group of its own.
"""

from __future__ import annotations

from typing import Any

import bpy

NEW_TIMES = "left_handle" in bpy.types.Strip.bl_rna.properties
NODE_GROUP = "compositing_node_group" in bpy.types.Scene.bl_rna.properties

# 4.5 leaves the last pixel of a Mask strip (top right) as it finds it in memory.
MASK_LACKS_LAST_PIXEL = bpy.app.version < (5, 0)

# What a picture's values below 0 are multiplied by on their way through the sequencer: 4.5 leaves
# them on the slope of sRGB's dark end.
NEGATIVE_SLOPE = 12.92 if bpy.app.version < (5, 0) else 1.0


def start(strip: Any) -> int:
    """First timeline frame that shows the strip."""
    return strip.left_handle if NEW_TIMES else strip.frame_final_start


def length(strip: Any) -> int:
    """Timeline frames that show the strip."""
    return strip.duration if NEW_TIMES else strip.frame_final_duration


def end(strip: Any) -> int:
    """First timeline frame after the strip."""
    return start(strip) + length(strip)


def frames(strip: Any) -> range:
    """The timeline frames that show the strip."""
    return range(start(strip), end(strip))


def set_frames(strip: Any, frames: range) -> None:
    """Move the strip's handles."""
    for _ in range(2):  # neither may pass the other, and which one comes first depends
        if NEW_TIMES:
            strip.right_handle, strip.left_handle = frames.stop, frames.start
        else:
            strip.frame_final_end, strip.frame_final_start = frames.stop, frames.start


def measure_content(meta: Any) -> None:
    """Let a meta strip learn how long its content is: in 4.5 one that was filled from Python does
    not know before a handle inside it is set."""
    for strip in meta.strips:
        if getattr(strip, "input_1", None) is None:
            set_frames(strip, frames(strip))


def offsets(strip: Any) -> tuple[float, float]:
    """Frames of the content that the handles hide at its start and end; below 0 they show its first
    or last frame for longer."""
    if NEW_TIMES:
        return strip.left_handle_offset, strip.right_handle_offset
    return strip.frame_offset_start, strip.frame_offset_end


def content_start(strip: Any) -> float:
    """Timeline frame of the content's first frame, trimmed away or not."""
    return strip.content_start if NEW_TIMES else strip.frame_start


def cut(strip: Any) -> tuple[int, int]:
    """Frames at the start and end of the content that the strip is without; its handles cannot
    bring them back."""
    if NEW_TIMES:
        return strip.content_trim_start, strip.content_trim_end
    return strip.animation_offset_start, strip.animation_offset_end


def set_length(strip: Any, frames: int) -> None:
    if NEW_TIMES:
        strip.duration = frames
    else:
        strip.frame_final_duration = frames


def trim(strip: Any, start: float, end: float) -> None:
    """Hide frames at the start and end of a strip, which its handles can bring back."""
    if NEW_TIMES:
        strip.left_handle_offset, strip.right_handle_offset = start, end
    else:
        strip.frame_offset_start, strip.frame_offset_end = start, end


def new_effect(
    strips: Any, name: str, kind: str, channel: int, first: int, frames: int, *inputs: Any
) -> Any:
    """An effect strip of ``frames`` frames; one with ``inputs`` is as long as these overlap."""
    span = {"length": frames} if NEW_TIMES else {"frame_end": first + frames}
    read = {f"input{number}": strip for number, strip in enumerate(inputs, 1)}
    return strips.new_effect(
        name=name, type=kind, channel=channel, frame_start=first, **span, **read
    )


def curve_bags(animated: Any) -> list[Any]:
    """What holds the F-curves of the action in an ``animation_data``; without one, none."""
    action, slot = animated.action, animated.action_slot
    if action is None or slot is None:
        return []
    bags = (s.channelbag(slot) for layer in action.layers for s in layer.strips)
    return [bag for bag in bags if bag]


def fcurves(animated: Any) -> list[Any]:
    """F-curves of the action in an ``animation_data``; without one, none."""
    return [curve for bag in curve_bags(animated) for curve in bag.fcurves]


def node_tree(scene: Any) -> Any:
    """The scene's compositor nodes in use, or None."""
    if NODE_GROUP:
        return scene.compositing_node_group
    return scene.node_tree if scene.use_nodes else None


def write_images(scene: Any) -> None:
    """Make the scene's output still images, so that the image formats can be chosen."""
    settings = scene.render.image_settings
    if "media_type" in settings.bl_rna.properties:
        settings.media_type = "IMAGE"


def write_rec709(scene: Any) -> None:
    """Let float images be written in linear Rec.709; since 5.0 the file's working space, which they
    are written in by default, may be another."""
    settings = scene.render.image_settings
    if getattr(bpy.data, "colorspace", None) is not None:
        settings.color_management = "OVERRIDE"
        settings.linear_colorspace_settings.name = "Linear Rec.709"


def sequencer_scene(context: Any) -> Any:
    """The scene whose timeline is edited; since 5.0 it need not be the window's scene."""
    return getattr(context, "sequencer_scene", None) or context.scene


def shows_a_timeline(context: Any) -> bool:
    """Whether the sequencer has a scene; since 5.0 the editor can take it away."""
    return not NODE_GROUP or context.sequencer_scene is not None


def sequencer_context(scene: Any) -> dict[str, Any]:
    """What to override in a context so that sequencer operators work on ``scene``."""
    members = {"scene": scene}
    return members | {"sequencer_scene": scene} if NODE_GROUP else members


def ensure_node_tree(scene: Any) -> Any:
    """The scene's compositor nodes; a new tree passes the render through."""
    if not NODE_GROUP:
        is_new = scene.node_tree is None
        scene.use_nodes = True  # makes the default nodes where there are none
        for node in scene.node_tree.nodes if is_new else ():
            if node.bl_idname == "CompositorNodeRLayers":
                node.scene = scene  # the default is the scene in the window
        return scene.node_tree
    if scene.compositing_node_group is None:
        tree = bpy.data.node_groups.new("Compositor", "CompositorNodeTree")
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        scene.compositing_node_group = tree
    return scene.compositing_node_group


def output_socket(tree: Any) -> Any:
    """The input that the compositor's result goes into; its node is made when there is none."""
    kind = "NodeGroupOutput" if NODE_GROUP else "CompositorNodeComposite"
    nodes = [node for node in tree.nodes if node.bl_idname == kind]
    return (nodes[0] if nodes else tree.nodes.new(kind)).inputs[0]


def alpha_over_sockets(node: Any) -> tuple[Any, Any, Any]:
    """Background, foreground and factor inputs of an Alpha Over node."""
    if "Background" in node.inputs:
        return node.inputs["Background"], node.inputs["Foreground"], node.inputs["Factor"]
    return node.inputs[1], node.inputs[2], node.inputs[0]


def paint_colors(tools: Any) -> list[Any]:
    """What holds the colour that an image brush paints with: the settings that brushes share,
    which moved into those of each paint mode in 5.0, and the brush itself."""
    paint = tools.image_paint
    unified = getattr(paint, "unified_paint_settings", None) or tools.unified_paint_settings
    return [owner for owner in (unified, paint.brush) if owner is not None]


def set_start(strip: Any, frame: int) -> None:
    """Move the strip so that ``frame`` is the first that shows it."""
    if NEW_TIMES:
        strip.content_start += frame - strip.left_handle
    else:
        strip.frame_start += frame - strip.frame_final_start
