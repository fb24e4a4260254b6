# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole job on real files with the bundled model."""

import importlib
import itertools
import json
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan

from tests.engine.folders import make_job, moving_square, noise_plate
from tests.engine.untrained import write_untrained
from wan_blender.core import errors
from wan_blender.core import job as jobs
from wan_blender.core.answers.typed import to_json
from wan_blender.core.result import find_result
from wan_blender.core.settings import Stage
from wan_blender.engine import pipeline
from wan_blender.engine.check import check
from wan_blender.engine.fitting import Fitting, is_out_of_memory
from wan_blender.engine.frames import vae as codec
from wan_blender.engine.frames.files import read_png, write_png
from wan_blender.engine.models.bundle import open_model
from wan_blender.engine.models.memory import REMEDY, Machine
from wan_blender.engine.pipeline import generate
from wan_blender.engine.plan import make_plan
from wan_blender.engine.sample import loop, stage_loop
from wan_blender.engine.sample.stage_loop import StageLoop
from wan_blender.engine.watch import PHASES, Watch
from wan_blender.engine.worker import describe


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path_factory.getbasetemp() / "tensors"))


def _read(folder, kind, name="000000.png"):
    return read_png(folder / "result" / kind / name)


@pytest.mark.parametrize(
    ("frames", "height", "width", "dtype", "channels"),
    [(9, 48, 64, np.uint8, 3), (6, 50, 37, np.uint16, 3), (1, 16, 16, np.uint8, 4)],
)
def test_pixels_outside_the_mask_are_the_plates_own(
    tmp_path, frames, height, width, dtype, channels
):
    plate = noise_plate(frames, height, width, dtype, channels)
    mask = np.zeros((frames, height, width), np.uint16)
    mask[:, 4:14, 5:13] = 65535
    settings = {"output__full_frames": True, "output__feather_px": 0.0, "sampling__steps": 2}
    make_job(tmp_path, plate, mask, **settings)
    report = generate(tmp_path, Watch(tmp_path))
    assert report.max_diff_outside == 0
    assert report.max_latent_diff_kept == 0
    for i in range(frames):
        frame = _read(tmp_path, "frames", jobs.frame_name(i))
        patch = _read(tmp_path, "patch", jobs.frame_name(i))
        assert frame.dtype == patch.dtype == dtype
        assert (frame[mask[i] == 0] == plate[i][mask[i] == 0]).all()
        assert (patch[..., 3][mask[i] == 0] == 0).all()
        inside = mask[i] > 0
        assert (patch[..., 3][inside] == np.iinfo(dtype).max).all()
        assert (frame[..., :3][inside] == patch[..., :3][inside]).all()
        assert (frame[..., :3][inside] != plate[i][..., :3][inside]).mean() > 0.5


def test_soft_mask_blends_and_feather_stays_inside(tmp_path):
    plate = noise_plate(5, 48, 64)
    mask = np.zeros((5, 48, 64), np.uint16)
    mask[:, 8:40, 8:40] = 65535
    make_job(tmp_path, plate, mask, output__feather_px=6.0, sampling__steps=1)
    report = generate(tmp_path, Watch(tmp_path))
    alpha = _read(tmp_path, "patch")[..., 3]
    assert report.max_diff_outside == 0
    assert (alpha[mask[0] == 0] == 0).all()
    edge, middle = alpha[24, 8], alpha[24, 24]
    assert 0 < edge < 60
    assert middle == 255
    assert (np.diff(alpha[24, 8:24].astype(int)) >= 0).all()


def _small_job(folder, **settings):
    plate, mask = noise_plate(5, 32, 48), moving_square(5, 32, 48, 12)
    return make_job(folder, plate, mask, **{"sampling__steps": 1} | settings)


