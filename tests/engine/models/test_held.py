# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of models that outlive their job: loaded once, never stale, let go when there is need."""

import gc
import os
import shutil
import weakref
from dataclasses import astuple, dataclass, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests.engine.folders import make_job, moving_square, noise_plate
from wan_blender.core import job as jobs
from wan_blender.core.errors import Cancelled
from wan_blender.core.settings import LoraUse, Stage
from wan_blender.engine.models import held as held_module
from wan_blender.engine.models.bundle import open_model
from wan_blender.engine.models.held import Held
from wan_blender.engine.models.memory import Machine
from wan_blender.engine.models.parts import Component
from wan_blender.engine.pipeline import generate
from wan_blender.engine.watch import Watch


@pytest.fixture(autouse=True)
def cache(monkeypatch):
    """A cache that finds nothing: every job encodes, so every part is at work in it."""
    monkeypatch.setenv("WAN_BLENDER_CACHE_GB", "0")


@pytest.fixture
def loads(monkeypatch):
    """Names of the parts that were loaded from files, in order."""
    found, load = [], Component._load
    monkeypatch.setattr(Component, "_load", lambda part: found.append(part.name) or load(part))
    return found


@pytest.fixture
def roomy(monkeypatch):
    """``roomy["gb"]`` is free, whatever this machine has."""
    free = {"gb": 1000.0}
    monkeypatch.setattr(held_module, "free_gb", lambda device: free["gb"])
    return free


@dataclass(frozen=True)
class Shot:
    model: str = "nano/vace"
    loras: tuple[tuple[str, float], ...] = ()
    size: tuple[int, int] = (32, 48)
    square: int = 12
    compute: str = "dense"
    dtype: str = "auto"
    seed: int = 0

    def write(self, folder):
        plate, mask = noise_plate(5, *self.size), moving_square(5, *self.size, self.square)
        make_job(
            folder, plate, mask, model__path=self.model, model__dtype=self.dtype,
            sampling__steps=2, sampling__compute=self.compute, sampling__seed=self.seed,
        )  # fmt: skip
        job = replace(jobs.read(folder), loras=[LoraUse(*lora) for lora in self.loras])
        return jobs.create(folder, job)


def run(folder, held=None):
    """The frames of the job in ``folder``, as they are on disk."""
    generate(folder, Watch(folder), held)
    return [path.read_bytes() for path in sorted(folder.glob("result/patch/*.png"))]


def run_shot(shot, place, held=None):
    folder = shot.write(place)
    try:
        return run(folder, held)
    finally:
        shutil.rmtree(folder)


def test_ten_jobs_of_one_model_load_each_part_once(tmp_path, loads, roomy):
    held = Held()
    for seed in range(10):
        run_shot(Shot("nano/experts", seed=seed), tmp_path / str(seed), held)
    assert sorted(loads) == ["text_encoder", "transformer", "transformer_2", "vae"]


def test_files_of_an_expert_that_is_held_are_not_read_ahead(tmp_path, monkeypatch, roomy):
    read, held = [], Held()
    monkeypatch.setattr("wan_blender.engine.models.stage_models._read_ahead", read.append)
    for seed in range(2):
        run_shot(Shot("nano/experts", seed=seed), tmp_path / str(seed), held)
    assert len(read) == 1


def test_process_of_one_job_holds_nothing(tmp_path, loads):
    run_shot(Shot(), tmp_path / "a")
    assert loads == ["text_encoder", "vae", "transformer", "vae"]


