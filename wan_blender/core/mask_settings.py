# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of what the mask means: to the sampler, to the model, to the crop, to the patch.

A setting is declared once, here or in settings.py; schema.py says what follows from that."""

from __future__ import annotations

from dataclasses import dataclass

from . import schema

REDUCTIONS = {
    "max": "Largest value of the cell's pixels and frames: nothing masked is lost",
    "min": "Smallest value: only cells that are masked throughout",
    "mean": "Average: partly masked cells become soft",
    "first": "First frame of each group, largest pixel",
    "last": "Last frame of each group, largest pixel",
    "comfy_trilinear": "As ComfyUI resamples it (two frames and 2x2 pixels of each cell)",
    "vace_nearest_exact": "As VACE resamples its mask channels (one frame of each cell)",
    "wan2gp_nearest": "As Wan2GP resamples it (one frame, one pixel, cut at 0.5)",
}


@dataclass
class Mask:
    """From the pixel mask to the latent mask; the composite matte is ``Output``'s."""

    frames: str = schema.text(
        "",
        'Use the mask only on these timeline frames, e.g. "30-50, 80-"; empty uses all',
    )
    reduction: str = schema.choice(
        "max", "How the pixels and frames of a latent cell become one value", REDUCTIONS
    )
    grow_px: int = schema.integer(
        0,
        "Grow what the sampler generates beyond the mask, or shrink it (negative); the patch shows "
        "more than the mask only as output.matte footprint",
        -512,
        512,
        "px",
    )
    grow_before: int = schema.integer(
        0,
        "Let the sampler begin this many frames before the mask appears; the patch shows them only "
        "as output.matte footprint",
        -1000,
        1000,
        "frames",
    )
    grow_after: int = schema.integer(
        0,
        "Let the sampler go on this many frames after the mask disappears; the patch shows them "
        "only as output.matte footprint",
        -1000,
        1000,
        "frames",
    )
    shutter: float = schema.number(
        0.0,
        "Widen the mask by what it moves while a shutter is open, as motion blur widens what it "
        "follows; a latent's other frames are not reached. 0.5 is a shutter of 180 degrees",
        0,
        1,
        "frames",
    )
    token_snap: bool = schema.flag(
        False, "Give all four cells of a model token the largest value among them"
    )
    gray: str = schema.choice(
        "amount",
        "What gray parts of the mask mean",
        {
            "amount": "How much is regenerated: half gray keeps half of what was there. The patch "
            "covers the whole mask, feathered at its edge",
            "opacity": "How opaque the patch is: everything under the mask is regenerated, and the "
            "clip shows through where the mask is gray",
            "both": "Both at once: gray parts come out fainter than they were drawn",
        },
    )
    law: str = schema.choice(
        "release",
        "What soft mask values mean during sampling",
        {
            "release": "Each value joins at its own time, spread evenly over all stages",
            "static": "Blend of source and result, as ComfyUI without differential diffusion",
            "comfy": "ComfyUI's differential diffusion: hard threshold, even in sigma",
            "kijai": "WanVideoWrapper's: hard threshold, even in steps",
        },
    )
    softness: float = schema.number(
        0.25, "How gradually a soft value joins; 0 switches it on at once", 0, 1
    )


