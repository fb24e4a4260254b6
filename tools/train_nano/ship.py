# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what was trained as the bundled model: diffusers folders, half precision, nothing twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from transformers import UMT5EncoderModel

from .examples import FULL
from .sample import GUIDANCE, STEPS
from .text import MAX_LENGTH
from .transformer import BOUNDARY, SHIFT

TARGET = Path("wan_blender/engine/nano")
_PIPELINES = {
    "vace": "WanVACEPipeline",
    "i2v": "WanImageToVideoPipeline",
    "experts": "WanVACEPipeline",
}


def ship(work: Path, target: Path = TARGET) -> list[str]:
    """Copy every stage that is there; returns the variants that are complete now."""
    _half(AutoencoderKLWan, work / "vae", target / "base" / "vae")
    _half(UMT5EncoderModel, work / "text_encoder", target / "base" / "text_encoder")
    shutil.copytree(work / "tokenizer", target / "base" / "tokenizer", dirs_exist_ok=True)
    shipped = []
    if (work / "vace").is_dir():
        _half(WanVACETransformer3DModel, work / "vace", target / "vace" / "transformer")
        _describe(target / "vace", WanVACETransformer3DModel)
        shipped.append("vace")
    if (work / "image").is_dir():
        _half(WanTransformer3DModel, work / "image", target / "i2v" / "transformer")
        _describe(target / "i2v", WanTransformer3DModel)
        shipped.append("i2v")
    if (work / "low").is_dir():
        _half(WanVACETransformer3DModel, work / "low", target / "experts" / "transformer_2")
        _describe(
            target / "experts",
            WanVACETransformer3DModel,
            {"transformer": "../vace/transformer"},
            BOUNDARY,
        )
        shipped.append("experts")
    return shipped


def adopt(work: Path, source: Path = TARGET) -> None:
    """The way back: the shipped parts as a fresh work folder, to train on from there."""
    for part in ("vae", "text_encoder", "tokenizer"):
        shutil.copytree(source / "base" / part, work / part, dirs_exist_ok=True)
    for name, part in (
        ("vace", "vace/transformer"),
        ("image", "i2v/transformer"),
        ("low", "experts/transformer_2"),
    ):
        if (source / part).is_dir():
            shutil.copytree(source / part, work / name, dirs_exist_ok=True)


def _half(kind: type, source: Path, place: Path) -> None:
    kind.from_pretrained(source).to(torch.float16).save_pretrained(place)


def _describe(
    folder: Path,
    transformer: type,
    components: dict[str, str] | None = None,
    boundary: float | None = None,
) -> None:
    """model_index.json as diffusers writes it, and where the shared parts are."""
    index = {
        "_class_name": _PIPELINES[folder.name],
        "_diffusers_version": diffusers.__version__,
        "boundary_ratio": boundary,
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", transformer.__name__],
        "transformer_2": ["diffusers", transformer.__name__] if boundary else [None, None],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }
    shared = {name: f"../base/{name}" for name in ("vae", "text_encoder", "tokenizer", "scheduler")}
    settings = {
        "components": shared | (components or {}),
        "max_sequence_length": MAX_LENGTH,
        "shift": SHIFT,
        "guidance": GUIDANCE,
        "steps": STEPS,
        "native_pixels": FULL[1] * FULL[2],
        "native_frames": FULL[0],
    }
    _write(folder / "model_index.json", index)
    _write(folder / "wan_blender.json", settings)
    _write(
        folder.parent / "base" / "scheduler" / "scheduler_config.json",
        {
            "_class_name": "UniPCMultistepScheduler",
            "_diffusers_version": diffusers.__version__,
            "prediction_type": "flow_prediction",
            "use_flow_sigmas": True,
            "flow_shift": SHIFT,
            "num_train_timesteps": 1000,
        },
    )


def _write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
