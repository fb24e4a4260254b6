# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipe in short: every stage from nothing to shipped files, at sizes that take seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tools.train_nano import drafts, examples, text, transformer, vae
from tools.train_nano.clips import draw_example
from tools.train_nano.latents import Codec
from tools.train_nano.muon import orthogonalised
from tools.train_nano.sample import Sampler
from tools.train_nano.ship import adopt, ship
from tools.train_nano.stage import Stage
from tools.train_nano.text import random_captions
from tools.train_nano.vision import look, moved
from tools.train_nano.world import DIRECTIONS, HUES, KINDS, Scene, random_shape, render

SIZE = (9, 64, 64)
MOMENT = 0.02  # minutes


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every stage has run for a moment."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("train_nano")
    vae.train_vae(folder, MOMENT, clips=4, helpers=0).save_pretrained(folder / "vae")
    text.train_text(folder, MOMENT, corpus=400)
    for kind in ("vace", "image"):
        examples.make_examples(folder, kind, 0.001, sizes=(SIZE,))
    for name in ("vace", "image", "low"):
        transformer.train_variant(name, folder, MOMENT, helpers=0)
    drafts.make_drafts(folder, 0.001, sizes=(SIZE,))
    drafts.train_on_drafts(folder, MOMENT, sizes=(SIZE,), clips=4, helpers=0)
    torch.set_num_threads(threads)
    return folder


def test_every_stage_leaves_finite_weights_and_ships_all_variants(work, tmp_path):
    assert ship(work, tmp_path) == ["vace", "i2v", "experts"]
    model = transformer.WanVACETransformer3DModel.from_pretrained(work / "vace")
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_shipped_model_can_be_adopted_and_trained_on(work, tmp_path):
    ship(work, tmp_path / "shipped")
    adopt(tmp_path / "again", tmp_path / "shipped")
    start, end = (
        transformer.WanVACETransformer3DModel.from_pretrained(folder / "vace").state_dict()
        for folder in (work, tmp_path / "again")
    )
    for key, value in start.items():
        assert torch.allclose(value, end[key].float(), atol=2e-3), key


def test_drafts_are_of_the_pictures_that_their_examples_were_made_of(work):
    (path,) = (work / "drafts").glob("*.safetensors")
    draft, example = (load_file(work / kind / path.name) for kind in ("drafts", "examples/vace"))
    codec = Codec.load(work)
    pixels = draft["pixels"][:1].permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    rounding = codec.encode(pixels) - example["target"][:1].float()  # of pixels to 8 bits
    assert rounding.abs().mean() < 0.05
    kept = (example["condition"][:, 32:].amax(dim=1) == 0)[:, None].expand_as(draft["latents"])
    assert torch.equal(draft["latents"][kept], example["target"][kept])
    assert not torch.equal(draft["latents"], example["target"])


def test_sampler_draws_kept_area_equal_and_two_seeds_apart(work):
    model = transformer.WanVACETransformer3DModel.from_pretrained(work / "vace")
    sampler = Sampler(Codec.load(work), model)
    source = np.random.default_rng(0).random((*SIZE, 3), np.float32)
    mask = np.zeros(SIZE, np.float32)
    mask[:, 16:48, 16:48] = 1
    one, two = (
        sampler.inpaint(["a red ball"], [source], [mask], seed=seed, steps=2)[0] for seed in (1, 2)
    )
    assert np.array_equal(one[mask == 0], source[mask == 0])
    assert not np.array_equal(one, two)


def test_stage_resumes_where_it_was_stopped(tmp_path):
    first = Stage("line", torch.nn.Linear(4, 4), tmp_path, 1.0, 1e-3)
    first.step(first.model(torch.ones(2, 4)).square().mean())
    first.elapsed = 30.0
    first.save()
    second = Stage("line", torch.nn.Linear(4, 4), tmp_path, 1.0, 1e-3)
    assert (second.count, second.progress) == (1, 0.5)
    assert torch.equal(second.model.weight, first.model.weight)


def test_losses_are_computed_where_the_model_is():
    """On torch's device without storage, which refuses to mix with the processor as a card does."""
    there = torch.device("meta")
    model = transformer.new_vace().to(there)
    batch = (
        torch.zeros(2, 16, 2, 8, 8),
        torch.zeros(2, 96, 2, 8, 8),
        torch.zeros(2, text.MAX_LENGTH, text.WIDTH),
        torch.zeros(2, 1, 2, 8, 8),
    )
    losses = [
        transformer.flow_loss(model, batch, torch.zeros(1, text.MAX_LENGTH, text.WIDTH)),
        vae.loss_of(vae.new_vae().to(there), torch.zeros(1, 3, 5, 32, 32)),
    ]
    for loss in losses:
        assert loss.device == there
        loss.backward()


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0, 0.875)])
def test_noise_levels_cover_their_range_and_gather_in_the_middle(low, high):
    torch.manual_seed(0)
    levels = transformer.noise_levels(4000, (low, high))
    assert low < levels.min() < 0.1
    assert high - 0.05 < levels.max() < high
    assert ((levels > 0.4) & (levels < 0.85)).float().mean() > 0.5


def test_orthogonalised_brings_singular_values_near_one():
    values = torch.linalg.svdvals(orthogonalised(torch.randn(24, 60)))
    assert values.min() > 0.5
    assert values.max() < 1.4


def test_example_source_equals_target_outside_the_mask():
    for seed in range(12):
        example = draw_example(np.random.default_rng(seed), *SIZE)
        if example.source is not None:
            kept = example.mask <= 0.5
            assert np.array_equal(example.source[kept], example.target[kept])


@pytest.mark.parametrize("kind", KINDS)
def test_vision_recognises_every_colour_of_a_rendered_shape(kind):
    for seed, colour in enumerate(HUES):
        rng = np.random.default_rng(seed)
        shape = random_shape(rng, 1, colour=colour, kind=kind)
        ground = text.random_scene(rng, 1).background
        sight = look(render(Scene(ground, (shape,)), 1, 128, 128)[0])
        assert sight is not None
        assert (sight.colour, sight.kind) == (colour, kind)


@pytest.mark.parametrize("way", DIRECTIONS)
def test_vision_sees_the_direction_that_was_rendered(way):
    rng = np.random.default_rng(5)
    shape = random_shape(rng, 9, direction=way)
    ground = text.random_scene(rng, 9).background
    assert moved(render(Scene(ground, (shape,)), 9, 96, 96)) == way


def test_tokenizer_folder_opens_with_autotokenizer_and_pads_like_t5(work):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(work / "tokenizer")
    ids = tokenizer("a red ball", padding="max_length", max_length=8).input_ids
    assert ids[-1] == tokenizer.pad_token_id == 0
    assert tokenizer.eos_token_id == 1
    assert ids.index(1) < 8


def test_captions_fit_the_prompt_length():
    texts, _ = random_captions(np.random.default_rng(0), 400)
    tokenizer = text.train_tokenizer(texts)
    assert max(len(ids) for ids in tokenizer(texts).input_ids) <= text.MAX_LENGTH