@pytest.mark.parametrize("matte", ["mask", "solid", "footprint"])
def test_outside_and_seam_are_measured_at_the_matte_that_is_used(tmp_path, monkeypatch, matte):
    """Another picture of one colour in a patch over a plate of another: the step between the two
    is at the patch's edge, and the same for every matte."""
    plate = np.full((1, 64, 64, 3), 100, np.uint8)
    mask = np.zeros((1, 64, 64), np.uint16)
    mask[:, 20:44, 20:44] = 20000
    settings = {"output__matte": matte, "sampling__steps": 1, "region__mode": "whole"}
    settings["mask__gray"] = "opacity"
    make_job(tmp_path, plate, mask, output__feather_px=0.0, **settings)
    blank = [np.full((1, 64, 64, 3), 1, np.float32)]
    monkeypatch.setattr(codec, "decode", lambda *_: iter(blank))
    report = generate(tmp_path, Watch(tmp_path))
    assert report.max_diff_outside == 0
    opacity = 20000 / 65535 if matte == "mask" else 1
    assert report.seam.colour_step == pytest.approx(opacity * 155 / 255, abs=0.005)


@pytest.mark.parametrize("kind", ["patch", "frames"])
def test_written_pixel_that_is_not_the_plates_own_is_measured(tmp_path, monkeypatch, kind):
    """A pixel outside the mask is made 40 steps wrong on the disk, before it is read back."""
    real = pipeline.write_frames
    plate = noise_plate(5, 32, 48)

    def spoil(plan, latents, part, *rest):
        measure = real(plan, latents, part, *rest)
        frame = read_png(part / kind / "000003.png")
        value = plate[3, 0, 0, 1]
        frame[0, 0] = [*plate[3, 0, 0], 255][: frame.shape[2]]
        frame[0, 0, 1] = value + 40 if value < 128 else value - 40
        write_png(part / kind / "000003.png", frame)
        return measure

    monkeypatch.setattr(pipeline, "write_frames", spoil)
    _small_job(tmp_path, output__full_frames=True)
    with pytest.raises(errors.BrokenPromise, match="max_diff_outside is 40, and has to be 0"):
        generate(tmp_path, Watch(tmp_path))
    assert find_result(tmp_path) is None


def test_kept_latent_that_moved_is_measured(tmp_path, monkeypatch):
    real = StageLoop.run

    def spoil(self):
        latents, source = real(self), self.source
        kept = (source.mask[0, 0] == 0).nonzero()[0].tolist()
        latents[(0, 3, *kept)] += 0.25
        free = (source.mask[0, 0] > 0).nonzero()[0].tolist()
        latents[(0, 3, *free)] += 7.0
        return latents

    monkeypatch.setattr(StageLoop, "run", spoil)
    _small_job(tmp_path)
    with pytest.raises(errors.BrokenPromise, match=r"max_latent_diff_kept is 0\.2(49|5)"):
        generate(tmp_path, Watch(tmp_path))
    assert find_result(tmp_path) is None


def test_report_holds_the_seconds_of_every_phase(tmp_path):
    _small_job(tmp_path)
    assert set(PHASES) <= set(generate(tmp_path, Watch(tmp_path)).seconds)
    assert jobs.read_events(tmp_path)[-2:] == ["writing", "done"]


def test_moved_job_gives_the_same_bytes(tmp_path):
    """Nothing in the folder says where it is: exported here, run there."""
    results = []
    for number in range(2):
        folder = _small_job(tmp_path / f"here {number}", output__full_frames=True)
        if number:
            (tmp_path / "elsewhere é").mkdir()
            folder = folder.rename(tmp_path / "elsewhere é" / "job")
        report = generate(folder, Watch(folder))
        assert str(tmp_path) not in json.dumps(to_json(report))
        results.append(
            {p.relative_to(folder): p.read_bytes() for p in folder.glob("result/*/*.png")}
        )
    assert len(results[0]) == 10
    assert results[0] == results[1]
    moved = folder.rename(tmp_path / "again")  # with its result
    assert find_result(moved)
    generate(moved, Watch(moved))
    assert {p.relative_to(moved): p.read_bytes() for p in moved.glob("result/*/*.png")} == results[
        0
    ]


