# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept between runs: never another's, never torn, and used."""

import json
import shutil

import pytest
import torch

from tests.engine.folders import make_job, moving_square, noise_plate
from tests.engine.untrained import write_untrained
from wan_blender.core.settings import Prompt
from wan_blender.engine import cache, pipeline
from wan_blender.engine.conditioning import Scene
from wan_blender.engine.models.bundle import open_model
from wan_blender.engine.plan import make_plan
from wan_blender.engine.watch import Watch


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """The files in the cache, oldest first."""
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path / "tensors"))
    return lambda: sorted(
        (tmp_path / "tensors").glob("*"), key=lambda path: path.stat().st_mtime_ns
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_untrained(tmp_path_factory.mktemp("models") / "t2v", "t2v")


def embed(model, words="a red ball"):
    return pipeline.encode_prompts(open_model(model, "cpu"), Prompt(words, "blur"))[0][0]


def encode(folder, plate, **settings):
    """The latents of a job with this plate."""
    make_job(folder, plate, moving_square(len(plate), *plate.shape[1:3], 12), **settings)
    plan = make_plan(folder)
    scene = Scene(plan.shot, plan.region, plan.job.model_mask)
    watch = Watch(folder)
    with torch.no_grad(), watch.phase("encoding"):
        return pipeline.encode_source(plan, scene, watch).z


def edit(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_each_prompt_has_its_own_embedding(model):
    first, second = embed(model), embed(model, "a blue cube")
    assert not torch.equal(first, second)
    assert torch.equal(embed(model), first)
    assert torch.equal(embed(model, "a blue cube"), second)


def test_each_plate_has_its_own_latents(model, tmp_path):
    plate = noise_plate(5, 32, 48)
    first = encode(tmp_path / "a", plate, model__path=str(model))
    second = encode(tmp_path / "b", 255 - plate, model__path=str(model))
    assert not torch.equal(first, second)
    assert torch.equal(encode(tmp_path / "c", plate, model__path=str(model)), first)


def test_second_run_encodes_nothing(model, tmp_path, monkeypatch):
    results = []
    for name in ("first", "second"):
        folder = make_job(
            tmp_path / name, noise_plate(5, 32, 48), moving_square(5, 32, 48, 12),
            model__path=str(model), sampling__steps=1,
        )  # fmt: skip
        pipeline.generate(folder, Watch(folder))
        results.append((folder / "result" / "patch" / "000000.png").read_bytes())
        monkeypatch.setattr(pipeline.Bundle, "encode_text", None)
        monkeypatch.setattr(pipeline.codec, "encode", None)
    assert results[0] == results[1]


def _retrain_tokenizer(folder):
    """The same vocabulary with two letters exchanged."""
    path = folder / "tokenizer" / "tokenizer.json"
    data = json.loads(path.read_text())
    words = data["model"]["vocab"]
    words["a"], words["z"] = words["z"], words["a"]
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    "change",
    [
        _retrain_tokenizer,
        lambda f: edit(f / "wan_blender.json", max_sequence_length=32),
        lambda f: edit(f / "text_encoder" / "config.json", layer_norm_epsilon=0.5),
    ],
    ids=["tokenizer", "length", "config"],
)
def test_text_is_encoded_anew_when_what_encodes_it_changes(model, tmp_path, change):
    before = embed(model)
    changed = shutil.copytree(model, tmp_path / "changed")
    assert torch.equal(embed(changed), before)
    change(changed)
    after = embed(changed)
    assert after.shape != before.shape or not torch.equal(after, before)


def test_shot_is_encoded_anew_when_the_vae_is_configured_otherwise(model, tmp_path):
    plate = noise_plate(5, 32, 48)
    before = encode(tmp_path / "a", plate, model__path=str(model))
    changed = shutil.copytree(model, tmp_path / "changed")
    edit(changed / "vae" / "config.json", latents_mean=[0.5] * 16)
    after = encode(tmp_path / "b", plate, model__path=str(changed))
    torch.testing.assert_close(after, before - 0.5, rtol=0, atol=1e-5)


@pytest.mark.parametrize("keep", [0, 7, 40, 0.5, 0.99])
def test_cut_file_is_computed_anew_and_mended(kept, keep):
    value, calls = torch.arange(100.0), []

    def compute():
        calls.append(1)
        return value

    cache.cached(compute, "key")
    (path,) = kept()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    assert torch.equal(cache.cached(compute, "key"), value)
    assert len(calls) == 2
    assert path.read_bytes() == whole
    assert torch.equal(cache.cached(compute, "key"), value)
    assert len(calls) == 2


def test_oldest_are_dropped_when_the_folder_is_full(kept, monkeypatch):
    monkeypatch.setattr(cache, "LIMIT_BYTES", 1500)
    for number in range(4):
        cache.cached(lambda: torch.zeros(100), number)
    assert 1 < len(kept()) < 4
    calls = []
    cache.cached(lambda: calls.append(1) or torch.zeros(100), 3)
    assert not calls
