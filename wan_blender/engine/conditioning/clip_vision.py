# SPDX-License-Identifier: GPL-3.0-or-later
"""CLIP's view of the given frames: Wan 2.1's image-to-video models attend to it, 2.2's do not."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from ..models.bundle import Bundle

# CLIP's own statistics (openai/CLIP), RGB in 0..1
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


@torch.no_grad()
def encode_images(bundle: Bundle, pictures: list[np.ndarray]) -> torch.Tensor | None:
    """Penultimate hidden states (n, tokens, d) of the pictures, or None when the model has no use
    for them. First-last-frame models take both pictures' tokens."""
    if not bundle.traits.needs_clip:
        return None
    encoder = bundle.image_encoder
    size = encoder.config.image_size
    squares = [cv2.resize(p, (size, size), interpolation=cv2.INTER_CUBIC) for p in pictures]
    pixels = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2) / 2 + 0.5
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    weight = next(encoder.parameters())
    pixels = ((pixels - mean) / std).to(weight.device, weight.dtype)
    tokens = encoder(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]
    bundle.unload("image_encoder")
    return tokens.to(bundle.device)