def test_job_keeps_the_weights_of_its_first_run_and_others_are_told(tmp_path, capsys):
    folder = _small_job(tmp_path)
    written = json.loads((folder / "job.json").read_text())
    del written["windows"], written["made_with"]  # as one written by hand
    (folder / "job.json").write_text(json.dumps(written))
    report = generate(folder, Watch(folder))
    noted = json.loads((folder / "job.json").read_text())
    made_with = noted.pop("made_with")
    assert noted == written
    assert made_with == {
        key: getattr(report.model, key) for key in ("name", "revision", "fingerprint")
    }
    assert report.model.notes == check(folder).model.notes == ()

    made_with["fingerprint"] = "0123456789ab" + "0" * 52
    (folder / "job.json").write_text(json.dumps({**noted, "made_with": made_with}))
    again = generate(folder, Watch(folder))
    (note,) = again.model.notes
    assert "fingerprint 0123456789ab" in note
    assert f"fingerprint {again.model.fingerprint[:12]}" in note
    assert note in capsys.readouterr().err
    assert (note,) == check(folder).model.notes
    assert json.loads((folder / "job.json").read_text())["made_with"] == made_with


def test_feather_does_not_fade_at_the_canvas_edge(tmp_path):
    mask = np.full((1, 32, 32), 65535, np.uint16)
    make_job(tmp_path, noise_plate(1, 32, 32), mask, output__feather_px=8.0, sampling__steps=1)
    generate(tmp_path, Watch(tmp_path))
    assert (_read(tmp_path, "patch")[..., 3] == 255).all()


def test_footprint_matte_covers_whole_cells(tmp_path):
    mask = np.zeros((5, 32, 32), np.uint16)
    mask[2, 9, 9] = 65535
    settings = {"output__matte": "footprint", "sampling__steps": 1}
    make_job(tmp_path, noise_plate(5, 32, 32), mask, **settings)
    assert generate(tmp_path, Watch(tmp_path)).max_diff_outside == 0
    for i in range(5):
        alpha = _read(tmp_path, "patch", jobs.frame_name(i))[..., 3]
        expected = np.zeros((32, 32), bool)
        expected[8:16, 8:16] = i > 0  # frame 2 shares its latent with 1, 3 and 4
        assert ((alpha > 0) == expected).all()


def test_laws_are_told_where_stages_begin(tmp_path, monkeypatch):
    told = []
    real = stage_loop.make_law
    monkeypatch.setattr(stage_loop, "make_law", lambda *a: told.append(a[-1]) or real(*a))
    _small_job(tmp_path)
    job = jobs.read(tmp_path)
    job.sampling.steps, job.stages = 4, [Stage(steps=3, solver="heun"), Stage()]
    jobs.create(tmp_path, job)
    assert generate(tmp_path, Watch(tmp_path)).max_latent_diff_kept == 0
    assert told == [[0, 3]]


def test_same_job_gives_the_same_bytes_and_another_seed_does_not(tmp_path):
    results = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        folder = tmp_path / name
        plate, mask = noise_plate(5, 32, 48), moving_square(5, 32, 48, 12)
        make_job(folder, plate, mask, sampling__seed=seed)
        generate(folder, Watch(folder))
        results.append(b"".join(p.read_bytes() for p in sorted(folder.glob("result/patch/*"))))
    assert results[0] == results[1] != results[2]


def test_empty_mask_is_refused_before_a_model_is_loaded(tmp_path, monkeypatch):
    make_job(tmp_path, noise_plate(5, 32, 32), np.zeros((5, 32, 32), np.uint16))
    with pytest.raises(errors.EmptyMask, match="empty on all 5 frames"):
        generate(tmp_path, Watch(tmp_path))
    assert not (tmp_path / "result").exists()


