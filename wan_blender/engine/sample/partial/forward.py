# SPDX-License-Identifier: GPL-3.0-or-later
"""A call of diffusers' WanTransformer3DModel or WanVACETransformer3DModel over some of its tokens.

The one file that follows the inside of these models. Their parts are called as modules, so that
LoRAs, packed layers, streamed and compiled blocks work as in a call of the whole model.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from diffusers import WanTransformer3DModel, WanVACETransformer3DModel
from torch import nn

Tensor = torch.Tensor


def can_split(model: Any) -> bool:
    """Whether ``model`` is of a class that ``forward`` knows."""
    return isinstance(model, WanTransformer3DModel | WanVACETransformer3DModel)


def forward(
    model: Any,
    inputs: dict[str, Any],
    rows: Tensor,
    rotary: tuple[Tensor, Tensor],
    attention: AbstractContextManager[None],
) -> Tensor:
    """Output (B, k, patch * channels) of the tokens ``rows`` (k,).

    ``inputs`` are the model's own arguments for the whole clip, ``rotary`` the positions of the
    rows. ``attention`` is entered while the blocks run.
    """
    embedded = _embed(model.patch_embedding, inputs["hidden_states"], rows)
    times = inputs["timestep"]
    per_token = times.ndim == 2
    if per_token:
        times = times[:, rows]
    time, modulation, text, image = model.condition_embedder(
        times.flatten(),
        inputs["encoder_hidden_states"],
        inputs.get("encoder_hidden_states_image"),
        timestep_seq_len=len(rows) if per_token else None,
    )
    text = text if image is None else torch.cat([image, text], 1)
    around = (text, modulation.unflatten(-1, (6, -1)), rotary)
    with attention:
        hidden = _blocks(model, inputs, rows, embedded, around)
    table = model.scale_shift_table.to(time.device)
    shift, scale = (table + time.unsqueeze(-2)).chunk(2, -2)
    if per_token:
        shift, scale = shift.squeeze(-2), scale.squeeze(-2)
    shift, scale = shift.to(hidden.device), scale.to(hidden.device)
    normed = (model.norm_out(hidden.float()) * (1 + scale) + shift).type_as(hidden)
    return model.proj_out(normed)


def _blocks(
    model: Any, inputs: dict[str, Any], rows: Tensor, x: Tensor, around: tuple[Any, ...]
) -> Tensor:
    hints = _hints(model, inputs, rows, x, around)
    for index, block in enumerate(model.blocks):
        x = block(x, *around)
        if index in hints:
            hint, scale = hints.pop(index)
            x = x + hint.to(x.device) * scale
    return x


def _hints(
    model: Any, inputs: dict[str, Any], rows: Tensor, x: Tensor, around: tuple[Any, ...]
) -> dict[int, tuple[Tensor, Tensor]]:
    """What VACE's own blocks add after some of the main ones, and how much of it."""
    control = inputs.get("control_hidden_states")
    if control is None:
        return {}
    text, *rest = around
    steered = _embed(model.vace_patch_embedding, control, rows)
    scales = inputs["control_hidden_states_scale"]
    if scales.ndim == 4:  # (layers, 1, N, 1)
        scales = scales[:, :, rows]
    hints = {}
    for layer, block, scale in zip(
        model.config.vace_layers, model.vace_blocks, scales, strict=True
    ):
        hint, steered = block(x, text, steered, *rest)
        hints[layer] = hint, scale
    return hints


def _embed(layer: nn.Module, clip: Tensor, rows: Tensor) -> Tensor:
    """All patches are embedded, which costs next to nothing, and rows are taken of them."""
    return layer(clip).flatten(2).transpose(1, 2).index_select(1, rows)


def token_shape(model: Any, clip: Tensor) -> tuple[int, int, int]:
    """Tokens of a clip (B, C, t, h, w) along its three axes."""
    sides = zip(clip.shape[2:], model.config.patch_size, strict=True)
    t, h, w = (side // patch for side, patch in sides)
    return t, h, w


def to_clip(tokens: Tensor, shape: Sequence[int], patch: Sequence[int]) -> Tensor:
    """Output of all tokens (B, N, patch * channels) as (B, channels, t, h, w); ``shape`` counts
    tokens."""
    parts = tokens.unflatten(2, (*patch, -1)).unflatten(1, tuple(shape))
    clip = parts.permute(0, 7, 1, 4, 2, 5, 3, 6)
    return clip.flatten(6, 7).flatten(4, 5).flatten(2, 3)
