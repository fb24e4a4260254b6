# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipe in short: every stage from nothing to shipped files, at sizes that take seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tools.train_nano import course, drafts, examples, text, transformer, vae
from tools.train_nano.clips import draw_example
from tools.train_nano.continuity import edge_step
from tools.train_nano.latents import Codec
from tools.train_nano.masks import free_mask, other_frames, over_groups
from tools.train_nano.muon import orthogonalised
from tools.train_nano.sample import Sampler
from tools.train_nano.ship import adopt, ship
from tools.train_nano.stage import Stage
from tools.train_nano.text import random_captions
from tools.train_nano.vision import look, moved, pattern_of
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


def test_stage_stops_at_its_deadline_and_has_more_to_do(tmp_path):
    stage = Stage("line", torch.nn.Linear(4, 4), tmp_path, 1.0, 1e-3, wall_minutes=0.0)
    assert list(stage) == []
    assert stage.progress < 1.0
    assert stage.path.exists()


def test_course_goes_on_where_its_last_call_stopped(work, tmp_path, monkeypatch):
    folder = tmp_path / "course"
    shutil.copytree(work, folder, ignore=shutil.ignore_patterns("*.pt"))
    (folder / "adopted").touch()
    monkeypatch.setattr(course, "MOST", {"vace": 1, "image": 1})
    monkeypatch.setattr(course, "_FIRST", 1)
    monkeypatch.setattr(course, "BUDGETS", {"vace": 5.0})
    counts = []
    for _ in range(2):
        assert not course.train_course(folder, 0.05, helpers=0)
        counts.append(torch.load(folder / "vace.pt", weights_only=True)["count"])
    assert 0 < counts[0] < counts[1]
    assert course.train_course(folder, 0.05, scale=1e-6, helpers=0)


def test_save_that_fails_leaves_the_old_model_whole(work, tmp_path):
    model = transformer.WanVACETransformer3DModel.from_pretrained(work / "vace")
    place = tmp_path / "vace"
    transformer.save_whole(model, place)
    before = (place / "diffusion_pytorch_model.safetensors").read_bytes()
    model.save_pretrained = lambda partial: (partial.mkdir(), 1 / 0)
    with pytest.raises(ZeroDivisionError):
        transformer.save_whole(model, place)
    assert (place / "diffusion_pytorch_model.safetensors").read_bytes() == before
    Stage("vace", torch.nn.Linear(4, 4), tmp_path, 1.0, 1e-3).save()  # beside what was left
    place.replace(tmp_path / "vace.old")  # killed between the two renames
    transformer.restore(place)
    assert (place / "diffusion_pytorch_model.safetensors").read_bytes() == before


def test_losses_are_computed_where_the_model_is():
    """On torch's device without storage, which refuses to mix with the processor as a card does."""
    there = torch.device("meta")
    model = transformer.new_vace().to(there)
    batch = (
        torch.zeros(2, 16, 2, 8, 8),
        torch.zeros(2, 96, 2, 8, 8),
        torch.zeros(2, text.MAX_LENGTH, text.WIDTH),
        torch.zeros(2, 1, 2, 8, 8),
        torch.ones(2),
    )
    losses = [
        transformer.flow_loss(model, batch, torch.zeros(1, text.MAX_LENGTH, text.WIDTH)),
        vae.loss_of(vae.new_vae().to(there), torch.zeros(1, 3, 5, 32, 32)),
    ]
    for loss in losses:
        assert loss.device == there
        loss.backward()


def test_only_restyles_start_from_what_is_still_their_source():
    torch.manual_seed(0)
    clean, source = torch.randn(2, 4, 16, 2, 8, 8)
    masks = torch.ones(4, 64, 2, 8, 8)
    source[1] = 0.3  # blanked
    masks[2, :, :, 4:] = 0  # a matte
    condition = torch.cat([torch.zeros_like(source), source, masks], dim=1)
    sigma = torch.full((4, 1, 1, 1, 1), 0.6)
    sigma[3] = 0.95
    start = transformer.still_source(clean, condition, sigma)
    share = (start[0] - clean[0]) / (source[0] - clean[0])
    assert 0 < share.mean() < 1
    assert share.std() < 1e-3
    assert torch.equal(start[1:], clean[1:])


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


def test_two_makers_share_the_numbers_and_one_alone_fills_the_gaps(work, tmp_path):
    for part in ("vae", "tokenizer", "text_encoder"):
        shutil.copytree(work / part, tmp_path / part)
    options = {"sizes": ((1, 32, 32),), "minutes": 1.0, "most": 4}
    examples.make_examples(tmp_path, "vace", maker=1, makers=2, **options)
    place = tmp_path / "examples" / "vace"
    first = {path.name: path.stat().st_mtime_ns for path in place.iterdir()}
    assert sorted(examples.read_name(Path(name))[1] for name in first) == [1, 3]
    examples.make_examples(tmp_path, "vace", **options)
    assert len(list(place.iterdir())) == 4
    assert all((place / name).stat().st_mtime_ns == made for name, made in first.items())


@pytest.mark.parametrize("mask_of", [free_mask, other_frames])
def test_masks_leave_something_to_see_and_something_to_make(mask_of):
    for seed in range(40):
        mask = mask_of(np.random.default_rng(seed), *SIZE)
        assert mask.shape == SIZE
        assert 0 < mask.mean() < 1


def test_mask_over_groups_is_the_largest_of_the_frames_that_share_a_latent():
    mask = np.random.default_rng(0).random(SIZE).astype(np.float32)
    grouped = over_groups(mask)
    assert np.array_equal(grouped[0], mask[0])
    for start in (1, 5):
        assert all(
            np.array_equal(grouped[start + i], mask[start : start + 4].max(0)) for i in range(4)
        )


def test_edge_step_is_the_step_that_was_added_under_the_mask():
    truth = np.random.default_rng(0).random((2, 16, 16, 3)) * 0.2 + 0.1
    inside = np.zeros((2, 16, 16), bool)
    inside[:, 4:12, 4:12] = True
    assert edge_step(truth, truth, inside) == 0
    assert edge_step(truth + 0.6 * inside[..., None], truth, inside) > 100


def test_sampler_that_starts_late_stays_near_the_plate(work):
    model = transformer.WanVACETransformer3DModel.from_pretrained(work / "vace")
    sampler = Sampler(Codec.load(work), model)
    source = render(text.random_scene(np.random.default_rng(3), 9), *SIZE)
    mask = np.ones(SIZE, np.float32)
    near, far = (
        sampler.inpaint(["a red ball"], [source], [mask], 1, strength=strength, steps=2)[0]
        for strength in (0.02, 1.0)
    )
    truth = sampler.codec.decode(sampler.plate([source], [mask]).latents)[0]
    truth = (truth.permute(1, 2, 3, 0).numpy() + 1) / 2
    assert np.abs(near - truth).mean() < 0.5 * np.abs(far - truth).mean()


@pytest.mark.parametrize("pattern", ["striped", "checked"])
def test_vision_sees_the_pattern_that_was_rendered(pattern):
    for seed, kind in enumerate(KINDS * 2):
        rng = np.random.default_rng(seed)
        shape = random_shape(rng, 1, kind=kind, pattern=pattern)
        ground = text.random_scene(rng, 1).background
        frame = render(Scene(ground, (shape,)), 1, 128, 128)[0]
        assert f" {pattern} {kind}" in shape.phrase()
        assert pattern_of(frame) == pattern


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