@dataclass
class ModelMask:
    """What a model that was trained with masks is shown; the sampler's mask is ``Mask``."""

    shape: str = schema.choice(
        "same",
        "Shape of the mask the model is shown",
        {
            "same": "The mask as it is",
            "hard": "The mask cut at 50 %, with hard edges",
            "box": "The box around the mask on each frame",
            "own": "Another matte, or the frames in the job folder's model_mask",
        },
    )
    matte: str = schema.text(
        "", 'Strip or mask that the model sees when the shape is "own", by name or id', "matte"
    )
    grow_px: int = schema.integer(
        0,
        "Grow that shape, or shrink it (negative); the sampler's own growth does not affect it",
        -512,
        512,
        "px",
    )
    grow_before: int = schema.integer(
        0,
        "Show the model this many frames before the mask appears as masked; the sampler's growth "
        "does not reach it",
        -1000,
        1000,
        "frames",
    )
    grow_after: int = schema.integer(
        0,
        "Show the model this many frames after the mask disappears as masked; the sampler's growth "
        "does not reach it",
        -1000,
        1000,
        "frames",
    )
    known: str = schema.choice(
        "model",
        "What image-to-video models are told they are given",
        {
            "model": "As the model's folder says; whole frames if it does not say",
            "frames": "Whole frames at the start (and end): models that animate an image",
            "pixels": "All unmasked pixels: inpainting models of the same layout",
        },
    )
    start_frames: int = schema.integer(
        1,
        "Unmasked frames at the start that an image-to-video model is given; 0 gives all up to the "
        "first masked one",
        0,
        1000,
        "frames",
    )
    time: str = schema.choice(
        "groups",
        "Which frames VACE is shown as masked",
        {
            "groups": "All frames of a latent group that holds a masked one, as the sampler does",
            "frames": "Each frame's own mask, as the released code does; it can miss short flashes",
        },
    )
    strength: float = schema.number(1.0, "How strongly VACE steers", 0, 2)
    strengths: list[float] = schema.many(
        float, "VACE strength of each latent frame; one number for each, replaces strength", 0, 2
    )
    start_image: str = schema.text(
        "", "Picture an image-to-video model starts from, when it is not the plate's own", "file"
    )
    end_image: str = schema.text(
        "", "Picture an image-to-video model ends with, when it is not the plate's own", "file"
    )
    references: str = schema.text(
        "", "Folder with pictures of what to generate, for VACE; or one picture", "path"
    )


@dataclass
class RegionSettings:
    """Which part of the canvas the model sees."""

    mode: str = schema.choice(
        "auto",
        "What the model sees",
        {
            "auto": "A box around the mask with some context, the same for the whole shot and at "
            "least a quarter of the model's own size",
            "whole": "The whole frame",
            "context": "The whole frame at the scale of that box, where balanced or fast passes "
            "make it no slower than the box would be dense; else the box",
        },
    )
    context: float = schema.number(
        0.5, "Context on each side, as a fraction of the mask's size", 0, 10
    )
    pixels: int = schema.integer(
        0,
        "Pixels of a frame as the model sees it; the box is scaled to about that. 0 is the model's "
        "own size, and only ever scales down",
        0,
        33_177_600,
        "px",
    )


@dataclass
class Output:
    place: str = schema.choice(
        "auto",
        "Where the result goes on the timeline",
        {
            "auto": "Above the clip, or in its place if that would look different",
            "in_place": "A meta strip in the clip's place with clip and result: opacity, blend "
            "mode, modifiers, effects and layers above reach both",
            "above": "A strip above the clip",
        },
    )
    matte: str = schema.choice(
        "mask",
        "Which pixels the patch covers",
        {
            "mask": "The mask itself; mask.gray says how opaque its gray parts are",
            "solid": "Every masked pixel, fully opaque",
            "footprint": "Every pixel of a generated latent cell, even outside the mask",
        },
    )
    feather_px: float = schema.number(
        1.0,
        "Soft edge of the patch, inward from the edge of the mask; narrower where the mask is thin",
        0,
        512,
        "px",
    )
    colour_match: bool = schema.flag(
        False, "Match the patch's colours to the plate in a ring around the mask"
    )
    grain_match: bool = schema.flag(False, "Add the plate's grain to the patch")
    harmonise: float = schema.number(
        0.0,
        "How far the patch is shaded to meet the plate along the mask's edge, after its colours",
        0,
        1,
    )
    match_cuts: str = schema.choice(
        "off",
        "How new frames are led from kept ones where they follow on each other",
        {
            "off": "They are not",
            "light": "In colours and light",
            "blend": "By fading from and to the kept frame, but for its finest detail: a smaller "
            "jump, but what moves or changes shows double",
        },
    )
    full_frames: bool = schema.flag(False, "Also write full frames, source and patch composited")