@pytest.fixture(scope="module")
def loras(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("loras"), []
    width = open_model("nano/vace", "cpu").parts["transformer"].weights.infos[
        "blocks.0.attn1.to_q.weight"
    ].shape[0]  # fmt: skip
    for seed in (1, 2):
        generator = torch.Generator().manual_seed(seed)
        layer = "diffusion_model.blocks.0.self_attn.q"
        made.append(str(folder / f"{seed}.safetensors"))
        save_file(
            {
                f"{layer}.lora_A.weight": torch.randn(4, width, generator=generator),
                f"{layer}.lora_B.weight": torch.randn(width, 4, generator=generator),
            },
            made[-1],
        )
    return made


FRESH = {}  # shot -> what an engine that has run nothing makes of it


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_warm_engine_makes_what_a_fresh_one_makes(loras, tmp_path_factory, data):
    one, two = loras
    shots = st.builds(
        Shot,
        st.sampled_from(["nano/vace", "nano/experts"]),
        st.sampled_from([(), ((one, 1.0),), ((two, 0.5), (one, 0.25))]),
        st.sampled_from([(32, 48), (48, 32)]),
        st.sampled_from([12, 16]),
        st.sampled_from(["dense", "balanced"]),
        st.sampled_from(["float32", "bfloat16"]),
    )
    held, place = Held(), tmp_path_factory.mktemp("jobs")
    for number, shot in enumerate(data.draw(st.lists(shots, min_size=2, max_size=4))):
        if shot not in FRESH:
            FRESH[shot] = run_shot(shot, place / f"fresh {number}")
        assert run_shot(shot, place / f"warm {number}", held) == FRESH[shot], astuple(shot)


def test_lora_leaves_nothing_on_a_held_model(loras, tmp_path, roomy):
    held = Held()
    plain = run_shot(Shot(), tmp_path / "a", held)
    changed = run_shot(Shot(loras=((loras[0], 1.0),)), tmp_path / "b", held)
    assert plain != changed
    assert not any(m._forward_hooks for kept in held._kept.values() for m in kept.model.modules())
    assert run_shot(Shot(), tmp_path / "c", held) == plain


def test_lora_that_changes_on_disk_is_read_again(loras, tmp_path, roomy):
    file, held = tmp_path / "l.safetensors", Held()
    seen = []
    for source in loras:
        shutil.copyfile(source, file)
        seen.append(run_shot(Shot(loras=((str(file), 1.0),)), tmp_path / "job", held))
    assert seen[0] != seen[1]


def change_weights(file, touch=True):
    """Other numbers in the same file, of the same size."""
    before = file.stat()
    tensors = load_file(file)
    save_file({name: tensor * 1.5 for name, tensor in tensors.items()}, file.with_suffix(".new"))
    os.replace(file.with_suffix(".new"), file)
    if not touch:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder"])
@pytest.mark.parametrize("touch", [True, False], ids=["new time", "old time"])
def test_weights_that_change_on_disk_are_loaded_again(folders, tmp_path, loads, roomy, part, touch):
    model = shutil.copytree(folders["t2v"], tmp_path / "model")
    held, shot = Held(), Shot(str(model))
    before = run_shot(shot, tmp_path / "a", held)
    (file,) = (model / part).glob("*.safetensors")
    change_weights(file, touch)
    loads.clear()
    after = run_shot(shot, tmp_path / "b", held)
    assert loads == [part]
    assert after == run_shot(shot, tmp_path / "c")
    if part != "text_encoder":  # which hardly moves an untrained model
        assert after != before


def test_weights_that_change_while_they_are_at_work_are_not_held(folders, tmp_path, loads, roomy):
    model = shutil.copytree(folders["t2v"], tmp_path / "model")
    held = Held()
    with held.job():
        bundle = open_model(model, "cpu", held=held)
        assert bundle.vae is not None
        change_weights(next((model / "vae").glob("*.safetensors")))
    assert not held.let_go()


def test_configuration_that_changes_is_heeded(folders, tmp_path, loads, roomy):
    model = shutil.copytree(folders["t2v"], tmp_path / "model")
    held = Held()
    run_shot(Shot(str(model)), tmp_path / "a", held)
    config = model / "transformer" / "config.json"
    config.write_text(config.read_text().replace('"eps": 1e-06', '"eps": 0.5'))
    loads.clear()
    run_shot(Shot(str(model)), tmp_path / "b", held)
    assert loads == ["transformer"]


def test_stages_of_two_precisions_are_both_held(folders, tmp_path, loads, roomy):
    held = Held()
    for seed in range(2):
        folder = Shot(str(folders["t2v"]), seed=seed).write(tmp_path / str(seed))
        stages = [Stage(steps=1, dtype="bfloat16"), Stage()]
        run(jobs.create(folder, replace(jobs.read(folder), stages=stages)), held)
    assert sorted(loads) == ["text_encoder", "transformer", "transformer", "vae"]


def test_model_that_was_packed_to_fit_is_not_taken_for_the_whole_one(
    folders, tmp_path, monkeypatch, roomy
):
    from wan_blender.engine import plan

    held, shot, whole = Held(), Shot(str(folders["t2v"])), plan.plan_memory
    fresh = run_shot(shot, tmp_path / "fresh")
    with monkeypatch.context() as patch:
        patch.setattr(plan, "plan_memory", lambda *a: replace(whole(*a), quantise=True))
        packed = run_shot(shot, tmp_path / "a", held)
    assert packed != fresh
    assert run_shot(shot, tmp_path / "b", held) == fresh
    assert [key.place[0] for key in held._kept].count("transformer") == 1


def test_cancelled_job_leaves_its_parts_held(folders, tmp_path, loads, roomy):
    held = Held()
    folder = Shot(str(folders["t2v"])).write(tmp_path / "a")
    watch = Watch(folder)
    watch._emit = lambda told: told.phase == "denoising" and told.step and watch._cancelled.set()
    with pytest.raises(Cancelled):
        generate(folder, watch, held)
    before = list(loads)
    assert "transformer" in before
    fresh = run_shot(Shot(str(folders["t2v"])), tmp_path / "b")
    loads.clear()
    assert run_shot(Shot(str(folders["t2v"])), tmp_path / "c", held) == fresh
    assert loads == []


def test_parts_are_not_held_after_an_error_in_their_midst(folders, tmp_path, monkeypatch, roomy):
    held = Held()
    folder = Shot(str(folders["t2v"])).write(tmp_path / "a")
    with held.job():
        bundle = open_model(folders["t2v"], "cpu", held=held)
        assert bundle.vae is not None

    def broken(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr("wan_blender.engine.encode.codec.encode", broken)
    with pytest.raises(RuntimeError):
        generate(folder, Watch(folder), held)
    assert {key.place[0] for key in held._kept} == {"text_encoder"}  # it was not at work


# -- memory


def load_all(folder, held, dtype="bfloat16"):
    """Parts in half precision of files in float32: not in their files' pages."""
    with held.job():
        bundle = open_model(folder, "cpu", dtype, held=held)
        found = [part.model for part in bundle.parts.values()]
    return [weakref.ref(model) for model in found]


def test_what_is_held_counts_as_free_for_the_plan(folders, roomy):
    held = Held()
    load_all(folders["t2v"], held)
    numbers = 0
    for name in ("transformer", "text_encoder"):  # the VAE stays in float32, in its file's pages
        part = open_model(folders["t2v"], "cpu").parts[name]
        numbers += sum(torch.Size(info.shape).numel() for info in part.weights.infos.values())
    taken = held.gigabytes("cpu")
    assert taken == pytest.approx(2e-9 * numbers, rel=0.2)
    machine = held.beside(Machine("cpu", 1.0, 1.0), "cpu")
    assert (machine.device_gb, machine.ram_gb) == (1.0 + taken, 1.0 + taken)


def test_parts_of_another_model_are_let_go_where_both_do_not_fit(folders, roomy):
    held = Held(ram_share=1.0)
    first = load_all(folders["t2v"], held)
    held.needed_gb = {"cpu": 2000.0}
    bundle = open_model(folders["vace"], "cpu", "bfloat16", held=held)
    with held.job():
        held.needed_gb = {"cpu": 2000.0}
        assert bundle.parts["transformer"].model is not None
        gc.collect()
        alive = [ref() for ref in first if ref() is not None]
        assert len(alive) == 1  # the VAE, which takes nothing
    assert held.gigabytes("cpu") > 0


def test_own_part_counts_as_room_for_itself(folders, loads, roomy):
    held = Held()
    load_all(folders["t2v"], held)
    (own,) = [k.gb["cpu"] for key, k in held._kept.items() if key.place[0] == "transformer"]
    loads.clear()
    bundle = open_model(folders["t2v"], "cpu", "bfloat16", held=held)
    with held.job():
        roomy["gb"], held.needed_gb = 1.0, {"cpu": 1.0 + own}
        assert bundle.parts["transformer"].model is not None
        assert {key.place[0] for key in held._kept} == {"vae", "text_encoder"}
    assert loads == []


def test_the_least_dear_goes_first_and_the_job_at_work_last(folders, roomy):
    held = Held()
    load_all(folders["t2v"], held)
    for key, seconds in (("transformer", 9.0), ("text_encoder", 3.0)):
        (found,) = [k for k in held._kept if k.place[0] == key]
        held._kept[found] = replace(held._kept[found], seconds=seconds)
    assert held._least_dear("cpu").place[0] == "text_encoder"
    (found,) = [k for k in held._kept if k.place[0] == "text_encoder"]
    held._kept[found] = replace(held._kept[found], job=99)
    assert held._least_dear("cpu").place[0] == "transformer"


def test_only_a_share_of_the_ram_is_held(folders, roomy):
    held = Held(ram_share=0.5)
    roomy["gb"] = 0.0
    load_all(folders["t2v"], held)
    assert held.gigabytes("cpu") == 0


def test_freed_memory_is_free(folders, roomy):
    held = Held()
    found = load_all(folders["t2v"], held)
    assert all(ref() is not None for ref in found)
    assert held.let_go()
    assert all(ref() is None for ref in found)
    assert not held.let_go()


def test_held_parts_are_given_up_before_the_run_is_made_slower(
    folders, tmp_path, monkeypatch, roomy
):
    """Out of memory once: nothing is measured twice, held parts go, and the plan stays."""
    held = Held()
    load_all(folders["pair"], held)
    folder = Shot(str(folders["t2v"])).write(tmp_path / "a")
    fresh = run_shot(Shot(str(folders["t2v"])), tmp_path / "b")
    calls = []
    from wan_blender.engine.sample import stage_loop

    predict = stage_loop.predict_in_windows

    def fail_once(*arguments):
        calls.append(len(held._kept))
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return predict(*arguments)

    monkeypatch.setattr(stage_loop, "predict_in_windows", fail_once)
    report = generate(folder, Watch(folder), held)
    assert report.memory.measures_taken == 0
    assert calls[0] > 0
    assert calls[1] == 0
    assert [p.read_bytes() for p in sorted(folder.glob("result/patch/*.png"))] == fresh