@pytest.mark.parametrize("when", ["loading transformer", "encoding", "denoising", "decoding"])
def test_cancel_leaves_no_result_and_the_job_can_run_again(tmp_path, monkeypatch, when):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path / "tensors"))
    make_job(tmp_path, noise_plate(9, 32, 32), moving_square(9, 32, 32, 12))
    cancelled = threading.Event()

    def emit(message):
        if message.phase == when and message.step == 1:
            jobs.request_cancel(tmp_path) if when == "denoising" else cancelled.set()

    with pytest.raises(errors.Cancelled):
        generate(tmp_path, Watch(tmp_path, emit, cancelled))
    assert find_result(tmp_path) is None
    jobs.clear_cancel(tmp_path)
    generate(tmp_path, Watch(tmp_path))
    assert find_result(tmp_path) is not None
    assert not (tmp_path / "result.part").exists()


def test_cancel_while_a_long_mask_is_read_stops_before_a_model_is_opened(tmp_path, monkeypatch):
    make_job(tmp_path, noise_plate(9, 32, 32), moving_square(9, 32, 32, 12))
    opened, cancelled = [], threading.Event()
    monkeypatch.setattr("wan_blender.engine.plan.open_model", lambda *a: opened.append(a))
    with pytest.raises(errors.Cancelled):
        generate(tmp_path, Watch(tmp_path, lambda message: cancelled.set(), cancelled))
    assert not opened


def test_progress_rises_and_names_every_phase(tmp_path, monkeypatch):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path / "tensors"))
    make_job(tmp_path, noise_plate(5, 32, 32), moving_square(5, 32, 32, 12))
    seen = []
    report = generate(tmp_path, Watch(tmp_path, seen.append))
    fractions = [m.fraction for m in seen]
    assert fractions == sorted(fractions)
    assert list(dict.fromkeys(m.phase for m in seen)) == [
        "reading", "text", "loading text encoder", "encoding", "loading vae", "conditioning",
        "denoising", "loading transformer", "decoding", "writing",
    ]  # fmt: skip
    assert [m.step for m in seen if m.phase == "denoising"] == [0, 0, 1, 2, 3]
    loads = [m for m in seen if m.phase == "loading transformer"]
    assert [m.step for m in loads] == list(range(loads[0].steps + 1))
    events = [json.loads(line) for line in (tmp_path / "state.jsonl").read_text().splitlines()]
    assert [e["part"] for e in events if e["event"] == "loading"] == [
        "text_encoder", "vae", "transformer", "vae",
    ]  # fmt: skip
    assert report.seconds["loading"] > 0


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda f: (f / "plate" / "000001.png").write_bytes(b"no"), "InvalidJob", "000001.png"),
        (lambda f: (f / "mask" / "000001.png").unlink(), "InvalidJob", "000001.png is missing"),
        (lambda f: write_png(f / "mask" / "000001.png", np.zeros((8, 8), np.uint16)),
         "SizeMismatch", "8x8"),
        (lambda f: write_png(f / "mask" / "000001.png", np.zeros((32, 32, 3), np.uint8)),
         "SizeMismatch", "3 channels"),
        (lambda f: write_png(f / "plate" / "000001.png", np.zeros((8, 9, 3), np.uint8)),
         "SizeMismatch", "9x8"),
    ],
)  # fmt: skip
def test_spoiled_folders_are_named_and_leave_nothing(tmp_path, spoil, error, words):
    make_job(tmp_path, noise_plate(5, 32, 32), moving_square(5, 32, 32, 12))
    spoil(tmp_path)
    with pytest.raises(getattr(errors, error), match=words):
        generate(tmp_path, Watch(tmp_path))
    assert not (tmp_path / "result").exists()


