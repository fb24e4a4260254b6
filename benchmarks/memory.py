# SPDX-License-Identifier: GPL-3.0-or-later
"""Predicted against measured peaks of whole jobs on the processor, each in an engine of its own.

Models have Wan's layers at other widths, and random weights; sizes are chosen so that now the
transformer, now the VAE and now the text encoder takes most.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from transformers import UMT5Config, UMT5EncoderModel

from tests.engine.folders import make_job
from tests.engine.untrained import write_untrained
from wan_blender.core.result import read_report

ROOT = Path(__file__).parents[1]
Row = tuple[str, str, str]


@dataclass(frozen=True)
class Model:
    """A Wan of ``heads`` x 128 channels, with a VAE of ``base`` and a text encoder of ``text``
    channels."""

    name: str
    kind: str
    heads: int
    layers: int
    base: int
    text: int = 256

    def write(self, folder: Path) -> Path:
        write_untrained(folder, self.kind)  # tokenizer and settings
        torch.manual_seed(0)
        channels = {"t2v": 16, "i2v": 36, "vace": 16}[self.kind]
        made = WanVACETransformer3DModel if self.kind == "vace" else WanTransformer3DModel
        more = {"vace_layers": [0, self.layers // 2]} if self.kind == "vace" else {}
        made(
            num_attention_heads=self.heads, attention_head_dim=128, ffn_dim=350 * self.heads,
            num_layers=self.layers, in_channels=channels, out_channels=16, text_dim=self.text,
            **more,
        ).save_pretrained(folder / "transformer")  # fmt: skip
        AutoencoderKLWan(base_dim=self.base, z_dim=16).save_pretrained(folder / "vae")
        UMT5EncoderModel(UMT5Config(
            vocab_size=258, d_model=self.text, d_kv=64, d_ff=2 * self.text, num_layers=4,
            num_heads=8, feed_forward_proj="gated-gelu", pad_token_id=0, eos_token_id=1,
        )).save_pretrained(folder / "text_encoder")  # fmt: skip
        return folder


MODELS = (
    Model("narrow", "t2v", 4, 4, 16),
    Model("wide", "t2v", 12, 4, 16),
    Model("deep VACE", "vace", 8, 8, 16),
    Model("I2V, VAE of half the width", "i2v", 4, 2, 48),
    Model("large text encoder", "t2v", 4, 2, 16, 2048),
)
SIZES = ((17, 256, 384), (5, 480, 832))  # frames, height, width


def measure() -> list[Row]:
    rows, ratios = [], []
    for model in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            path = model.write(Path(folder) / "model")
            for size in SIZES:
                predicted, measured = _run(Path(folder) / "job", path, size)
                ratios.append(predicted / measured)
                frames, height, width = size
                said = f"{ratios[-1]:.2f} ({predicted:.2f} and {measured:.2f} GB)"
                how = f"{model.name}, {frames} frames {width}x{height}, processor"
                rows.append(("peak, predicted / measured", said, how))
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}, median {statistics.median(ratios):.2f}"
    return [*rows, ("peaks, predicted / measured", spread, f"{len(ratios)} combinations")]


def _run(folder: Path, model: Path, size: tuple[int, int, int]) -> tuple[float, float]:
    """Predicted and measured GB."""
    frames, height, width = size
    plate = np.full((frames, height, width, 3), 90, np.uint8)
    mask = np.zeros((frames, height, width), np.uint16)
    mask[1:, height // 4 : -height // 4, width // 4 : -width // 4] = 65535
    make_job(
        folder, plate, mask, model__path=str(model), sampling__steps=1, region__mode="whole",
        sampling__guidance=1.0,
    )  # fmt: skip
    command = [sys.executable, "-m", "wan_blender.engine", "run", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    memory = read_report(folder / "result").memory
    return memory.predicted_gb, memory.measured_gb


if __name__ == "__main__":
    for row in measure():
        print(" | ".join(row), flush=True)
