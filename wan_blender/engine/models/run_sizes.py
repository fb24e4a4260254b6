# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run takes: weights as they lie in memory, the largest packed matrix unpacked, activations
of one transformer block per token and channel, and the VAE's top layer per pixel and channel.

The constants were measured on the CPU (docs/recipes.md has the table). They err on the large side.
"""

from __future__ import annotations

import math

from ..frames.vae import HALO, TILE
from .bundle import Bundle
from .files.assemble import TensorSource
from .files.stored import SLICE
from .memory import Sizes
from .parts import Component

_GB = 1e9


_AT_WORK = 12  # numbers for each channel of a token in the transformer's type; 12 bytes in float32
_CPU_BASE_GB = 0.6  # work areas of the kernels, and what the allocator does not give back

_BYTES = {
    "F32": 4.0, "F16": 2.0, "BF16": 2.0, "F8_E4M3": 1.0, "F8_E5M2": 1.0, "Q8_0": 1.0625,
    "Q6_K": 0.8203, "Q5_K": 0.6875, "Q5_0": 0.6875, "Q5_1": 0.75, "Q4_K": 0.5625, "Q4_0": 0.5625,
    "Q4_1": 0.625, "Q3_K": 0.4297, "Q2_K": 0.3281, "IQ4_NL": 0.5625, "IQ4_XS": 0.5313,
}  # fmt: skip

_UNPACKING = 24  # bytes for each number of the slice that is unpacked


def measure_run(
    bundle: Bundle,
    tokens: int,
    height: int,
    width: int,
    loras_gb: float = 0.0,
    latents_gb: float = 0.0,
) -> Sizes:
    """Sizes of a run over ``tokens`` model tokens, decoding frames of ``height`` x ``width``;
    ``latents_gb`` is what the whole shot's latents and conditions take."""
    parts = bundle.parts
    experts = [p for name, p in parts.items() if name.startswith("transformer")]
    config = parts["transformer"].config
    channels = config["num_attention_heads"] * config["attention_head_dim"]
    width_bytes = bundle.dtype.itemsize
    held = max(weights_gb(p, width_bytes) for p in experts)
    text = parts["text_encoder"]
    vae = parts["vae"].config
    base = vae.get("decoder_base_dim") or vae["base_dim"]
    patch = vae.get("patch_size") or 1
    decode = _decode_gb(height, width, base, patch)
    # kept aside while VACE's own blocks run, one for each block they steer
    hints = len(config.get("vace_layers") or ())
    return Sizes(
        transformer=held + loras_gb,
        blocks=config["num_layers"],
        text_encoder=weights_gb(text, width_bytes) + work_gb(text, width_bytes),
        vae=weights_gb(parts["vae"], 4),
        call=tokens * channels * ((_AT_WORK + hints) * width_bytes + 12) / _GB,
        encode=_encode_gb(height, width, vae["base_dim"], patch),
        decode=decode,
        tiled_decode=min(decode, _tile_gb(bundle.traits.cell, base, patch)),
        quantised=min(held, _parameters(experts[0].weights) * 1.1 / _GB) + loras_gb,
        work=max(work_gb(p, width_bytes) for p in experts),
        quantised_work=max(work_gb(p, width_bytes, quantised=True) for p in experts),
        base=latents_gb + (_CPU_BASE_GB if bundle.device.type == "cpu" else 0.0),
    )


def slab_gb(bundle: Bundle, tokens: int) -> float:
    """Keys and values of ``tokens`` in every self-attention of the transformer."""
    config = bundle.parts["transformer"].config
    channels = config["num_attention_heads"] * config["attention_head_dim"]
    layers = config["num_layers"] + len(config.get("vace_layers") or ())
    return 2 * tokens * channels * layers * bundle.dtype.itemsize / _GB


def weights_gb(part: Component, width_bytes: int) -> float:
    """Room the tensors take once they are loaded."""
    total = 0.0
    for name, info in part.weights.infos.items():
        each = _BYTES[info.dtype] if _stays_packed(part, name) else width_bytes
        total += math.prod(info.shape) * each
    return total / _GB


def work_gb(part: Component, width_bytes: int, quantised: bool = False) -> float:
    """Room a product with the largest packed matrix takes beside it: the matrix in the type of
    its input, and the steps of unpacking a slice. ``quantised``: with all of the blocks packed."""
    sizes = [
        math.prod(info.shape)
        for name, info in part.weights.infos.items()
        if _stays_packed(part, name) or (quantised and "blocks." in name and len(info.shape) == 2)
    ]
    largest = max(sizes, default=0)
    return (largest * width_bytes + min(largest, SLICE) * _UNPACKING) / _GB


def _stays_packed(part: Component, name: str) -> bool:
    stored = _BYTES.get(part.weights.infos[name].dtype, 2.0)
    return stored < 2 and part.stays_packed(name)


def _parameters(weights: TensorSource) -> int:
    return sum(math.prod(info.shape) for info in weights.infos.values())


def _tile_gb(cell: int, base: int, patch: int) -> float:
    side = (TILE + 2 * HALO) * cell
    return _decode_gb(side, side, base, patch)


def _decode_gb(height: int, width: int, base: int, patch: int) -> float:
    """The VAE works on four frames at a time; its top layer counts."""
    return 165 * height * width * (base + 20) / patch**2 / _GB


def _encode_gb(height: int, width: int, base: int, patch: int) -> float:
    """The residual encoder, which sees patches, holds a shortcut beside each layer."""
    return (110 if patch == 1 else 180) * height * width * (base + 20) / patch**2 / _GB
