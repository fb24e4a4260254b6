# SPDX-License-Identifier: GPL-3.0-or-later
"""Put tensors into a model that was built without memory, after checking that they fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import torch
from torch import nn

from ....core.errors import WrongModel
from .stored import Fp8, Stored, StoredLinear, pack
from .tensor_files import TensorInfo

# One tensor under two names; files usually hold one of them.
ALIASES = {
    "encoder.embed_tokens.weight": "shared.weight",
    "shared.weight": "encoder.embed_tokens.weight",
}


class TensorSource(Protocol):
    """Tensors of a model under its diffusers names, read one by one."""

    infos: Mapping[str, TensorInfo]

    def read(self, name: str) -> torch.Tensor | Stored: ...


def assemble(
    model: nn.Module,
    weights: TensorSource,
    device: torch.device,
    dtype: torch.dtype,
    source: str,
    exact: Iterable[str] = (),
    keep_packed: bool = True,
    quantise: bool = False,
    on_tensor: Callable[[int, int], None] = lambda done, total: None,
) -> nn.Module:
    """Fill ``model`` (on the meta device) from ``weights``; ``source`` is for messages.

    Tensors with a part of their name in ``exact`` become float32. Packed matrices (fp8, GGUF)
    stay packed where a linear layer takes them, unless ``keep_packed`` is off. ``quantise`` packs
    the other matrices of the blocks to fp8, one by one: the device never holds them all as they
    were. ``on_tensor`` is called before each is read and may raise to stop. Raises WrongModel
    before anything is read when names or shapes differ.
    """
    expected = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    ignored = getattr(model, "_keys_to_ignore_on_load_unexpected", None)
    check(expected, weights.infos, ignored, source)
    exact = frozenset(exact)
    state, packed = {}, {}
    for done, name in enumerate(expected):
        on_tensor(done, len(expected))
        raw = name if name in weights.infos else ALIASES[name]
        if raw in state:
            state[name] = state[raw]  # two gigabytes, in UMT5
            continue
        value = weights.read(raw)
        target = torch.float32 if exact.intersection(name.split(".")) else dtype
        if isinstance(value, Stored):
            keep = keep_packed and can_hold(device, isinstance(value.form, Fp8))
            if keep and target == dtype and is_matrix(model, name):
                packed[name] = value
                continue
            value = value.unpack(target)
        value = value.to(device, target if value.is_floating_point() else value.dtype)
        if quantise and "blocks." in name and target == dtype and is_matrix(model, name):
            packed[name] = pack(value)
        else:
            state[name] = value
    model.load_state_dict(state, strict=not packed, assign=True)
    for name, value in packed.items():
        _put_packed(model, name, value, device)
    if hasattr(model, "tie_weights"):
        model.tie_weights()
    return model.to(device).eval().requires_grad_(False)


def _put_packed(model: nn.Module, name: str, value: Stored, device: torch.device) -> None:
    """In place of the linear layer whose weight is called ``name``."""
    path = name.rpartition(".")[0]
    parent, _, leaf = path.rpartition(".")
    layer = StoredLinear(model.get_submodule(path), value, device)
    setattr(model.get_submodule(parent), leaf, layer)


def can_hold(device: torch.device, float8: bool) -> bool:
    """Whether packed matrices can lie on ``device``: Apple GPUs know no float8."""
    return not (float8 and device.type == "mps")


def is_matrix(model: nn.Module, name: str) -> bool:
    """Whether the tensor is a linear layer's weight, which can stay packed."""
    path, _, leaf = name.rpartition(".")
    return leaf == "weight" and isinstance(model.get_submodule(path), nn.Linear)


COUNTERS = ((), (1,))  # shapes of what trainers keep beside weights: steps, averages


def check(
    expected: Mapping[str, tuple[int, ...]],
    infos: Mapping[str, TensorInfo],
    ignored: Iterable[str] | None,
    source: str,
) -> None:
    """Raise WrongModel unless the file holds exactly the tensors that the model has."""
    missing = [n for n in expected if n not in infos and ALIASES.get(n) not in infos]
    surplus = [
        name
        for name, info in infos.items()
        if name not in expected
        and info.shape not in COUNTERS
        and not any(part in name for part in ignored or ())
    ]
    uneven = [n for n in expected if n in infos and infos[n].shape != expected[n]]
    found = []
    for words, names in (("lacks", missing), ("has no place for", surplus)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            found.append(f"{words} {', '.join(names[:3])}{more}")
    for name in uneven[:3]:
        found.append(f"has {name} as {infos[name].shape} instead of {expected[name]}")
    if found:
        raise WrongModel(
            f"{source} does not fit its configuration: it {'; '.join(found)}.",
            "It is another model than its folder says, or not a Wan model.",
        )
