# SPDX-License-Identifier: GPL-3.0-or-later
"""Each bundled model through the command line, the forecast of memory, and guidance in one call."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.engine.folders import make_job, moving_square, noise_plate
from tests.engine.untrained import write_untrained
from wan_blender.core import job as jobs
from wan_blender.core import schema
from wan_blender.core.answers.report import Report
from wan_blender.core.answers.typed import read
from wan_blender.core.errors import InvalidJob
from wan_blender.core.job_pictures import PICTURES, START
from wan_blender.core.settings import Stage
from wan_blender.engine.check import check
from wan_blender.engine.conditioning import Scene, make_condition
from wan_blender.engine.conditioning.text import guided_velocity
from wan_blender.engine.forecast import forecast
from wan_blender.engine.frames.files import read_png, write_png
from wan_blender.engine.models.bundle import open_model
from wan_blender.engine.models.memory import Machine
from wan_blender.engine.models.stage_models import StageModels
from wan_blender.engine.pipeline import generate
from wan_blender.engine.plan import make_plan
from wan_blender.engine.watch import Watch
from wan_blender.masks.preview import make_preview
from wan_blender.model_info.traits import ModelSizes

REPO = Path(__file__).parents[2]


def run(*words: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "wan_blender.engine", *map(str, words)]
    return subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("variant", "kind", "spans"), [("vace", "vace", 1), ("i2v", "i2v", 1), ("experts", "vace", 2)]
)
def test_bundled_model_runs_from_the_command_line(tmp_path, monkeypatch, variant, kind, spans):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path / "cache"))
    plate, mask = noise_plate(9, 48, 64), moving_square(9, 48, 64)
    if variant == "i2v":
        mask[0] = 0  # the start frame is given
    job = make_job(tmp_path / "job", plate, mask, model__path=f"nano/{variant}", sampling__steps=4)
    if variant == "i2v":
        write_png(job / PICTURES[START], plate[0])
    done = run("run", job)
    assert done.returncode == 0, done.stderr
    report = read(Report, json.loads(done.stdout), "stdout")
    assert report.model.kind == kind
    assert report.max_diff_outside == 0
    assert report.max_latent_diff_kept == 0
    assert len(make_plan(job).stages.spans) == spans
    patch = read_png(job / "result" / "patch" / "000008.png")
    inside = mask[8] > 0
    assert (patch[..., 3] > 0)[inside].all()
    assert (patch[inside][:, :3] != plate[8][inside]).any()


def test_layers_a_lora_changes_in_vain_are_reported(tmp_path):
    state, name = {}, "blocks.0.self_attn.q"
    width = open_model("nano/vace", "cpu").parts["transformer"].weights.infos[
        "blocks.0.attn1.to_q.weight"
    ].shape[0]  # fmt: skip
    for layer in (name, "blocks.0.cross_attn.k_img"):
        state[f"diffusion_model.{layer}.lora_down.weight"] = torch.zeros(2, width)
        state[f"diffusion_model.{layer}.lora_up.weight"] = torch.zeros(width, 2)
    save_file(state, tmp_path / "l.safetensors")
    job = make_job(
        tmp_path / "job", noise_plate(5, 32, 48), moving_square(5, 32, 48, 12),
        sampling__steps=1,
    )  # fmt: skip
    data = json.loads((job / "job.json").read_text())
    (job / "job.json").write_text(
        json.dumps(data | {"loras": [{"file": str(tmp_path / "l.safetensors")}]})
    )
    report = generate(job, Watch(job))
    assert report.loras_skipped == {
        str(tmp_path / "l.safetensors"): ("diffusion_model.blocks.0.cross_attn.k_img",)
    }


@pytest.mark.skipif(sys.platform != "linux", reason="other allocators give back less, or more")
def test_run_takes_no_more_than_foretold(tmp_path, monkeypatch):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path / "cache"))
    mask = np.full((9, 320, 320), 65535, np.uint16)
    job = make_job(tmp_path / "job", noise_plate(9, 320, 320), mask, region__mode="whole",
                   sampling__steps=1, windows__frames=9)  # fmt: skip
    done = run("run", job)
    assert done.returncode == 0, done.stderr
    memory = json.loads(done.stdout)["memory"]
    assert 0.3 * memory["predicted_gb"] < memory["measured_gb"] < memory["predicted_gb"]


def test_forecast_is_what_check_says_of_the_same_sizes(tmp_path):
    mask = np.full((9, 48, 64), 65535, np.uint16)
    job = make_job(tmp_path, noise_plate(9, 48, 64), mask, model__path="nano/experts")
    told = forecast(json.dumps(schema.to_dict(jobs.read(job))))
    checked = check(job)
    assert told.size == (*checked.size.model_pixels, checked.size.model_frames)
    assert told.memory.predicted_gb == checked.memory.predicted_gb
    assert told.memory.device


@pytest.mark.parametrize("compute", ["dense", "balanced", "fast"])
def test_saving_that_is_foretold_from_the_mask_is_what_the_run_plans(tmp_path, compute):
    mask = np.zeros((9, 96, 160), np.uint16)
    mask[:, 16:40, 16:40] = 65535
    settings = {"sampling__compute": compute, "sampling__steps": 12, "region__mode": "whole"}
    job = make_job(tmp_path / "job", noise_plate(9, 96, 160), mask, **settings)
    read = jobs.read(job)
    sizes = ModelSizes(8, 2, 832 * 480)
    preview = make_preview(1, 9, lambda i: mask[i] / 65535, read.mask, read.region, sizes)
    preview.save(tmp_path / "mask.npz")
    told = forecast(json.dumps(schema.to_dict(read)), mask=tmp_path / "mask.npz")
    assert told.compute == check(job).compute
    assert (told.compute is None) == (compute == "dense")


def test_what_a_warm_engine_holds_counts_as_free(monkeypatch):
    machine = Machine("cpu", 3.0, 3.0)
    monkeypatch.setattr("wan_blender.engine.plan.measure_machine", lambda device: machine)
    job = json.dumps({"shot": {"width": 64, "height": 48, "frame_count": 9, "fps_num": 24}})
    assert forecast(job).memory.free_gb == 3.0
    assert forecast(job, 1.5).memory.free_gb == 4.5


def test_forecast_counts_the_largest_model_of_all_stages(tmp_path):
    shot = {"width": 64, "height": 48, "frame_count": 9, "fps_num": 24}
    small = {"shot": shot, "model": {"path": "nano/experts"}}
    stages = [{"end": 0.9}, {"dtype": "float32"}]
    both = {**small, "model": {"path": "nano/experts", "dtype": "float16"}}
    half = forecast(json.dumps(both)).memory.predicted_gb
    assert forecast(json.dumps({**both, "stages": stages})).memory.predicted_gb >= half
    with pytest.raises(InvalidJob, match="not valid JSON"):
        forecast("{")


def test_forecast_command_tells_an_error_as_json():
    failed = run("forecast", json.dumps({"shot": {"width": 64, "height": 64, "frame_count": 1},
                                         "model": {"path": "/no/where"}}))  # fmt: skip
    assert failed.returncode == 2
    assert json.loads(failed.stderr)["error"]["code"] == "WeightsMissing"


@pytest.mark.parametrize("kind", ["t2v", "i2v", "vace", "ti2v"])
def test_guidance_in_one_call_equals_two(tmp_path, kind):
    bundle = open_model(write_untrained(tmp_path / "model", kind), "cpu")
    mask = moving_square(9, 64, 64)
    mask[0] = 0
    plan = make_plan(
        make_job(tmp_path / "job", noise_plate(9, 64, 64), mask, region__mode="whole",
                 model__path=str(tmp_path / "model"))
    )  # fmt: skip
    condition = make_condition(bundle, Scene(plan.shot, plan.region, plan.job.model_mask))
    t, h, w = plan.region.grid.latent_shape
    random = torch.Generator().manual_seed(0)
    x = torch.randn(1, bundle.traits.latent_channels, t, h, w, generator=random)
    level = torch.full((1, 1, t, h, w), 0.7) if kind == "ti2v" else 0.7
    texts = [bundle.encode_text([words]) for words in ("a red ball", "")]
    call = (bundle.transformer(0.7), condition, *texts, 4.0, x, level, list(range(t)))
    with torch.no_grad():
        two, one = guided_velocity(*call), guided_velocity(*call, at_once=True)
    assert not torch.equal(two, torch.zeros_like(two))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        other = guided_velocity(*call[:2], texts[1], texts[0], *call[4:], at_once=True)
    assert (other - two).abs().max() > 1e-3  # the branches are not mixed up


PRECISIONS = ("bfloat16", "float16", "float32")


@pytest.mark.parametrize(
    ("kind", "turn", "guidance"),
    [("t2v", 0, 3.0), ("i2v", 1, 1.0), ("vace", 2, 1.0), ("ti2v", 0, 1.0)],
)
def test_each_stage_computes_in_its_own_precision(tmp_path, kind, turn, guidance, monkeypatch):
    """One run through all three, in whatever order; it is the run in float32 but for what half
    precision rounds."""
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path / "cache"))
    model = write_untrained(tmp_path / "model", kind)
    plate, mask = noise_plate(5, 32, 32), moving_square(5, 32, 32, 12)
    mask[0] = 0  # the start frame is given
    asked: list[str] = []
    real = StageModels.use

    def use(models, span):
        model = real(models, span)
        embedding = model.patch_embedding
        asked.append(str(embedding.weight.dtype).removeprefix("torch."))
        return model

    monkeypatch.setattr(StageModels, "use", use)

    def run(name: str, order) -> np.ndarray:
        job = make_job(
            tmp_path / name, plate, mask, model__path=str(model), model__dtype=order[0],
            sampling__steps=3, sampling__guidance=guidance,
        )  # fmt: skip
        data = json.loads((job / "job.json").read_text())
        data["stages"] = [schema.to_dict(Stage(steps=1, dtype=dtype)) for dtype in order]
        (job / "job.json").write_text(json.dumps(data))
        check(job)
        assert generate(job, Watch(job)).max_diff_outside == 0
        frames = [read_png(job / "result" / "patch" / jobs.frame_name(i)) for i in range(5)]
        return np.stack(frames)[..., :3].astype(np.float32)[mask > 0]

    order = PRECISIONS[turn:] + PRECISIONS[:turn]
    mixed = run("mixed", order)
    assert tuple(asked) == order
    assert 0 < np.abs(mixed - run("exact", ["float32"] * 3)).mean() < 6  # of 255