def test_check_says_sizes_without_loading_a_model(tmp_path):
    make_job(tmp_path, noise_plate(10, 70, 90), moving_square(10, 70, 90))
    report = check(tmp_path)
    assert report.size.model_pixels == (96, 80)
    assert report.size.latents == (4, 10, 12)
    assert report.mask.frames == 10
    json.dumps(to_json(report))


def test_chunked_encode_and_decode_equal_diffusers():
    vae = open_model("", "cpu", "float32").vae
    frames = torch.rand(9, 32, 48, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1)
        std = torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1)
        video = frames.permute(3, 0, 1, 2)[None]
        expected = (vae.encode(video).latent_dist.mode() - mean) / std
        z = codec.encode(vae, lambda i: frames[i].numpy(), 9)
        torch.testing.assert_close(z, expected, rtol=1e-4, atol=1e-5)
        decoded = np.concatenate(list(codec.decode(vae, z)))
        again = vae.decode(expected * std + mean).sample[0].permute(1, 2, 3, 0).numpy()
    assert decoded.shape == (9, 32, 48, 3)
    np.testing.assert_allclose(decoded, again, atol=1e-4)


@pytest.mark.parametrize("residual", [False, True])
def test_box_and_tiles_decode_exactly_what_the_whole_frame_does(residual):
    """Both autoencoders, Wan 2.1's and the residual one of 2.2, with random weights."""
    torch.manual_seed(0)
    extra = {"is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12,
             "decoder_base_dim": 8, "scale_factor_spatial": 16} if residual else {}  # fmt: skip
    vae = AutoencoderKLWan(base_dim=8, z_dim=16, **extra).eval()
    z = torch.randn(1, 16, 2, 34, 4)
    whole = np.concatenate(list(codec.decode(vae, z)))
    box = (15, 20, 0, 4)
    scale = vae.config.scale_factor_spatial
    part = np.concatenate(list(codec.decode(vae, z, box)))
    y0, y1, x0, x1 = (edge * scale for edge in box)
    np.testing.assert_allclose(part[:, y0:y1, x0:x1], whole[:, y0:y1, x0:x1], atol=2e-5)
    assert (part[:, :y0] == 0).all()
    assert whole[:, :y0].std() > 0.01
    tiled = np.concatenate(list(codec.decode(vae, z, tile=16)))
    np.testing.assert_allclose(tiled, whole, atol=2e-5)


def test_out_of_memory_takes_a_measure_and_goes_on_from_the_last_step(tmp_path, monkeypatch):
    """The allocator fails once, in the third step: same bytes as an undisturbed run."""
    results = []
    for name in ("calm", "short"):
        folder = tmp_path / name
        plate, mask = noise_plate(5, 32, 48), moving_square(5, 32, 48, 12)
        make_job(folder, plate, mask, sampling__steps=4, sampling__solver="unipc")
        if name == "short":
            _fail_call(monkeypatch, number=5)  # two calls a step
        report = generate(folder, Watch(folder))
        assert report.memory.measures_taken == (name == "short")
        results.append(b"".join(p.read_bytes() for p in sorted(folder.glob("result/patch/*"))))
    assert results[0] == results[1]


def _fail_call(monkeypatch, number):
    from wan_blender.engine import fitting

    calls = []
    real = stage_loop.guided_velocity

    def short_of_memory(*arguments):
        calls.append(1)
        if len(calls) == (number + 1) // 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(*arguments)

    def lower(plan, sizes, machine, phase):
        return replace(plan, tiled_decode=True)

    monkeypatch.setattr(stage_loop, "guided_velocity", short_of_memory)
    monkeypatch.setattr(fitting, "step_down", lower)


