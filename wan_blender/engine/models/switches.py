# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a transformer faster on some machines: another attention, compiled blocks, products in
fp8. All of it is off unless a job asks for it, and stays off, with the reason, where it cannot run.

A model that is given back is as diffusers made it: ``restore`` undoes all that ``switch_on`` does.
"""

from __future__ import annotations

import importlib.util
from functools import cache

import torch
from diffusers.models.attention_dispatch import (
    AttentionBackendName,
    _check_attention_backend_requirements,
    dispatch_attention_fn,
)
from torch import nn

from ...core.answers.report import Switched
from ...core.programs import find_program
from ...core.settings import Speed
from .files.stored import Fp8, StoredLinear

# settings' names -> diffusers'; those that compute what the usual one does, the fastest first
BACKENDS = {
    "flash3": "_flash_3", "cudnn": "_native_cudnn", "flash": "flash", "xformers": "xformers",
    "sage": "sage",
}  # fmt: skip
EXACT = ("flash3", "cudnn", "flash")  # but for rounding; sage computes in int8
_COMPILERS = ("c++", "g++", "clang++", "cl")


def switch_on(model: nn.Module, wanted: Speed, device: torch.device, streamed: bool) -> Switched:
    """Give ``model`` what of ``wanted`` runs on ``device``; ``streamed``: its blocks come and go
    between calls."""
    restore(model)
    notes: list[str] = []
    attention = _pick_attention(wanted.attention, device, notes)
    if attention != "native":
        _set_attention(model, AttentionBackendName(BACKENDS[attention]))
    compiled = wanted.compile and _allowed("Blocks are not compiled", notes, _no_compiling(
        device, streamed
    ))  # fmt: skip
    if compiled:
        for block in _blocks(model):
            block.compile(dynamic=True)  # one program for every number of rows
    packed = [m for m in model.modules() if isinstance(m, StoredLinear) and _is_fp8(m)]
    products = wanted.fp8_products and _allowed("Products are not in fp8", notes, (
        no_fp8_products(device) or ("" if packed else "the model has no fp8 weights")
    ))  # fmt: skip
    for layer in packed:
        layer.multiplies_packed = products
    return Switched(attention, compiled, products, tuple(notes))


def restore(model: nn.Module) -> None:
    """Everything as it was loaded."""
    _set_attention(model, None)
    for module in model.modules():
        if isinstance(module, StoredLinear):
            module.multiplies_packed = False
    for block in _blocks(model):
        block._compiled_call_impl = None


def usable_attentions(device: torch.device) -> dict[str, str]:
    """Name -> why it cannot be used on ``device``; "" where it can."""
    return {name: _no_attention(name, device.type) for name in BACKENDS}


def _blocks(model: nn.Module) -> list[nn.Module]:
    return [*getattr(model, "blocks", ()), *getattr(model, "vace_blocks", ())]


def _allowed(what: str, notes: list[str], reason: str) -> bool:
    if reason:
        notes.append(f"{what}: {reason}.")
    return not reason


def _pick_attention(wanted: str, device: torch.device, notes: list[str]) -> str:
    if wanted == "native":
        return wanted
    if wanted == "best":
        return next((name for name in EXACT if not _no_attention(name, device.type)), "native")
    allowed = _allowed(f"Attention is not {wanted}", notes, _no_attention(wanted, device.type))
    return wanted if allowed else "native"


@cache
def _no_attention(name: str, device: str) -> str:
    """Why it cannot be used; found by asking for the package and by trying it."""
    if device != "cuda":
        return "it needs a GPU of NVIDIA or AMD"
    backend = AttentionBackendName(BACKENDS[name])
    try:
        _check_attention_backend_requirements(backend)
        x = torch.zeros(1, 64, 2, 128, device=device, dtype=torch.bfloat16)
        dispatch_attention_fn(x, x, x, backend=backend)
    except Exception as error:  # noqa: BLE001  what kernels raise has no bounds
        return str(error).partition("\n")[0].rstrip(".") or type(error).__name__
    return ""


def _set_attention(model: nn.Module, backend: AttentionBackendName | None) -> None:
    """Of the model's own processors; set_attention_backend of diffusers changes all models."""
    for module in model.modules():
        processor = getattr(module, "processor", None)
        if processor is not None and hasattr(processor, "_attention_backend"):
            processor._attention_backend = backend


def _no_compiling(device: torch.device, streamed: bool) -> str:
    if streamed:
        return "they come and go between calls"
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    if not any(map(find_program, _COMPILERS)):
        return "no C++ compiler was found"
    return ""


@cache
def no_fp8_products(device: torch.device) -> str:
    """Why ``device`` does not multiply in fp8; found by trying."""
    x = torch.ones(32, 32, device=device).to(torch.float8_e4m3fn)
    one = torch.ones((), device=device)
    try:
        torch._scaled_mm(x, x.T, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
    except Exception as error:  # noqa: BLE001  as above
        return str(error).partition("\n")[0].rstrip(".") or type(error).__name__
    return ""


def _is_fp8(layer: StoredLinear) -> bool:
    aligned = layer.in_features % 16 == 0 == layer.out_features % 16
    return isinstance(layer.form, Fp8) and layer.form.dtype == torch.float8_e4m3fn and aligned
