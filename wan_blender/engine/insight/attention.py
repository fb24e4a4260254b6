# SPDX-License-Identifier: GPL-3.0-or-later
"""The attention budget: what of each layer's work goes to the own frame, to other frames, to the
prompt for all frames alike, and to the prompt frame by frame.

Self-attention is parted exactly, without the matrix: attention over the keys of a part alone has a
log-sum-exp, and exp(lse_part - lse) is the mass that all of it gives to the part (the softmax of
flash attention, arXiv 2205.14135, merged backwards). QUERIES tokens are asked, spread over all
frames; shares then have a standard error of about .015. The keys of cross-attention have no time,
so by our convention what it adds that is the same on all frames is structural, the rest temporal.

A share is the energy of what is added to the tokens: a key with much mass and a tiny value does
nothing. Masses are given beside. Outputs are diffusers' own: what is measured is computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanAttnProcessor
from torch import nn

from ...core.answers.insight import AttentionBudget, LayerBudget, StageBudget
from ..sample.partial.slab import rotate

Tensor = torch.Tensor
QUERIES = 1024  # that are asked of each layer; where there are no more tokens, all are
_ROWS = 64  # of them whose logits are held at once where no kernel gives the log-sum-exp


@dataclass(frozen=True)
class Parted:
    """Attention of (B, H, N, d) queries, parted: ``mass`` (B, H, N) of the part, ``inside`` and
    ``outside`` (B, H, N, d) what each adds; their sum is the attention's output. ``lse`` (B, H, N)
    is the log-sum-exp over all keys."""

    mass: Tensor
    inside: Tensor
    outside: Tensor
    lse: Tensor


def attend(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """(output (B, H, N, d), log-sum-exp of the logits (B, H, N)), in float32 at least."""
    dtype = torch.promote_types(query.dtype, torch.float32)
    query, key, value = (x.to(dtype) for x in (query, key, value))
    if query.device.type == "cpu":
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return flash(query, key, value)
    parts = [_rows(rows, key, value) for rows in query.split(_ROWS, 2)]
    return torch.cat([out for out, _ in parts], 2), torch.cat([lse for _, lse in parts], 2)


def _rows(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    return logits.softmax(-1) @ value, logits.logsumexp(-1)


def part_frames(query: Tensor, key: Tensor, value: Tensor, frames: int) -> Parted:
    """Attention of queries (B, H, M, d) to tokens (B, H, N, d), both in ``frames`` equal runs, into
    the own frame's and that of all others."""
    out, lse = attend(query, key, value)
    own, own_lse = attend(*(_fold(x, frames) for x in (query, key, value)))
    own, own_lse = _unfold(own, frames), _unfold(own_lse, frames)
    mass = (own_lse - lse).exp().clamp(max=1)
    inside = mass[..., None] * own
    return Parted(mass, inside, out - inside, lse)


