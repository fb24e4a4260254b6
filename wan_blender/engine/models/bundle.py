# SPDX-License-Identifier: GPL-3.0-or-later
"""A model as a Bundle whose parts are loaded when they are first used.

    bundle = open_model("/models/Wan2.2-T2V-A14B-Diffusers", "cuda", "bfloat16")
    context = bundle.encode_text(["a red ball"])
    bundle.unload("text_encoder")
    velocity = bundle.transformer(sigma=0.95)(hidden_states=..., timestep=...)

A model is a folder in diffusers layout, or a folder with a ``wan_blender.json`` that says where
each part is:

    {"components": {"transformer": "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors",
                    "transformer_2": "Wan2.2-T2V-A14B-LowNoise-Q5_K_S.gguf",
                    "vae": "../vae/wan_2.1_vae.safetensors", "text_encoder": ..., "tokenizer": ...},
     "boundary": 0.875, "max_sequence_length": 512}

Opening checks every file's header, so that what is missing, cut short, unsafe or of another
architecture is known in a second and not after minutes of loading. Nothing is ever fetched from
the network and no code from a model folder is run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from transformers import CLIPVisionModel

from ...core.errors import BadRequest, WeightsMissing, WrongModel
from ...model_info.traits import Traits, read_traits
from .files.tensor_files import digest, fingerprint
from .held import Held
from .layout import CLIP, commit_of, find_folder, place_of, places, read_settings
from .memory import MemoryPlan
from .parts import Component, OnTensor
from .text import encode_prompts, open_tokenizer

# What a model's input depends on: models that differ in one of these cannot take turns.
KIND = (
    "_class_name", "in_channels", "out_channels", "text_dim", "image_dim", "pos_embed_seq_len",
)  # fmt: skip
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Expert:
    """A transformer and the sigmas it is for: from ``sigma_from`` down to ``sigma_to``."""

    part: Component
    sigma_from: float
    sigma_to: float

    @property
    def model(self) -> Any:
        return self.part.model


class Bundle:
    """The parts of one model. Transformers compute in the asked precision, the VAE in float32."""

    def __init__(
        self,
        name: str,
        folder: Path,
        traits: Traits,
        parts: dict[str, Component],
        tokenizer: Path,
        held: Held,
    ) -> None:
        self.name, self.folder, self.traits = name, folder, traits
        self.parts, self.held = parts, held
        self._tokenizer_place = tokenizer
        self._tokenizer: Any = None
        files = [file for part in parts.values() for file in part.files]
        self.fingerprint = fingerprint(files)
        self.revision = commit_of(parts["transformer"].files[0]) or self.fingerprint[:12]

    @property
    def device(self) -> torch.device:
        return self.parts["transformer"].device

    @property
    def dtype(self) -> torch.dtype:
        return self.parts["transformer"].dtype

    @property
    def experts(self) -> tuple[Expert, ...]:
        """High noise first."""
        high, boundary = self.parts["transformer"], self.traits.boundary
        if boundary is None:
            return (Expert(high, 1.0, 0.0),)
        return (
            Expert(high, 1.0, boundary),
            Expert(self.parts["transformer_2"], boundary, 0.0),
        )

    def expert(self, sigma: float) -> Expert:
        """The expert for ``sigma``; at the boundary itself it is the high-noise one."""
        return next(e for e in self.experts if sigma >= e.sigma_to)

    def transformer(self, sigma: float) -> Any:
        return self.expert(sigma).model

    @property
    def vae(self) -> AutoencoderKLWan:
        return self.parts["vae"].model

    @property
    def image_encoder(self) -> CLIPVisionModel:
        """CLIP, for models whose ``traits.needs_clip`` is true."""
        return self.parts["image_encoder"].model

    def read_tokenizer(self) -> Any:
        """The tokenizer, read once. Raises WeightsMissing."""
        if self._tokenizer is None:
            encoder = self.parts["text_encoder"]
            place = self._tokenizer_place
            key = ("tokenizer", str(place), digest(place), encoder.key)
            self._tokenizer = self.held.share(key, lambda: open_tokenizer(place, encoder.weights))
        return self._tokenizer

    def encode_text(self, prompts: list[str]) -> torch.Tensor:
        """(n, L, d) in the transformers' dtype and device; zeros behind each prompt's end."""
        tokenizer, encoder = self.read_tokenizer(), self.parts["text_encoder"]
        length = self.traits.max_sequence_length
        embeddings = encode_prompts(prompts, tokenizer, encoder.model, length)
        target = self.parts["transformer"]
        return embeddings.to(target.device, target.dtype)

    def content(self, name: str) -> str:
        """What the output of a part depends on besides its input, for a cache to know it by."""
        part = self.parts[name]
        known = [fingerprint(part.files), json.dumps(part.config, sort_keys=True, default=str)]
        if name == "text_encoder":
            known += [str(self.traits.max_sequence_length), digest(self._tokenizer_place)]
        return " ".join(known)

    def fit(self, plan: MemoryPlan) -> None:
        """Load the parts as ``plan`` says from now on."""
        for name, part in self.parts.items():
            if name.startswith("transformer"):
                part.fit(plan.quantise, plan.resident_blocks)
        self.parts["text_encoder"].fit(on_cpu=plan.text_on_cpu)
        self.parts["vae"].fit(on_cpu=plan.vae_on_cpu)

    def unload(self, *names: str) -> None:
        """Drop parts by name ("text_encoder", "vae", "transformer", ...); all when none given."""
        for name in names or tuple(self.parts):
            if name in self.parts:
                self.parts[name].unload()


def open_model(
    path: str | Path = "",
    device: str = "auto",
    dtype: str = "auto",
    watch: OnTensor | None = None,
    keep_packed: bool = True,
    held: Held | None = None,
) -> Bundle:
    """Open a model folder; "" is the bundled model.

    ``watch`` is called with a part's name before each of its tensors is read and once all are,
    with how many of how many are read; it may raise Cancelled.
    ``keep_packed`` leaves fp8 and GGUF matrices packed in memory, which takes less room and more
    time. ``held`` has parts of earlier jobs and takes those of this one. Raises WeightsMissing,
    UnsafeWeights, WrongModel, or BadRequest for a device that is not there.
    """
    held = held or Held(keeps=False)
    where = torch.device(pick_device(device))
    if where.type == "cuda":
        torch.cuda.set_device(where.index or 0)  # whose peak is measured, and streams are made on
    precision = pick_dtype(dtype, where)
    folder, name = find_folder(path)
    index, settings = read_settings(folder)
    boundary = settings.get("boundary", index.get("boundary_ratio"))
    precisions = {"vae": torch.float32, "image_encoder": torch.float32}
    if precision == torch.float16:
        precisions["text_encoder"] = torch.bfloat16  # T5 overflows float16
    parts = {
        part: Component(
            part,
            place,
            where,
            precisions.get(part, precision),
            watch or (lambda part, done, total: None),
            keep_packed,
            held,
        )
        for part, place in places(folder, settings, boundary).items()
    }
    _check_company(parts)
    traits = read_traits(parts["transformer"].config, parts["vae"].config, boundary, settings)
    if traits.needs_clip and "image_encoder" not in parts:
        raise WeightsMissing(
            f"{folder} lacks {CLIP}, which its transformer takes.",
            "Download it and put the model together again.",
        )
    return Bundle(name, folder, traits, parts, place_of(folder, settings, "tokenizer"), held)


def _check_company(parts: dict[str, Component]) -> None:
    """Raise WrongModel when an encoder or the second expert is not the transformer's."""
    first = parts["transformer"]
    made, taken = parts["text_encoder"].config.get("d_model"), first.config.get("text_dim")
    if made != taken:
        raise WrongModel(
            f"The text encoder {parts['text_encoder'].source} makes {made} channels, the "
            f"transformer takes {taken}.",
            "Wan needs UMT5-XXL.",
        )
    if "image_encoder" in parts and first.config.get("image_dim"):
        clip = parts["image_encoder"].config
        made, taken = clip.get("vision_config", clip).get("hidden_size"), first.config["image_dim"]
        if made != taken:
            raise WrongModel(
                f"The image encoder {parts['image_encoder'].source} makes {made} channels, the "
                f"transformer takes {taken}.",
                "Wan 2.1 needs CLIP ViT-H.",
            )
    second = parts.get("transformer_2", first)
    for name in KIND:
        high, low = first.config.get(name), second.config.get(name)
        if high != low:
            raise WrongModel(
                f"The two experts do not belong together: {name} is {high} in {first.source} and "
                f"{low} in {second.source}."
            )


