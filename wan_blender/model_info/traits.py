# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Wan model can do, read from its configuration. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import WrongModel
from .folder import DESCRIPTION, peek_object

VACE = "WanVACETransformer3DModel"


@dataclass(frozen=True)
class Channels:
    """What tells the kinds apart: channels that the transformer takes and makes, whether it has
    VACE's blocks, and whether it embeds two CLIP images."""

    takes: int
    makes: int
    has_vace: bool = False
    has_ends: bool = False

    @property
    def has_image(self) -> bool:
        """Noise, image latents, and a mask in four channels."""
        return self.takes == 2 * self.makes + 4


Shifts = Callable[[float | None, bool], dict[str, float]]


def _original(low: float, high: float = 12.0, small: float | None = None) -> Shifts:
    """What the original code shifts by: a single model by ``low``, by ``small`` at up to 832x480; a
    pair of experts by ``high``."""

    def shifts(boundary: float | None, is_small: bool) -> dict[str, float]:
        single = small if is_small and small is not None else low
        return {"the original code": single if boundary is None else high}

    return shifts


def _vace(boundary: float | None, is_small: bool) -> dict[str, float]:
    return {
        **_original(16.0)(boundary, is_small),
        "ComfyUI's template": 8.0,
        "diffusers' example": 3.0 if is_small else 5.0,
    }


@dataclass(frozen=True)
class Kind:
    """One way a model takes its condition.

    ``fits`` tells it by channels. ``condition`` names the layout in engine/conditioning that makes
    its input; "" for a kind that a run cannot tell what to make. ``tasks`` are what it is for, in
    words for when the catalogue has none. ``boundary`` is what Wan 2.2's pairs of it were released
    with, ``shifts`` (boundary, whether the picture is small) who uses which shift.
    """

    fits: Callable[[Channels], bool]
    condition: str = ""
    tasks: tuple[str, ...] = ()
    takes_mask: bool = False
    takes_image: bool = False  # beside the noise, as channels
    needs_end: bool = False
    boundary: float | None = None
    shifts: Shifts = _original(5.0)

    @property
    def is_shown_pictures(self) -> bool:
        return self.condition != "text"


# The first that fits is it.
KINDS = {
    # 96 extra channels: inactive, reactive, mask
    "vace": Kind(
        lambda c: c.has_vace,
        "vace",
        ("inpaint", "outpaint", "remove", "references", "text to video"),
        takes_mask=True,
        boundary=0.875,
        shifts=_vace,
    ),
    # the 5B model: clean latents with a timestep of their own for every token
    "ti2v": Kind(
        lambda c: c.takes == c.makes == 48, "per_token", ("text to video", "image to video")
    ),
    # text alone
    "t2v": Kind(
        lambda c: c.takes == c.makes,
        "text",
        ("text to video", "masked by latents"),
        boundary=0.875,
    ),
    # the 5B inpainting model: 100 channels as i2v has them, and ti2v's timesteps
    "ti2v_inp": Kind(
        lambda c: c.has_image and c.makes == 48,
        takes_mask=True,
        takes_image=True,
        shifts=_original(5.0, 5.0),
    ),
    # 36 channels: 16 noise, 4 mask, 16 image latents (also the inpainting models)
    "flf2v": Kind(
        lambda c: c.has_image and c.has_ends,
        "image",
        ("first and last frame to video",),
        takes_mask=True,
        takes_image=True,
        needs_end=True,
        shifts=_original(16.0, 5.0),
    ),
    "i2v": Kind(
        lambda c: c.has_image,
        "image",
        ("image to video",),
        takes_mask=True,
        takes_image=True,
        boundary=0.9,
        shifts=_original(5.0, 5.0, small=3.0),
    ),
    # control latents without mask (32, 48) or with one (52, 148 channels)
    "control": Kind(
        lambda c: c.takes in (32, 48, 52, 148),
        tasks=("control video",),
        takes_image=True,
        shifts=_original(5.0, 5.0),
    ),
}


@dataclass(frozen=True)
class Traits:
    """``kind`` is one of KINDS."""

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
    has_vace = transformer.get("_class_name") == VACE
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
    takes = transformer.get("in_channels", 16)
    makes = transformer.get("out_channels") or takes
    has_vace = transformer.get("_class_name") == VACE
    channels = Channels(takes, makes, has_vace, bool(transformer.get("pos_embed_seq_len")))
    for name, kind in KINDS.items():
        if kind.fits(channels):
            return name
    raise WrongModel(
        f"A transformer with {takes} input and {makes} output channels is not a kind of Wan this "
        "version knows."
    )


LARGEST_FRAME = 1 << 30  # pixels
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
    settings = peek_object(folder / DESCRIPTION)
    vae, transformer = (_config(folder, settings, part) for part in ("vae", "transformer"))
    patches, pixels = transformer.get("patch_size"), settings.get("native_pixels")
    cell = _count(vae.get("scale_factor_spatial"), 8)
    patch = _count(patches[-1] if isinstance(patches, list) and patches else None, 2)
    return ModelSizes(cell, patch, _count(pixels, native_pixels(cell)))


def _count(value: Any, default: int) -> int:
    """``value`` where it is one that the engine would take, whose errors say more."""
    return value if type(value) is int and 0 < value <= LARGEST_FRAME else default


def _config(folder: Path, settings: dict[str, Any], part: str) -> dict[str, Any]:
    components = settings.get("components")
    place = components.get(part, part) if isinstance(components, dict) else part
    return peek_object(folder / place / "config.json") if isinstance(place, str) else {}