@pytest.mark.parametrize(
    ("where", "name", "at", "measure"),
    [
        ("models.bundle", "encode_prompts", 1, "text encoder on the processor"),
        ("frames.vae", "encode", 1, "VAE on the processor"),
        ("frames.vae", "encode", 2, "VAE on the processor"),  # of the condition
        ("frames.vae", "decode", 1, "VAE on the processor"),
    ],
)
def test_out_of_memory_in_any_phase_takes_a_measure_and_loses_nothing(
    tmp_path, monkeypatch, where, name, at, measure
):
    """The allocator fails once on a card: same bytes as an undisturbed run."""
    module = importlib.import_module(f"wan_blender.engine.{where}")
    real, calls = getattr(module, name), itertools.count(1)

    def short_of_memory(*arguments, **options):
        if next(calls) == at:
            torch.empty(10**15, dtype=torch.uint8)  # as the allocator says it here
        return real(*arguments, **options)

    monkeypatch.setattr("wan_blender.engine.plan.measure_machine", lambda _: Machine("cuda", 9, 9))
    results = []
    for take in ("calm", "short"):
        monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path / take / "tensors"))
        folder = tmp_path / take / "job"
        make_job(folder, noise_plate(5, 32, 48), moving_square(5, 32, 48, 12), sampling__steps=2)
        if take == "short":
            monkeypatch.setattr(module, name, short_of_memory)
        report = generate(folder, Watch(folder))
        assert report.memory.measures_taken == (take == "short")
        assert report.memory.measures == ((measure,) if take == "short" else ())
        results.append(b"".join(p.read_bytes() for p in sorted(folder.glob("result/patch/*"))))
    assert results[0] == results[1]


def test_models_of_stages_are_loaded_as_the_memory_plan_says(tmp_path, monkeypatch):
    """A stage with a model of its own, on a machine that takes both only in fp8."""
    write_untrained(tmp_path / "model", "t2v")
    plate, mask = noise_plate(5, 32, 48), moving_square(5, 32, 48, 12)
    stages = [Stage(steps=2, dtype="bfloat16"), Stage()]
    make_job(tmp_path / "job", plate, mask, model__path=str(tmp_path / "model"))
    job = jobs.read(tmp_path / "job")
    job.stages = stages
    plan = make_plan(jobs.create(tmp_path / "job", job))
    plan = replace(plan, memory=replace(plan.memory, quantise=True))
    fitting = Fitting(plan, lambda part, done, total: None)
    for span in plan.stages.spans:
        weight = fitting.models.use(span).blocks[0].attn1.to_q.weight
        assert weight.element_size() == 1
    monkeypatch.setattr(
        "wan_blender.engine.fitting.step_down", lambda memory, *_: replace(memory, quantise=False)
    )
    tries = iter([torch.OutOfMemoryError("CUDA out of memory."), None])

    def work():
        if error := next(tries):
            raise error

    fitting.run("denoising", work)
    for span in plan.stages.spans:
        weight = fitting.models.use(span).blocks[0].attn1.to_q.weight
        assert weight.element_size() > 1


def test_tensors_of_a_try_that_ran_out_of_memory_are_let_go_before_the_next(monkeypatch):
    monkeypatch.setattr(Fitting, "__init__", lambda self: None)
    monkeypatch.setattr(Fitting, "_step_down", lambda *_: None)
    monkeypatch.setattr(Fitting, "_announce", lambda *_: None)
    held = []

    def work():
        if held:
            return held[0]()
        latents = torch.zeros(4)
        held.append(weakref.ref(latents))
        raise torch.OutOfMemoryError("CUDA out of memory.")

    assert Fitting().run("denoising", work) is None


def test_out_of_memory_without_a_measure_left_says_what_to_do(tmp_path, monkeypatch):
    from wan_blender.engine import fitting

    _fail_call(monkeypatch, number=1)
    monkeypatch.setattr(fitting, "step_down", lambda *_: None)
    make_job(tmp_path, noise_plate(5, 32, 48), moving_square(5, 32, 48, 12))
    with pytest.raises(errors.OutOfMemory, match="took more than there is") as raised:
        generate(tmp_path, Watch(tmp_path))
    assert "GGUF" in raised.value.hint
    assert not (tmp_path / "result").exists()


