# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the recipe computes: a CUDA card where there is one, else the processor.

Data stays on the processor; whoever runs a model moves it there and back. Products are taken in
bfloat16 where the machine multiplies it fast (four times as fast as float32 on a processor with
AVX-512 BF16); weights, sums and losses stay float32.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@functools.cache
def product_dtype(device: torch.device = DEVICE) -> torch.dtype:
    """bfloat16 where `device` multiplies it fast, else float32."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        abilities = torch.cpu.get_capabilities()
        fast = abilities.get("avx512_bf16") or abilities.get("amx_bf16")
    return torch.bfloat16 if fast else torch.float32


@contextlib.contextmanager
def fast_products(device: torch.device = DEVICE) -> Iterator[None]:
    """Within it, products of matrices are taken in `product_dtype`."""
    dtype = product_dtype(device)
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.autocast(device.type, dtype, enabled=dtype == torch.bfloat16))
        if device.type == "cpu" and dtype == torch.bfloat16:
            # the processor's fused attention has a slow way back in bfloat16
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield
