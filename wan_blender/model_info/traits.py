# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Wan model can do, read from its configuration. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import WrongModel
from .folder import read_object

CONDITIONED = ("t2v", "vace", "i2v", "flf2v", "ti2v")  # kinds that a run can tell what to make


@dataclass(frozen=True)
class Traits:
    """``kind`` names the way the model takes its condition:

    t2v         text alone
    vace        96 extra channels: inactive, reactive, mask
    i2v, flf2v  36 channels: 16 noise, 4 mask, 16 image latents (also the inpainting models)
    ti2v        the 5B model: clean latents with a timestep of their own for every token
    ti2v_inp    the 5B inpainting model: 100 channels as i2v has them, and such timesteps
    control     control latents without mask (32, 48) or with one (52, 148 channels)
    """

    kind: str
    in_channels: int  # what the transformer's patch embedding takes
    latent_channels: int  # 16, 48 on the 5B model
    cell: int  # pixels per latent cell along each side: 8, 16 on the 5B model
    patch: int  # cells per token along each side
    has_vace: bool
    needs_image: bool  # takes image latents and a mask beside the noise
    needs_clip: bool  # takes CLIP image tokens too (Wan 2.1 I2V and FLF2V)
    max_sequence_length: int  # tokens the prompt is padded to
    boundary: float | None  # sigma from which on the high-noise expert is used
    native_pixels: int  # pixels of a frame the model was trained on
    native_frames: int  # frames of a clip the model was trained on
    shift: float | None = None  # recommended by the model's folder
    known: str = "frames"  # or "pixels": what an image-to-video model was trained to be given


def read_traits(
    transformer: Mapping[str, Any],
    vae: Mapping[str, Any],
    boundary: float | None,
    settings: Mapping[str, Any],
) -> Traits:
    """Traits from the diffusers configurations of a transformer and its VAE, and from the
    ``wan_blender.json`` of their folder, where it says what they were trained on.

    Raises WrongModel when the two do not fit each other or are not a known kind of Wan.
    """
    in_channels = transformer.get("in_channels", 16)
    latent_channels = vae.get("z_dim", 16)
    out_channels = transformer.get("out_channels") or in_channels
    if out_channels != latent_channels:
        raise WrongModel(
            f"The transformer makes {out_channels} latent channels, the VAE has "
            f"{latent_channels}: they do not belong together.",
            "Use the Wan 2.1 VAE for 16 channels, the Wan 2.2 VAE for 48 (the 5B model).",
        )
    has_vace = transformer.get("_class_name") == "WanVACETransformer3DModel"
    needs_clip = transformer.get("image_dim") is not None
    cell = vae.get("scale_factor_spatial") or 8
    kind = model_kind(transformer)
    return Traits(
        kind=kind,
        in_channels=in_channels,
        latent_channels=latent_channels,
        cell=cell,
        patch=tuple(transformer.get("patch_size", (1, 2, 2)))[-1],
        has_vace=has_vace,
        needs_image=in_channels > out_channels,
        needs_clip=needs_clip,
        max_sequence_length=settings.get("max_sequence_length", 512),
        boundary=boundary,
        native_pixels=settings.get("native_pixels") or native_pixels(cell),
        native_frames=settings.get("native_frames") or (121 if latent_channels == 48 else 81),
        shift=settings.get("shift"),
        known="pixels" if settings.get("known") == "pixels" else "frames",
    )


def model_kind(transformer: Mapping[str, Any]) -> str:
    """``Traits.kind`` from a transformer's configuration alone. Raises WrongModel."""
    in_channels = transformer.get("in_channels", 16)
    latent_channels = transformer.get("out_channels") or in_channels
    if transformer.get("_class_name") == "WanVACETransformer3DModel":
        return "vace"
    if in_channels == latent_channels:
        return "ti2v" if latent_channels == 48 else "t2v"
    if in_channels == 2 * latent_channels + 4:
        if latent_channels == 48:
            return "ti2v_inp"
        return "flf2v" if transformer.get("pos_embed_seq_len") else "i2v"
    if in_channels in (32, 48, 52, 148):
        return "control"
    raise WrongModel(
        f"A transformer with {in_channels} input and {latent_channels} output channels is no "
        "kind of Wan this version knows."
    )


SMALL_FRAME, LARGE_FRAME = 832 * 480, 1280 * 704  # what Wan 14B and the 5B model were trained on


@dataclass(frozen=True)
class ModelSizes:
    """``cell`` pixels per latent cell, ``patch`` cells per token (both along each side), and the
    pixels of a frame the model was trained on."""

    cell: int = 8
    patch: int = 2
    native_pixels: int = SMALL_FRAME


def native_pixels(cell: int) -> int:
    return LARGE_FRAME if cell == 16 else SMALL_FRAME


def read_sizes(folder: Path) -> ModelSizes:
    """Sizes of a model folder from its JSON files; what they do not say is as in Wan 14B."""
    settings = read_object(folder / "wan_blender.json")
    vae, transformer = (_config(folder, settings, part) for part in ("vae", "transformer"))
    cell = vae.get("scale_factor_spatial") or 8
    patch = (transformer.get("patch_size") or (1, 2, 2))[-1]
    return ModelSizes(cell, patch, settings.get("native_pixels") or native_pixels(cell))


def _config(folder: Path, settings: dict[str, Any], part: str) -> dict[str, Any]:
    components = settings.get("components")
    place = components.get(part, part) if isinstance(components, dict) else part
    return read_object(folder / place / "config.json") if isinstance(place, str) else {}
