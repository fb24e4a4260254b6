# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine found of models, and what it can fetch: its answers to Blender about them. They
are here and not in core/answers because a model has Traits. No torch, no bpy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.answers.typed import entry
from .traits import Traits


@dataclass(frozen=True)
class Identity:
    """What one weight file is. A checkpoint that holds several parts has one Identity for each."""

    path: Path = entry("The file, or the folder of its shards")
    role: str = entry(
        "transformer, vae, text_encoder, image_encoder, vace (what VACE adds to a T2V transformer) "
        'or lora; "" for anything else'
    )
    kind: str = entry("Of a transformer t2v, i2v, ...; else what tells versions apart", "")
    precision: str = entry("bf16, fp8, fp8 scaled, Q4_K", "")
    parameters_b: float = entry("Parameters of this part, 1e9", 0.0)
    width: int = entry("Channels; of a LoRA those of the transformer it is for", 0)
    latent_channels: int = entry("Latent channels", 0)
    text_dim: int = entry("Channels of the text encoder that a transformer takes", 0)
    image_dim: int = entry("Channels of the image encoder that it takes; 0: none", 0)
    expert: str = entry('"high" or "low", which only a file\'s name can tell', "")
    has_tokenizer: bool = entry("Whether a text encoder carries its tokenizer", False)
    foreign: tuple[str, ...] = entry("Modules of a transformer that no Wan has", ())

    @property
    def title(self) -> str:
        """In words, for lists: "T2V 14.3B, fp8 scaled, high noise"."""
        words = [f"{self.kind.upper() or self.role} {self.parameters_b:.2g}B", self.precision]
        if self.expert:
            words.append(f"{self.expert} noise")
        return ", ".join(words)


@dataclass(frozen=True)
class FoundModel:
    """One model to choose. It can run when ``missing`` is empty."""

    path: str = entry("What model.path takes; empty for files to be assembled first")
    name: str = entry("Name for lists")
    kind: str = entry("Name in KINDS", "")
    tasks: tuple[str, ...] = entry("What it is for, in words", ())
    sizes: tuple[str, ...] = entry("Picture sizes it was made for", ())
    parameters_b: float = entry("Parameters of its transformers, 1e9", 0.0)
    precision: str = entry("Precisions of its transformers", "")
    width: int = entry("Channels of the transformer", 0)
    boundary: float | None = entry("Noise level at which two experts change over", None)
    traits: Traits | None = entry("What it can do", None)
    parts: dict[str, tuple[str, ...]] = entry("Files of each part", {})
    components: dict[str, tuple[str, ...]] = entry("Files to assemble, by part", {})
    missing: tuple[str, ...] = entry("What it lacks to run", ())
    notes: tuple[str, ...] = entry("Which file was taken where several fit", ())
    defaults: dict[str, Any] = entry("Settings it was released with, by dotted name", {})
    catalogue_key: str = entry("Its name in the catalogue", "")
    loras: tuple[str, ...] = entry("Keys of the LoRAs recommended for it", ())


@dataclass(frozen=True)
class CatalogueModel:
    key: str = entry("Its name in the catalogue")
    title: str = entry("Name for lists")
    licence: str = entry("Its licence")
    tasks: tuple[str, ...] = entry("What it is for, in words")


@dataclass(frozen=True)
class CatalogueLora:
    key: str = entry("Its name in the catalogue")
    title: str = entry("Name for lists")


@dataclass(frozen=True)
class CataloguePart:
    key: str = entry("Its name in the catalogue")
    title: str = entry("Name for lists")
    fills: str = entry("What a model lacks without it, in the words of FoundModel.missing")


@dataclass(frozen=True)
class Listing:
    """Everything that was found on this machine, and what could be fetched."""

    version: str = entry("Version of wan_blender that looked", "")
    models: tuple[FoundModel, ...] = entry("Models, bundled ones first", ())
    files: tuple[Identity, ...] = entry("Single weight files", ())
    catalogue: tuple[CatalogueModel, ...] = entry("Models that can be fetched", ())
    loras: tuple[CatalogueLora, ...] = entry("LoRAs that can be fetched", ())
    parts: tuple[CataloguePart, ...] = entry("Parts that can be fetched alone", ())
    tokenizers: tuple[str, ...] = entry("Tokenizers that a text encoder can take", ())
    unusable: dict[str, str] = entry("Weight files that cannot be used, with the reason", {})

    def part_for(self, lack: str) -> str:
        """The key of what fills ``lack``, one of a model's ``missing``; "" where nothing does."""
        return next((part.key for part in self.parts if part.fills == lack), "")


@dataclass(frozen=True)
class Offer:
    """A download before it is begun. Sizes are bytes."""

    key: str = entry("Its name in the catalogue")
    title: str = entry("Name for lists")
    licence: str = entry("Its licence")
    total: int = entry("Size of all its files")
    needed: int = entry("What has not arrived yet")
    found: tuple[str, ...] = entry("Files that are on this machine already")
    free: int = entry("Free space where it would go")
    to: str = entry("Folder it would go to")


@dataclass(frozen=True)
class Fetched:
    """Where a download went: one of the three."""

    model: str | None = entry("Folder of a model", None)
    lora: str | None = entry("File of a LoRA", None)
    part: str | None = entry("File of a part", None)
