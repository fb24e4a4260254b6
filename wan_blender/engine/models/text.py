# SPDX-License-Identifier: GPL-3.0-or-later
"""Prompts to text embeddings, the way Wan was trained."""

from __future__ import annotations

import html
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ftfy
import sentencepiece
import torch
from transformers import AutoTokenizer

from ...core.errors import WeightsMissing
from .files.tensor_files import read_small
from .files.weights import Weights


def clean_prompt(text: str) -> str:
    """Repair broken Unicode, resolve HTML entities (twice: captions come doubly escaped) and
    make every run of white space one blank."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())


@torch.no_grad()
def encode_prompts(prompts: list[str], tokenizer: Any, encoder: Any, length: int) -> torch.Tensor:
    """(n, length, d) embeddings; positions behind a prompt's last token are zeros.

    ``length`` is the number of tokens prompts are padded or cut to.
    """
    tokens = tokenizer(
        [clean_prompt(p) for p in prompts],
        padding="max_length",
        max_length=length,
        truncation=True,
        return_attention_mask=True,
        return_tensors="pt",
    )
    device = encoder.get_input_embeddings().weight.device
    ids, mask = tokens.input_ids.to(device), tokens.attention_mask.to(device)
    states = encoder(ids, mask).last_hidden_state
    return states.masked_fill(mask.unsqueeze(-1) == 0, 0)


class PieceTokenizer:
    """A bare SentencePiece model as T5 uses it: pad 0, end 1. Called like transformers' own."""

    def __init__(self, model: bytes) -> None:
        if not model:  # sentencepiece would take it for none given
            raise ValueError("the file is empty")
        self._pieces = sentencepiece.SentencePieceProcessor(model_proto=model)

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def unk_token_id(self) -> int:
        return self._pieces.unk_id()

    def __call__(self, texts: list[str], max_length: int, **_: Any) -> SimpleNamespace:
        rows = [[*self._pieces.encode(text)[: max_length - 1], 1] for text in texts]
        ids = torch.zeros(len(rows), max_length, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = 1
        return SimpleNamespace(input_ids=ids, attention_mask=mask)


def open_tokenizer(place: Path, encoder: Weights) -> Any:
    """From a folder, a SentencePiece file, or the one that the text encoder carries (ComfyUI's and
    GGUF do). Raises WeightsMissing."""
    if place.is_dir() and not (place / "tokenizer.json").is_file():
        place = place / "spiece.model"  # without either, transformers would make up a vocabulary
    try:
        if place.is_dir():
            tokenizer = AutoTokenizer.from_pretrained(
                place, local_files_only=True, trust_remote_code=False
            )
            if tokenizer.pad_token is None:
                raise ValueError("it says no padding token; its tokenizer_config.json is missing")
            return _fitting(tokenizer, encoder)
        if place.is_file():
            return _fitting(PieceTokenizer(read_small(place)), encoder)
        if pieces := encoder.tokenizer():
            return PieceTokenizer(pieces)
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise WeightsMissing(
            f"The tokenizer {place} cannot be used: {error}.",
            "Give the tokenizer folder (or spiece.model) of google/umt5-xxl.",
        ) from error
    raise WeightsMissing(
        f"There is no tokenizer at {place}.",
        "Give the tokenizer folder (or spiece.model) of google/umt5-xxl.",
    )


def _fitting(tokenizer: Any, encoder: Weights) -> Any:
    """``tokenizer``, unless it is another model's: its tokens would mean other words, or lie beyond
    those that are embedded. UMT5 embeds 256384 tokens and has 256300, of which 2 is the unknown
    one; T5 has 32100, mT5 250100, NLLB 256204, Gemma 256000 (where 3 is the unknown one) or 262145.
    Raises ValueError."""
    names = ("shared.weight", "encoder.embed_tokens.weight")
    rows = next(encoder.infos[name].shape[0] for name in names if name in encoder.infos)
    if not 0.98 * rows <= len(tokenizer) <= rows:
        raise ValueError(
            f"it has {len(tokenizer)} tokens where the text encoder embeds {rows}: it is another "
            "model's"
        )
    if (unknown := tokenizer.unk_token_id) not in (None, 2):
        raise ValueError(f"its unknown token is {unknown}, UMT5's is 2: it is another model's")
    return tokenizer