def choose_queries(tokens: int, frames: int, device: torch.device | str = "cpu") -> Tensor:
    """Sorted indices of at most QUERIES of ``tokens``, the same ones of each frame."""
    count = tokens // frames
    generator = torch.Generator().manual_seed(0)
    own = torch.randperm(count, generator=generator)[: max(QUERIES // frames, 1)].sort().values
    return (torch.arange(frames)[:, None] * count + own).flatten().to(device)


def mass_of(query: Tensor, key: Tensor, lse: Tensor, keys: slice) -> Tensor:
    """(B, H, N) mass that queries, whose log-sum-exp over all keys is ``lse``, give to ``keys``."""
    part = key[:, :, keys]
    return (attend(query, part, part)[1] - lse).exp().clamp(max=1)


def _fold(x: Tensor, frames: int) -> Tensor:
    """(B, H, t n, ...) -> (B t, H, n, ...)."""
    x = x.unflatten(2, (frames, -1))
    return x.transpose(1, 2).flatten(0, 1)


def _unfold(x: Tensor, frames: int) -> Tensor:
    return x.unflatten(0, (-1, frames)).transpose(1, 2).flatten(2, 3)


def split_cross(added: Tensor, frames: int) -> tuple[float, float]:
    """Energies of (B, t n, D): of its mean over the frames, and of the rest; they add up."""
    added = added.float().unflatten(1, (frames, -1))
    mean = added.mean(1, keepdim=True)
    return float(mean.square().sum() * frames), float((added - mean).square().sum())


class _Measuring(WanAttnProcessor):
    """``theirs``, and then ``see(attn, arguments, output)``."""

    def __init__(self, theirs: Any, see: Callable[..., None]) -> None:
        super().__init__()
        self._theirs, self._see = theirs, see
        self._attention_backend = theirs._attention_backend

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        given = (hidden_states, encoder_hidden_states, attention_mask, rotary_emb)
        out = self._theirs(attn, *given)
        self._see(attn, hidden_states, rotary_emb, out)
        return out


class BudgetWatch:
    """Measures a run's attention at a few steps, in the conditional branch. ``starts`` are the
    steps at which stages begin: the first, middle and last step are measured, and those before and
    after each hand-over."""

    def __init__(self, sigmas: Sequence[float], starts: Sequence[int], prefix: int = 0) -> None:
        last = len(sigmas) - 2
        near = [step for start in starts for step in (start - 1, start)]
        self.steps = {step for step in (0, last // 2, last, *near) if 0 <= step <= last}
        self._sigmas, self._starts, self._prefix = sigmas, starts, prefix
        self._found: list[tuple[float, LayerBudget]] = []
        self._parts: dict[int, dict[str, Any]] = {}

    def over(
        self, call: Callable[..., Any], model: nn.Module, step: int, latents: Sequence[int]
    ) -> Callable[..., Any]:
        """``call``, a call of ``model`` over ``latents`` of the run, the first time it is made at a
        measured step; the second is the unconditional branch."""
        if step not in self.steps:
            return call
        waits = True

        def run(**inputs: Any) -> Any:
            nonlocal waits
            if not waits:
                return call(**inputs)
            waits = False
            with self._seeing(model, step, latents):
                return call(**inputs)

        return run

    def report(self) -> AttentionBudget:
        """Windows of one step are weighted by their latents."""
        layers = tuple(_merge(self._found))
        stages = tuple(
            _stage(stage, [b for b in layers if b.stage == stage])
            for stage in sorted({b.stage for b in layers})
        )
        return AttentionBudget(stages, layers, tuple(_say(stage) for stage in stages))

    @contextmanager
    def _seeing(self, model: nn.Module, step: int, latents: Sequence[int]) -> Iterator[None]:
        """Our processors in ``model`` while a call runs."""
        attentions = [(i, part) for i, b in enumerate(model.blocks) for part in (b.attn1, b.attn2)]
        theirs = [part.processor for _, part in attentions]
        hooks = [
            block.register_forward_pre_hook(partial(self._gate, index))
            for index, block in enumerate(model.blocks)
        ]
        self._parts = {index: {} for index in range(len(model.blocks))}
        try:
            for (index, part), their in zip(attentions, theirs):
                own = part is model.blocks[index].attn1
                see = partial(self._see_self if own else self._see_cross, index, list(latents))
                part.processor = _Measuring(their, see)
            yield
            self._note(step, len(latents))
        finally:
            for (_, part), their in zip(attentions, theirs):
                part.processor = their
            for hook in hooks:
                hook.remove()

    def _gate(self, index: int, block: nn.Module, arguments: tuple[Any, ...]) -> None:
        """The block's gate on self-attention, third of its six modulations."""
        table = block.scale_shift_table + arguments[2].float()
        self._parts[index]["gate"] = table.chunk(6, -2)[2].squeeze(-2)[:1]

    def _see_self(
        self, index: int, latents: list[int], attn: Any, x: Tensor, rotary: Any, out: Tensor
    ) -> None:
        x, heads, frames = x[:1], (attn.heads, -1), len(latents)
        asked = choose_queries(x.shape[1], frames, x.device)
        angles = [part[:, asked] for part in rotary]
        query = attn.norm_q(attn.to_q(x[:, asked])).unflatten(2, heads)
        query = rotate(query, *angles).transpose(1, 2)
        key = rotate(attn.norm_k(attn.to_k(x)).unflatten(2, heads), *rotary).transpose(1, 2)
        value = attn.to_v(x).unflatten(2, heads).transpose(1, 2)
        parted = part_frames(query, key, value, frames)
        gate, weight = self._parts[index]["gate"], attn.to_out[0].weight.float()

        def energy(part: Tensor) -> float:
            added = part.transpose(1, 2).flatten(2) @ weight.T
            own = gate[:, asked] if gate.ndim == 3 else gate  # a model with a time per token
            return float((added * own).square().sum()) * x.shape[1] / len(asked)

        found = self._parts[index]
        found["inside"], found["outside"] = energy(parted.inside), energy(parted.outside)
        found["mass"], found["frames"] = float(parted.mass.mean()), frames
        found["first"] = self._first(query, key, parted.lse, latents)

    def _first(self, query: Tensor, key: Tensor, lse: Tensor, latents: list[int]) -> float | None:
        if self._prefix not in latents or len(latents) < 2:
            return None
        count, at = key.shape[2] // len(latents), latents.index(self._prefix)
        keys = slice(at * count, (at + 1) * count)
        mass = mass_of(query, key, lse, keys)
        return float(mass.unflatten(2, (len(latents), -1))[:, :, at + 1 :].mean())

    def _see_cross(
        self, index: int, latents: list[int], attn: Any, x: Tensor, rotary: Any, out: Tensor
    ) -> None:
        self._parts[index]["cross"] = split_cross(out[:1], len(latents))

    def _note(self, step: int, weight: int) -> None:
        stage = sum(start <= step for start in self._starts) - 1
        for index, found in self._parts.items():
            if not {"inside", "cross"} <= set(found):
                continue  # passes over rows have attentions of their own
            energies = (found["inside"], found["outside"], *found["cross"])
            shares = [energy / max(sum(energies), 1e-30) for energy in energies]
            masses = (found["mass"], 1 / found["frames"], found["first"])
            at = (index, step, float(self._sigmas[step]), stage)
            self._found.append((weight, LayerBudget(*at, *shares, *masses)))
        self._parts = {}


_MEANS = ("self_structural", "self_temporal", "cross_structural", "cross_temporal", "in_frame",
          "uniform", "first_frame")  # fmt: skip


def _merge(found: list[tuple[float, LayerBudget]]) -> Iterator[LayerBudget]:
    """One for each layer and step, the mean over its windows."""
    groups: dict[tuple[int, int], list[tuple[float, LayerBudget]]] = {}
    for weight, budget in found:
        groups.setdefault((budget.step, budget.layer), []).append((weight, budget))
    for _, group in sorted(groups.items()):
        first = group[0][1]
        at = (first.layer, first.step, round(first.sigma, 6), first.stage)
        yield LayerBudget(*at, *(_mean(group, name) for name in _MEANS))


def _stage(stage: int, layers: list[LayerBudget]) -> StageBudget:
    group = [(1.0, budget) for budget in layers]
    return StageBudget(stage, *(_mean(group, name) for name in _MEANS))


def _mean(group: list[tuple[float, LayerBudget]], name: str) -> float | None:
    known = [(w, getattr(b, name)) for w, b in group if getattr(b, name) is not None]
    total = sum(w for w, _ in known)
    return round(sum(w * v for w, v in known) / total, 4) if total else None


def _say(stage: StageBudget) -> str:
    first = ""
    if stage.first_frame is not None:
        first = f" Later frames look at frame 0 with {stage.first_frame:.0%}."
    return (
        f"Stage {stage.stage + 1}: {stage.self_structural:.0%} own frame, "
        f"{stage.self_temporal:.0%} other frames, {stage.cross_structural:.0%} prompt for all "
        f"frames, {stage.cross_temporal:.0%} prompt by frame. Looks at its own frame with "
        f"{stage.in_frame:.0%} (evenly it would be {stage.uniform:.0%}).{first}"
    )