LACK_OF_MEMORY = [
    "HIP out of memory. Tried to allocate 2.00 GiB",
    "MPS backend out of memory (MPS allocated: 5 GB)",
    "[enforce fail at alloc_cpu.cpp:127] data. DefaultCPUAllocator: not enough memory: you tried",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "HIP error: hipErrorOutOfMemory",
    "miopenStatusAllocFailed",
]


@pytest.mark.parametrize("words", LACK_OF_MEMORY)
def test_lack_of_memory_is_known_in_the_words_of_each_library(words):
    assert is_out_of_memory(RuntimeError(words))
    assert not is_out_of_memory(RuntimeError("CUDA error: no kernel image is available"))


def test_cudnn_without_room_to_work_in_is_a_lack_of_memory_on_a_card_only(monkeypatch):
    error = RuntimeError("GET was unable to find an engine to execute this computation")
    for present in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda present=present: present)
        assert is_out_of_memory(error) is present


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), MemoryError()],
)
def test_out_of_memory_that_nothing_caught_is_told_with_advice_that_exists(error):
    told = describe(error)
    assert (told.code, told.hint) == ("OutOfMemory", REMEDY)


def test_shot_too_long_for_the_memory_says_so_before_anything_is_loaded(tmp_path, monkeypatch):
    from wan_blender.engine import plan

    machine = replace(plan.measure_machine(torch.device("cpu")), ram_gb=1e-6)
    monkeypatch.setattr(plan, "measure_machine", lambda device: machine)
    make_job(tmp_path, noise_plate(5, 32, 48), moving_square(5, 32, 48, 12))
    with pytest.raises(errors.OutOfMemory, match=r"5 frames at 48x32 need .* GB for their latents"):
        generate(tmp_path, Watch(tmp_path))


def test_each_condition_of_a_run_counts_in_the_memory_of_a_long_shot(tmp_path):
    from wan_blender.engine import plan

    make_job(tmp_path, noise_plate(5, 32, 48), moving_square(5, 32, 48, 12))
    made = plan.make_plan(tmp_path)
    cells = np.prod(made.region.grid.latent_shape)
    channels = 10 * 16 + 96  # source, noise, state and their like; what VACE is shown
    machine = replace(made.machine, ram_gb=4.1e-9 * cells * channels)
    plan._check_length(made.region, made.bundle, machine, conditions=1)
    with pytest.raises(errors.OutOfMemory):
        plan._check_length(made.region, made.bundle, machine, conditions=2)


@pytest.mark.parametrize("compute", ["dense", "fast"])
def test_coherent_noise_keeps_what_is_kept_and_asks_the_expert_of_the_noise_level(
    tmp_path, monkeypatch, compute
):
    """Two experts: before each step but the first, the one that takes the step is asked."""
    folder = write_untrained(tmp_path / "model", "t2v", boundary=0.8)
    asked = []

    def note(coherence, source, state, m, step, sigma, real=loop.cohere):
        asked.append((step, coherence.args[0]))
        return real(coherence, source, state, m, step, sigma)

    monkeypatch.setattr(loop, "cohere", note)
    frames = {}
    for seam in ("replacement", "coherent"):
        job = _small_job(
            tmp_path / seam, model__path=str(folder), sampling__steps=6, sampling__seam=seam,
            sampling__compute=compute, sampling__guidance=1.0,
        )  # fmt: skip
        report = generate(job, Watch(job))
        assert report.max_diff_outside == report.max_latent_diff_kept == 0
        frames[seam] = _read(job, "patch")
    assert (frames["replacement"] != frames["coherent"]).any()
    assert [step for step, _ in asked] == [1, 2, 3, 4, 5]
    experts = [expert for _, expert in asked]
    assert experts[0] is not experts[-1]
    sigmas = report.schedule.sigmas
    assert [e is experts[0] for e in experts] == [sigmas[s] >= 0.8 for s, _ in asked]
