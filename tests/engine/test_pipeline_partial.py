# SPDX-License-Identifier: GPL-3.0-or-later
"""Partial passes through the engine as a user runs it, on models of every kind."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.engine.folders import make_job, noise_plate
from tests.engine.models.layouts import (
    component,
    describe,
    fp8_scaled,
    official_transformer_name,
    renamed,
    save,
    write_gguf,
)
from tests.engine.untrained import write_untrained
from wan_blender.core.job import frame_name
from wan_blender.core.result import read_report
from wan_blender.engine import fitting as fitting_room
from wan_blender.engine import plan
from wan_blender.engine.check import check
from wan_blender.engine.frames.files import read_png, write_png
from wan_blender.engine.models import parts
from wan_blender.engine.models.memory import Machine
from wan_blender.engine.models.parts import Component
from wan_blender.engine.pipeline import generate
from wan_blender.engine.plan import make_plan
from wan_blender.engine.watch import Watch

SIZE = (9, 96, 160)
SETTINGS = {"sampling__steps": 12, "region__mode": "whole", "output__full_frames": True}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path_factory.getbasetemp() / "tensors"))


def _job(folder, **settings):
    mask = np.zeros(SIZE, np.uint16)
    mask[1:, 16:32, 16:32] = 65535
    return make_job(folder, noise_plate(*SIZE), mask, **SETTINGS | settings)


def _frames(folder):
    names = map(frame_name, range(SIZE[0]))
    return np.stack([read_png(folder / "result" / "frames" / name) for name in names])


@pytest.mark.parametrize("kind", ["t2v", "i2v", "ti2v", "vace"])
def test_every_kind_of_model_runs_over_rows(tmp_path, kind):
    path = write_untrained(tmp_path / "model", kind, boundary=0.7 if kind == "t2v" else None)
    settings = {"model__path": str(path), "windows__frames": 5 if kind == "vace" else 0}
    job = _job(tmp_path / "job", sampling__compute="fast", **settings)
    report = generate(job, Watch(job))
    assert report.max_latent_diff_kept == 0
    assert report.max_diff_outside == 0
    said = report.compute
    assert said.used == "fast"
    assert set(said.passes) == {"full", "rows", "reuse"}
    assert 0 < said.active_share < said.rows_share <= 1
    assert read_report(job / "result").compute == said


def test_bundled_model_with_references_and_hygiene_makes_nearly_the_dense_picture(tmp_path):
    settings = {"hygiene__mode": "scheduled", "hygiene__end": 0.3}
    shown = []
    for compute in ("dense", "balanced"):
        job = _job(tmp_path / compute, sampling__compute=compute, **settings)
        (job / "references").mkdir()
        write_png(job / "references" / "a.png", noise_plate(1, 40, 40)[0])
        report = generate(job, Watch(job))
        assert (report.compute is not None) == (compute == "balanced")
        shown.append(_frames(job).astype(float))
    assert report.compute.used == "balanced"
    assert report.compute.passes["full"] >= 2 * 4
    dense, balanced = shown
    assert not np.array_equal(dense, balanced)
    inside = np.s_[1:, 16:32, 16:32]
    assert np.abs(dense - balanced)[inside].mean() < 0.1 * dense[inside].std()


def test_check_foretells_what_the_run_computes(tmp_path):
    job = _job(tmp_path, sampling__compute="balanced")
    said = check(job).compute
    assert 0.1 < said.predicted_ratio < 1 / 1.3
    assert check(_job(tmp_path / "dense")).compute is None


def test_slab_is_counted_and_given_up_first(tmp_path, monkeypatch):
    """Out of memory in a pass over rows: the run goes on with all tokens from the same step."""
    job = _job(tmp_path, sampling__compute="balanced")
    made, dense = make_plan(job), make_plan(_job(tmp_path / "dense"))
    traits = made.bundle.parts["transformer"].config
    layers = traits["num_layers"] + len(traits["vace_layers"])
    channels = traits["num_attention_heads"] * traits["attention_head_dim"]
    tokens = 3 * 6 * 10
    assert made.sizes.slab == pytest.approx(2 * 2 * 4 * tokens * channels * layers / 1e9)
    assert made.memory.predicted_gb >= dense.memory.predicted_gb
    real, calls = fitting_room.Passes.call, []

    def call(self, model, step, window=0):
        made = real(self, model, step, window)

        def run(**given):
            calls.append((step, made is model))
            if step == 5 and made is not model:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return made(**given)

        return run

    monkeypatch.setattr(fitting_room.Passes, "call", call)
    # what denoising takes must be the most of all, for the plan to give something up for it
    machine = Machine("cuda", 80.0, 64.0)
    monkeypatch.setattr("wan_blender.engine.plan.measure_machine", lambda device: machine)
    report = generate(job, Watch(job))
    assert report.memory.measures_taken == 1
    assert "all tokens at every step" in report.memory.measures
    assert report.compute.used == "dense"
    assert "memory" in report.compute.why
    assert [own for step, own in calls if step < 5] == [False] * 5
    assert all(own for step, own in calls if step > 5)
    assert report.max_latent_diff_kept == 0


def _packed(form, folder):
    """A model whose transformer is one file of ``form``."""
    whole = write_untrained(folder / "whole", "t2v")
    official = renamed(component(whole / "transformer"), official_transformer_name)
    file = folder / ("wan.gguf" if form == "Q8_0" else "wan.safetensors")
    if form == "Q8_0":
        write_gguf(file, official, form)
    else:
        save(file, fp8_scaled(official))
    others = {part: str(whole / part) for part in ("vae", "text_encoder", "tokenizer")}
    return describe(folder / form, {"transformer": str(file), **others})


@pytest.mark.parametrize("form", ["Q8_0", "fp8"])
@pytest.mark.parametrize("compute", ["balanced", "fast"])
def test_packed_weights_run_over_rows(tmp_path, form, compute):
    """Nearer to the dense run of the same weights than half of what another seed changes."""
    settings = {"model__path": str(_packed(form, tmp_path))}
    shown = {}
    for name, changed in (
        ("dense", {}),
        (compute, {"sampling__compute": compute}),
        ("seed", {"sampling__seed": 7}),
    ):
        job = _job(tmp_path / name, **settings, **changed)
        report = generate(job, Watch(job))
        assert report.max_latent_diff_kept == 0
        shown[name] = _frames(job)[1:, 16:32, 16:32].astype(float)
        if name == compute:
            assert report.compute.used == compute
            assert report.compute.passes["rows"] > 0
    apart = {name: np.abs(frames - shown["dense"]).mean() for name, frames in shown.items()}
    assert 0 < apart[compute] < 0.5 * apart["seed"], apart


@pytest.fixture
def stream(monkeypatch):
    """``stream()``: from now on one block stays and the others are streamed, on the processor too.
    -> how many stay, of each model that is loaded."""
    planned, streaming, stay = plan.plan_memory, parts.stream_blocks, []

    def streamed(model, device, resident):
        stay.append(resident)
        streaming(model, device, resident)

    def start():
        fewer = {"resident_blocks": 1}
        monkeypatch.setattr(plan, "plan_memory", lambda *a: replace(planned(*a), **fewer))
        monkeypatch.setattr(Component, "_streamed", property(lambda p: p.resident_blocks >= 0))
        monkeypatch.setattr(parts, "stream_blocks", streamed)
        return stay

    return start


@pytest.mark.parametrize("kind", ["t2v", "vace"])
def test_streamed_blocks_run_over_rows(tmp_path, stream, kind):
    """Blocks that come and go between calls give what blocks that stay give, bit for bit."""
    settings = {"model__path": str(write_untrained(tmp_path / "model", kind))}
    generate(_job(tmp_path / "a", sampling__compute="balanced", **settings), Watch(tmp_path / "a"))
    stay = stream()
    job = _job(tmp_path / "b", sampling__compute="balanced", **settings)
    report = generate(job, Watch(job))
    assert report.compute.passes["rows"] > 0
    assert stay == [1]
    assert "1 blocks resident" in report.memory.measures
    np.testing.assert_array_equal(_frames(job), _frames(tmp_path / "a"))


def _context(folder, side=24, size=(5, 96, 160), **settings):
    mask = np.zeros(size, np.uint16)
    mask[:, 40 : 40 + side, 64 : 64 + side] = 65535
    settings = {"region__mode": "context", "sampling__steps": 20} | settings
    return make_job(folder, noise_plate(*size), mask, **settings)


def test_whole_frame_is_shown_where_it_costs_no_more_than_the_crop(tmp_path):
    crop = make_plan(_context(tmp_path / "crop", region__mode="auto"))
    assert crop.region.width < 160
    job = _context(tmp_path / "fast", sampling__compute="fast")
    whole = make_plan(job)
    assert (whole.region.width, whole.region.height) == (160, 96)
    assert whole.price <= crop.price
    assert "whole frame, for 0." in whole.notes[-1]
    report = generate(job, Watch(job))
    assert tuple(report.size.box) == (0, 0, 160, 96)
    assert report.compute.used == "fast"
    assert report.max_latent_diff_kept == report.max_diff_outside == 0


@pytest.mark.parametrize(("settings", "word"), [
    ({}, "every step computes all"),
    ({"sampling__compute": "fast", "size": (5, 192, 320)}, "what the model knows"),
    ({"sampling__compute": "balanced", "sampling__steps": 4}, "as long as the crop"),
], ids=str)  # fmt: skip
def test_crop_stays_where_the_whole_frame_does_not_pay(tmp_path, settings, word):
    plan = make_plan(_context(tmp_path, **settings))
    assert plan.region.width < plan.shot.width
    assert word in plan.notes[-1]