def pick_device(device: str) -> str:
    """ "auto" is CUDA (ROCm answers to that name too), else Apple's GPU, else the CPU. Raises
    BadRequest for one that is not there."""
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        return next(name for name, present in there.items() if present)
    asked = torch.device(device)
    if not there[asked.type]:
        raise BadRequest(
            f"The model is to run on {device!r}, which torch {torch.__version__} does not find.",
            'Set model.device to "auto", or see what "python -m wan_blender.engine doctor" says.',
        )
    if asked.index and asked.index >= (count := torch.cuda.device_count()):
        names = ", ".join(["cuda", *(f"cuda:{index}" for index in range(1, count))])
        raise BadRequest(
            f"The model is to run on {device!r}; torch finds {count} GPU{'s' * (count > 1)}.",
            f"Set model.device to one of: {names}.",
        )
    return device


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    if dtype != "auto":
        return _DTYPES[dtype]
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if _has_bfloat16(device) else torch.float16


def _has_bfloat16(device: torch.device) -> bool:
    """NVIDIA's cards before Ampere (GTX, RTX 20, T4, V100) have no bfloat16 of their own, and go
    through float32 for it."""
    if device.type != "cuda" or torch.version.hip is not None:
        return True
    return torch.cuda.get_device_capability(device) >= (8, 0)
