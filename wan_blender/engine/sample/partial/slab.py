# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys and values of every self-attention, kept from the last full pass.

Rows are in the order of tokens.Order, so a pass over rows writes the beginning of each tensor and
nothing is scattered. Keys are kept after norm and rotation; the order of keys does not matter to
attention.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.transformers.transformer_wan import WanAttnProcessor
from torch import nn

Tensor = torch.Tensor
PROBES = 3  # layers whose canaries are checked


class Slab:
    """Of one window and one guidance branch, or both where they share a call."""

    def __init__(self, tokens: int, canaries: int) -> None:
        self._tokens, self._canaries = tokens, canaries
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}
        self._seen: dict[int, Tensor] = {}  # canaries' keys at the last full pass
        self._drift: list[Tensor] = []

    @property
    def filled(self) -> bool:
        return bool(self._kept)

    @property
    def gigabytes(self) -> float:
        return sum(k.nbytes + v.nbytes for k, v in self._kept.values()) / 1e9

    def take(self, layer: int, key: Tensor, value: Tensor, probe: bool) -> tuple[Tensor, Tensor]:
        """Keys and values (B, N, heads, d) to look at, from those (B, k, heads, d) of the pass."""
        if key.shape[1] == self._tokens:
            self._kept[layer] = key, value
            if probe and self._canaries:
                self._seen[layer] = key[:, : self._canaries].clone()
            return key, value
        if probe and self._canaries:
            self._drift.append(_distance(key[:, : self._canaries], self._seen[layer]))
        keys, values = self._kept[layer]
        keys[:, : key.shape[1]] = key
        values[:, : value.shape[1]] = value
        return keys, values

    def staleness(self) -> float:
        """Median relative distance of the canaries' keys from those of the last full pass, over
        the passes since the last time this was asked; 0 where there were none."""
        drift, self._drift = self._drift, []
        return float(torch.cat(drift).median()) if drift else 0.0


def _distance(now: Tensor, then: Tensor) -> Tensor:
    """(canaries of all clips,)"""
    now, then = now.flatten(2).float(), then.flatten(2).float()
    return ((now - then).norm(dim=-1) / now.norm(dim=-1).clamp_min(1e-12)).flatten()


class SlabAttention(WanAttnProcessor):
    """Self-attention of the rows of a pass over all of ``slab``."""

    def __init__(self, layer: int, probe: bool) -> None:
        super().__init__()
        self.layer, self.probe = layer, probe
        self.slab: Slab | None = None

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        heads = (attn.heads, -1)
        query = rotate(attn.norm_q(attn.to_q(hidden_states)).unflatten(2, heads), *rotary_emb)
        key = rotate(attn.norm_k(attn.to_k(hidden_states)).unflatten(2, heads), *rotary_emb)
        value = attn.to_v(hidden_states).unflatten(2, heads)
        key, value = self.slab.take(self.layer, key, value, self.probe)
        seen = dispatch_attention_fn(query, key, value, backend=self._attention_backend)
        out = attn.to_out[0](seen.flatten(2, 3).type_as(query))
        return attn.to_out[1](out)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (arXiv 2104.09864): neighbouring channels are a plane, turned by the
    token's angle. ``cos`` and ``sin`` (1, k, 1, d) hold each angle twice."""
    cos, sin = cos[..., ::2], sin[..., ::2]
    turned = torch.empty_like(x)
    turned[..., ::2] = x[..., ::2] * cos - x[..., 1::2] * sin
    turned[..., 1::2] = x[..., ::2] * sin + x[..., 1::2] * cos
    return turned


class SlabAttentions:
    """One SlabAttention for each self-attention of ``model``, put in while a call runs: at all
    other times the model is as diffusers made it."""

    def __init__(self, model: nn.Module) -> None:
        blocks = [*model.blocks, *getattr(model, "vace_blocks", ())]
        self._layers = [block.attn1 for block in blocks]
        main = len(model.blocks)
        probes = {round(i * (main - 1) / (PROBES - 1)) for i in range(PROBES)}
        self._ours = [SlabAttention(i, i in probes) for i in range(len(blocks))]

    @contextmanager
    def over(self, slab: Slab) -> Iterator[None]:
        theirs = [layer.processor for layer in self._layers]
        try:
            for layer, our, their in zip(self._layers, self._ours, theirs, strict=True):
                our.slab, our._attention_backend = slab, their._attention_backend
                layer.processor = our
            yield
        finally:
            for layer, our, their in zip(self._layers, self._ours, theirs, strict=True):
                our.slab = None
                layer.processor = their
