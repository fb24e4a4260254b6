# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage 2: a tokenizer and a UMT5 encoder that understand captions of this world.

The encoder learns to say, from a caption alone, what the scene was made of (and, per token, which
token it was). It is frozen afterwards; the transformers read its last hidden state.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from .backgrounds import TEXTURES, TONES
from .stage import Stage
from .world import HUES, KINDS, PATTERNS, RADII, Scene, caption, random_scene

MAX_LENGTH = 40  # tokens of a prompt, end mark included
WIDTH = 128
ACTS = ("left", "right", "up", "down", "turns", "grows", "shrinks", "still")
PANS = ("", "left", "right", "up", "down")


def train_tokenizer(captions: list[str], vocabulary: int = 512) -> PreTrainedTokenizerFast:
    """A lower-casing BPE tokenizer with T5's marks: <pad> = 0, </s> = 1 at the end, <unk> = 2."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(" {2,}", " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(),
            pre_tokenizers.Punctuation(),
        ]
    )
    tokenizer.decoder = decoders.Metaspace()
    letters = " abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"()-"
    tokenizer.train_from_iterator(
        captions + list(letters) * 20,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=["<pad>", "</s>", "<unk>"],
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>",
        special_tokens=[("</s>", 1)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=MAX_LENGTH,
        padding_side="right",
    )


def new_encoder(vocabulary: int) -> UMT5EncoderModel:
    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=vocabulary,
            d_model=WIDTH,
            d_kv=32,
            d_ff=256,
            num_layers=3,
            num_heads=4,
            dropout_rate=0.0,
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
        )
    )


def facts(scene: Scene) -> list[int]:
    """What a caption tells: of two shapes (front first, 0 = no such shape) and the background."""
    found = []
    for shape in (*scene.shapes[::-1], None, None)[:2]:
        if shape is None:
            found += [0, 0, 0, 0, 0, 0]
            continue
        act = next(i for i, word in enumerate(ACTS) if word in shape.act.split())
        found += [
            1 + KINDS.index(shape.kind),
            1 + list(HUES).index(shape.colour),
            1 + list(RADII).index(shape.size),
            1 + int(shape.shiny),
            1 + act,
            1 + PATTERNS.index(shape.pattern),
        ]
    ground = scene.background
    return [
        *found,
        list(TONES).index(ground.tone),
        TEXTURES.index(ground.texture),
        PANS.index(ground.pan_word),
    ]


FACT_SIZES = (*((6, 9, 4, 3, 9, 4) * 2), len(TONES), len(TEXTURES), len(PANS))


class Reader(nn.Module):
    """The encoder with the heads it is trained through; only `encoder` is kept."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.encoder = new_encoder(vocabulary)
        self.facts = nn.ModuleList(nn.Linear(WIDTH, size) for size in FACT_SIZES)
        self.token = nn.Linear(WIDTH, vocabulary)

    def loss(self, ids: torch.Tensor, mask: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of the facts from the mean token, plus of every token's own identity."""
        hidden = self.encoder(ids, attention_mask=mask).last_hidden_state
        weight = mask[..., None].float()
        pooled = (hidden * weight).sum(1) / weight.sum(1)
        told = sum(cross_entropy(head(pooled), known[:, i]) for i, head in enumerate(self.facts))
        same = cross_entropy(self.token(hidden[mask.bool()]), ids[mask.bool()])
        return told / len(self.facts) + same


def random_captions(rng: np.random.Generator, count: int) -> tuple[list[str], torch.Tensor]:
    """Captions and, as int64 (count, facts), what they were made from."""
    texts, known = [], []
    for _ in range(count):
        scene = random_scene(rng, 9)
        texts.append(caption(scene, rng))
        known.append(facts(scene))
    return texts, torch.tensor(known)


def tokenize(
    tokenizer: PreTrainedTokenizerFast, texts: list[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """ids and attention mask, both (count, MAX_LENGTH)."""
    found = tokenizer(
        texts,
        padding="max_length",
        max_length=MAX_LENGTH,
        truncation=True,
        return_tensors="pt",
    )
    return found.input_ids, found.attention_mask


@torch.no_grad()
def embed(
    tokenizer: PreTrainedTokenizerFast, encoder: UMT5EncoderModel, texts: list[str]
) -> torch.Tensor:
    """(count, MAX_LENGTH, WIDTH); zeros past the end of each prompt, as Wan feeds them."""
    ids, mask = tokenize(tokenizer, texts)
    hidden = encoder(ids.to(encoder.device), attention_mask=mask.to(encoder.device))
    return hidden.last_hidden_state.cpu() * mask[..., None]


def train_text(folder: Path, minutes: float, seed: int = 2, corpus: int = 20000) -> None:
    """Train the tokenizer (once) and the encoder; save both as `tokenizer/` and `text_encoder/`."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    texts, known = random_captions(rng, corpus)
    if not (folder / "tokenizer" / "tokenizer.json").exists():
        train_tokenizer(texts).save_pretrained(folder / "tokenizer")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
    stage = Stage("text", Reader(len(tokenizer)), folder, minutes, rate=2e-3)
    stage.train(caption_loss, tokenizer, texts, known, seed=seed)
    stage.ema.encoder.save_pretrained(folder / "text_encoder")


def caption_loss(
    tokenizer: PreTrainedTokenizerFast, texts: list[str], known: torch.Tensor, seed: int
) -> Callable[[Reader, float], torch.Tensor]:
    """The reader's loss on random batches of 128 captions."""
    rng = np.random.default_rng(seed)
    ids, mask = tokenize(tokenizer, texts)

    def loss(reader: Reader, progress: float) -> torch.Tensor:
        rows = torch.from_numpy(rng.integers(len(texts), size=128))
        length = int(mask[rows].sum(1).max())
        told = ids[rows, :length], mask[rows, :length], known[rows]
        return reader.loss(*(part.to(reader.encoder.device) for part in told))

    return loss
