# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept between runs: never another's, never torn, and used."""

import json
import os
import shutil
import time

import numpy as np
import pytest
import torch

from tests.engine.folders import make_job, moving_square, noise_plate
from tests.engine.untrained import write_untrained
from wan_blender.core import job as jobs
from wan_blender.core.settings import Prompt
from wan_blender.engine import cache, pipeline
from wan_blender.engine import encode as encoding
from wan_blender.engine.conditioning import Scene
from wan_blender.engine.frames.files import write_png
from wan_blender.engine.hygiene.pictures import write_radius
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
    return encoding.encode_prompts(open_model(model, "cpu"), Prompt(words, "blur"))[0][0]


def encode(folder, plate, **settings):
    """The latents of a job with this plate."""
    make_job(folder, plate, moving_square(len(plate), *plate.shape[1:3], 12), **settings)
    plan = make_plan(folder)
    scene = Scene(plan.shot, plan.region, plan.job.model_mask)
    watch = Watch(folder)
    with torch.no_grad(), watch.phase("encoding"):
        return encoding.encode_source(plan, scene, watch).z


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


def take(folder, kind, path, **settings):
    """A job for a model of ``kind``, with what it needs, and the frames that were made."""
    plate, mask = noise_plate(5, 32, 48), moving_square(5, 32, 48, 12)
    if kind == "i2v":
        mask[0] = 0
    make_job(folder, plate, mask, model__path=str(path), sampling__steps=1, **settings)
    if kind == "vace":
        mask[mask > 0] -= 30000  # soft, and no box
        mask[:, :20, :12] = 0
        (folder / "references").mkdir(exist_ok=True)
        write_png(folder / "references" / "a.png", plate[0])
    pipeline.generate(folder, Watch(folder))
    return [p.read_bytes() for p in sorted(folder.glob("result/patch/*.png"))]


HYGIENE = {"hygiene__mode": "scheduled", "hygiene__end": 0.6}


@pytest.mark.parametrize(("kind", "settings"), [
    ("t2v", {}), ("vace", {}), ("i2v", {}), ("vace", HYGIENE), ("i2v", HYGIENE), ("ti2v", HYGIENE),
], ids=str)  # fmt: skip
def test_second_run_encodes_nothing(tmp_path, monkeypatch, kind, settings):
    path = write_untrained(tmp_path / "model", kind)
    first = take(tmp_path / "first", kind, path, **settings)
    monkeypatch.setattr(encoding.Bundle, "encode_text", None)
    monkeypatch.setattr(encoding.codec, "encode", None)
    monkeypatch.setattr("wan_blender.engine.conditioning.image.encode_images", None)
    assert take(tmp_path / "second", kind, path, **settings) == first


def _another_mask(folder):
    write_png(folder / "mask" / "000001.png", moving_square(1, 32, 48, 16)[0])


def _another_reference(folder):
    write_png(folder / "references" / "a.png", noise_plate(1, 32, 48)[0][::-1].copy())


def _another_radius(folder):
    write_radius(folder / jobs.RADIUS, np.full((32, 48), 2.5, np.float32))


def _set(group, **values):
    def change(folder):
        data = json.loads((folder / "job.json").read_text())
        data[group] = {**data[group], **values}
        (folder / "job.json").write_text(json.dumps(data))

    return change


@pytest.mark.parametrize(
    "change",
    [
        _another_mask, _another_reference, _set("mask", frames="1-3"), _set("mask", gray="opacity"),
        _set("model_mask", shape="box"), _set("model_mask", time="frames"),
        _set("model_mask", grow_px=4), _set("region", context=0.9), _set("hygiene", factor=0.3),
        _set("hygiene", mode="off"), _set("hygiene", mode="soft"), _another_radius,
    ],
    ids=lambda change: change.__name__,
)  # fmt: skip
def test_nothing_stale_is_shown_to_the_model(tmp_path, monkeypatch, change):
    path = write_untrained(tmp_path / "model", "vace")
    folder = tmp_path / "job"
    folder.mkdir()
    write_radius(folder / jobs.RADIUS, np.full((32, 48), 1.5, np.float32))
    take(folder, "vace", path, hygiene__mode="both", hygiene__end=0.6)
    change(folder)

    def conditions():
        plan = make_plan(folder)
        scene = Scene(plan.shot, plan.region, plan.job.model_mask)
        with torch.no_grad():
            return encoding.make_conditions(plan, scene)[0].context

    warm = conditions()
    monkeypatch.setenv("WAN_BLENDER_CACHE_GB", "0")
    assert torch.equal(warm, conditions())


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


@pytest.mark.parametrize(("limit", "left"), [("1.5e-6", range(1, 4)), ("0", [0]), ("x", [4])])
def test_oldest_are_dropped_when_the_folder_is_full(kept, monkeypatch, limit, left):
    monkeypatch.setenv("WAN_BLENDER_CACHE_GB", limit)
    for number in range(4):
        cache.cached(lambda: torch.zeros(100), number)
    assert len(kept()) in left if kept() else left == [0]
    calls = []
    cache.cached(lambda: calls.append(1) or torch.zeros(100), 3)
    assert bool(calls) == (limit == "0")


def test_what_cannot_be_kept_is_computed(kept, tmp_path, monkeypatch, small_disk, make_read_only):
    """A full disk, a folder that takes no writing, one that is a file, one that is gone."""
    disk = small_disk(64)
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(disk))
    assert cache.cached(lambda: torch.ones(100_000), "large").sum() == 100_000
    assert cache.cached(lambda: torch.ones(10), "small").sum() == 10
    make_read_only(disk)
    assert cache.cached(lambda: torch.ones(10), "small").sum() == 10
    assert cache.cached(lambda: torch.ones(20), "other").sum() == 20
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "gone"):
        monkeypatch.setenv("WAN_BLENDER_CACHE", str(place))
        assert cache.cached(lambda: torch.ones(10), "small").sum() == 10


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="needs root")
def test_entry_of_another_user_is_a_miss(kept):
    cache.cached(lambda: torch.ones(3), "key")
    (path,) = kept()
    os.chown(path, 65534, 65534)
    assert cache.cached(lambda: torch.zeros(3), "key").sum() == 0


def test_half_written_files_of_killed_engines_are_removed(kept):
    cache.cached(lambda: torch.ones(3), "key")
    folder = kept()[0].parent
    for name, age_s in (("old", 2 * cache.ABANDONED_S), ("new", 0)):
        (folder / f"{name}.part").write_text("")
        os.utime(folder / f"{name}.part", (time.time() - age_s,) * 2)
    cache.cached(lambda: torch.ones(3), "another")
    assert {path.name for path in kept() if path.suffix == ".part"} == {"new.part"}


def test_limit_of_the_host_holds_from_the_moment_it_is_set(kept, monkeypatch):
    monkeypatch.setattr(cache, "_chosen_gb", None)
    monkeypatch.setenv("WAN_BLENDER_CACHE_GB", "0")
    cache.set_limit(1.0)
    for number in range(4):
        cache.cached(lambda: torch.zeros(100), number)
        os.utime(kept()[-1], (number, number))
    names = kept()
    cache.set_limit(2.5 * names[0].stat().st_size / 2**30)
    assert kept() == names[2:]
    cache.set_limit(0)
    assert kept() == []


def test_another_version_finds_nothing(monkeypatch):
    cache.cached(lambda: torch.zeros(1), "key")
    monkeypatch.setattr(cache, "__version__", "0.0.1")
    assert cache.cached(lambda: torch.ones(1), "key") == 1
