# SPDX-License-Identifier: GPL-3.0-or-later
"""A value that is not finite is an error, reported where it first appears, with what to try."""

from __future__ import annotations

import torch

from ..core.errors import NotFinite

Tensor = torch.Tensor

DAMAGED = "The file is damaged: fetch it again."
WIDER = 'Give the model a wider type: set model.dtype to "bfloat16", or to "float32".'
PLAIN = "Another solver, fewer LoRAs or a lower guidance may help; the log has the settings."


def require_finite(values: Tensor, said: str, model: torch.nn.Module | None = None) -> Tensor:
    """``values`` as they are. Raises NotFinite where one is NaN or infinite: ``said`` names whose
    they are and where ("The transformer of X at step 3 of 20"), ``model`` is looked through for
    weights that are to blame."""
    if bool(torch.isfinite(values).all()):
        return values
    broken = find_broken_weights(model) if model is not None else ""
    if broken:
        raise NotFinite(f"{said} gave NaN: its weights {broken} hold NaN themselves.", DAMAGED)
    narrow = values.dtype == torch.float16 or (
        model is not None and any(p.dtype == torch.float16 for p in model.parameters())
    )
    kind = "NaN" if bool(torch.isnan(values).any()) else "infinite values"
    dtype = "float16" if narrow else str(values.dtype).removeprefix("torch.")
    raise NotFinite(f"{said} gave {kind} in {dtype}.", WIDER if narrow else PLAIN)


def find_broken_weights(model: torch.nn.Module) -> str:
    """The name of the first parameter or buffer that holds NaN or infinity; "" for none. Packed
    matrices are integers or fp8 here and cannot be told."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in tensors:
        plain = tensor.dtype in (torch.float32, torch.float16, torch.bfloat16)
        if plain and not bool(torch.isfinite(tensor).all()):
            return name
    return ""
