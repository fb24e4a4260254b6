# SPDX-License-Identifier: GPL-3.0-or-later
"""Models are found by the real engine and chosen without a terminal."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

REPO = Path(__file__).parents[3]
NANO = REPO / "wan_blender" / "engine" / "nano"
ENGINE = Path(os.environ.get("WAN_ENGINE_PYTHON") or REPO / ".venv" / "engine" / "bin" / "python")


@pytest.fixture
def engine(addon, tmp_path, monkeypatch):
    """The real engine, with empty places to find models in."""
    if not ENGINE.exists():
        pytest.skip(f"no engine environment at {ENGINE}")
    monkeypatch.setenv("WAN_ENGINE_PYTHON", str(ENGINE))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return addon


@pytest.fixture
def chosen(addon, part, tmp_path):
    """The add-on's preferences, with a model folder of its own."""
    chosen = part("host.preferences").get()
    chosen.models = str(tmp_path / "models")
    yield chosen
    chosen.models = ""
    chosen.model_folders.clear()


def copy_of_nano(folder: Path) -> Path:
    """A model folder that says itself where its parts are."""
    folder.mkdir(parents=True)
    shutil.copy(NANO / "vace" / "model_index.json", folder)
    parts = {
        "transformer": NANO / "vace" / "transformer",
        **{name: NANO / "base" / name for name in ("vae", "text_encoder", "tokenizer")},
    }
    data = {"components": {name: str(path) for name, path in parts.items()}, "shift": 4.0}
    (folder / "wan_blender.json").write_text(json.dumps(data))
    return folder


def test_scan_finds_bundled_models_and_those_in_named_folders(engine, chosen, part, tmp_path):
    mine = copy_of_nano(tmp_path / "elsewhere" / "mine")
    chosen.model_folders.add().path = str(tmp_path / "elsewhere")
    engine.ops.wan.scan_models()
    library = part("host.state").host().library
    assert [m.path for m in library.listing.models] == ["", "nano/i2v", "nano/experts", str(mine)]
    assert library.model("nano/experts").boundary == 0.875
    assert library.model("").tasks[0] == "inpaint"
    assert library.model(str(mine)).missing == ()
    again = part("host.library").Library(part("host.preferences").home(), None, None)
    assert again.listing == library.listing  # kept between sessions


def test_named_folder_that_is_absent_is_told(engine, chosen, part, tmp_path):
    absent = tmp_path / "media" / "usb"
    chosen.model_folders.add().path = str(absent)
    engine.ops.wan.scan_models()  # the folder for downloads is not there yet either
    library = part("host.state").host().library
    assert list(library.listing.unusable) == [str(absent)]
    assert len(library.listing.models) == 3


def test_sizes_are_those_of_the_model_that_is_chosen(engine, chosen, part, tmp_path):
    library = part("host.library").Library(tmp_path, None, None)  # has looked at nothing yet
    for path in ("", "nano/i2v", "nano/experts"):
        assert library.sizes(path).native_pixels == 128 * 128
    spoiled = tmp_path / "spoiled"
    spoiled.mkdir()
    (spoiled / "wan_blender.json").write_text('{"components": {"vae": ["a", "b"]}}')
    assert library.sizes(str(spoiled)) == part("model_info.traits").ModelSizes()
    bundled = part("host.state").host().library.model("")
    traits = replace(bundled.traits, cell=16, patch=2, native_pixels=1280 * 704)
    large = replace(bundled, path="/x/5b", traits=traits)
    library.listing = part("model_info.listing").Listing("1", (large,))
    assert library.sizes("/x/5b") == part("model_info.traits").ModelSizes(16, 2, 1280 * 704)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"models": [{"traits": {"kind": "t2v"}}]}'])
def test_models_found_by_another_version_are_looked_for_again(part, tmp_path, text):
    (tmp_path / "models.json").write_text(text)
    assert not part("host.library").Library(tmp_path, None, None).known


def test_what_a_folder_lacks_is_said(engine, chosen, part, tmp_path):
    mine = copy_of_nano(tmp_path / "models" / "mine")
    data = json.loads((mine / "wan_blender.json").read_text())
    data["components"]["text_encoder"] = "nowhere"
    (mine / "wan_blender.json").write_text(json.dumps(data))
    engine.ops.wan.scan_models()
    (lack,) = part("host.state").host().library.model(str(mine)).missing
    assert "nowhere does not exist" in lack


def test_opened_folder_is_chosen_and_its_defaults_are_taken(engine, chosen, part, tmp_path):
    mine = copy_of_nano(tmp_path / "somewhere" / "mine")
    wan = engine.context.scene.wan
    engine.ops.wan.open_model(filepath=str(mine / "model_index.json"))
    assert wan.model.path == str(mine)
    wan.stages.add().name = "old"
    wan.sampling.guidance = 7.5
    engine.ops.wan.use_model_defaults()
    assert wan.sampling.shift == 4.0
    assert (wan.sampling.guidance, len(wan.stages)) == (7.5, 0)  # the folder says nothing of it
    with pytest.raises(RuntimeError, match="no folder"):
        engine.ops.wan.open_model(filepath="/no/where/model_index.json")


def test_single_files_are_put_together_and_chosen(engine, chosen, part, tmp_path):
    files = tmp_path / "files"
    for name, source in (
        ("a_high_noise.safetensors", NANO / "vace" / "transformer"),
        ("a_low_noise.safetensors", NANO / "experts" / "transformer_2"),
        ("t5.safetensors", NANO / "base" / "text_encoder"),
        ("v.safetensors", NANO / "base" / "vae"),
    ):
        files.mkdir(exist_ok=True)
        shutil.copy(next(source.glob("*.safetensors")), files / name)
    chosen.model_folders.add().path = str(files)
    engine.ops.wan.scan_models()
    library = part("host.state").host().library
    assert [f.role for f in library.files("transformer", "vae")].count("transformer") == 2
    (loose,) = (m for m in library.listing.models if m.components)
    assert (loose.kind, loose.boundary, loose.notes) == ("vace", 0.875, ())
    assert "tokenizer" in " ".join(loose.missing)
    with pytest.raises(RuntimeError, match="text encoder"):
        engine.ops.wan.compose_model(transformer=str(files / "a_high_noise.safetensors"))
    chosen_files = {
        "transformer": "a_high_noise",
        "transformer_2": "a_low_noise",
        "text_encoder": "t5",
        "vae": "v",
    }
    engine.ops.wan.compose_model(
        name="pair", **{k: str(files / f"{v}.safetensors") for k, v in chosen_files.items()}
    )
    path = Path(engine.context.scene.wan.model.path)
    assert path == tmp_path / "models" / "pair"
    assert json.loads((path / "wan_blender.json").read_text())["boundary"] == 0.875
    assert library.model(str(path)).boundary == 0.875
    assert library.model(str(path)).missing == ("the tokenizer of google/umt5-xxl",)


def test_files_of_the_chosen_one_are_proposed(addon, part, monkeypatch):
    """Of two models of one name, and of a checkpoint that holds every part."""
    library = part("host.state").host().library
    listing = part("model_info.listing")
    models = tuple(
        listing.FoundModel("", f"wan ({at})", components={"transformer": (f"/{at}/wan.gguf",)})
        for at in "ab"
    )
    roles = ("transformer", "text_encoder", "vae")
    files = tuple(
        listing.Identity(Path(path), role)
        for path in ("/aio.safetensors", "/other.safetensors")
        for role in roles
    )
    monkeypatch.setattr(library, "listing", listing.Listing("1", models, files))
    compose = part("operators.models").WAN_OT_compose_model

    def propose(source="", file=""):
        chosen = SimpleNamespace(source=source, file=file, name="")
        chosen._source = lambda: compose._source(chosen)
        compose._propose(chosen)
        return chosen

    assert propose("wan (b)").transformer == "/b/wan.gguf"
    own = propose(file="/aio.safetensors")
    assert [getattr(own, role) for role in roles] == ["/aio.safetensors"] * 3


def test_scan_without_an_engine_says_what_to_do(addon, part, monkeypatch):
    monkeypatch.setenv("WAN_ENGINE_PYTHON", "/no/such/python")
    with pytest.raises(RuntimeError, match="/no/such/python"):
        addon.ops.wan.scan_models()


@pytest.fixture
def looked(engine, chosen, part):
    """After a scan: the bundled models are known."""
    engine.ops.wan.scan_models()
    engine.context.scene.render.resolution_x = 160
    engine.context.scene.render.resolution_y = 96
    return engine.context.scene


def test_finding_is_fixed_by_its_button(looked, engine, part):
    wan, estimate = looked.wan, part("host.state").host().estimate
    wan.model.path = "nano/experts"
    wan.sampling.steps, wan.sampling.shift = 20, 0.3
    found = {finding.rule for finding in estimate.outlook(looked).findings}
    assert {"few-decisions", "shift"} <= found
    engine.ops.wan.fix_schedule(rule="shift")
    assert wan.sampling.shift == 3.0
    assert estimate.outlook(looked).findings == []
    with pytest.raises(RuntimeError, match="nothing to fix"):
        engine.ops.wan.fix_schedule(rule="shift")


def _lora(part, path: str, expert: str, width: int):
    return part("model_info.listing").Identity(Path(path), "lora", expert=expert, width=width)


def test_distilled_model_is_known_by_its_files(looked, engine, part, monkeypatch):
    looked.wan.model.path, estimate = "nano/experts", part("host.state").host().estimate
    looked.wan.sampling.guidance = 5.0
    before = {finding.rule for finding in estimate.outlook(looked).findings}
    model = part("host.state").host().library.model("nano/experts")
    distilled = ("/m/wan2.2_t2v_low_noise_4step.safetensors",)
    monkeypatch.setitem(model.parts, "transformer_2", distilled)
    after = {finding.rule for finding in estimate.outlook(looked).findings}
    assert "distilled-guidance" in after - before


def test_loras_called_as_all_are_fit_by_their_folder(looked, engine, part, monkeypatch):
    library = part("host.state").host().library
    width = library.model("nano/experts").width
    folder = "/l/Wan2.2-{}-A14B-4steps-lora-rank64-Seko-V1/{}_noise_model.safetensors"
    loras = [
        _lora(part, folder.format(kind, expert), expert, width)
        for kind in ("I2V", "T2V")
        for expert in ("high", "low")
    ]
    monkeypatch.setattr(library, "listing", replace(library.listing, files=tuple(loras)))
    fast = part("host.state").host().library.fast_loras("nano/experts")
    assert fast == (folder.format("T2V", "high"), folder.format("T2V", "low"))


def test_one_model_takes_one_step_distill_lora(looked, engine, part, monkeypatch):
    """Both of a pair would be applied to it, one on top of the other."""
    library = part("host.state").host().library
    width = library.model("").width
    names = {"a_FusionX": "", "t2v_lightx2v_high": "high", "t2v_lightx2v_low": "low"}
    loras = [_lora(part, f"/l/{name}.safetensors", expert, width) for name, expert in names.items()]
    monkeypatch.setattr(library, "listing", replace(library.listing, files=tuple(loras[1:])))
    engine.ops.wan.use_stages(preset="distilled")
    assert [(Path(u.file).stem, u.expert) for u in looked.wan.loras] == [
        ("t2v_lightx2v_low", "both")
    ]
    loras.append(replace(loras[0], path=Path("/l/t2v_lightx2v.safetensors")))
    monkeypatch.setattr(library, "listing", replace(library.listing, files=tuple(loras)))
    assert part("host.state").host().library.fast_loras("") == ("/l/t2v_lightx2v.safetensors",) * 2


def test_presets_set_up_the_stages_of_the_chosen_model(looked, engine, part):
    wan, estimate = looked.wan, part("host.state").host().estimate
    wan.model.path = "nano/experts"
    engine.ops.wan.use_stages(preset="experts")
    assert [(s.expert, round(s.end, 4)) for s in wan.stages] == [("high", 0.875), ("low", -1.0)]
    split = estimate.outlook(looked).plan.spans[0].stop
    engine.ops.wan.use_stages(preset="three")
    assert [s.name for s in wan.stages] == ["exploration", "decision", "refinement"]
    spans = estimate.outlook(looked).plan.spans
    assert len(spans) == 3
    assert spans[1].stop >= split
    engine.ops.wan.move_item(path="stages", index=2, up=True)
    assert (wan.stages[1].name, wan.active_stage) == ("refinement", 1)
    engine.ops.wan.use_stages(preset="one")
    assert len(wan.stages) == 0
    with pytest.raises(RuntimeError, match="needs a step-distill LoRA"):
        engine.ops.wan.use_stages(preset="distilled")


def test_distilled_preset_takes_the_loras_that_fit(looked, engine, part, monkeypatch):
    library = part("host.state").host().library
    width = library.model("nano/experts").width
    loras = [
        _lora(part, f"/l/t2v_lightx2v_{e}_noise.safetensors", e, w)
        for e, w in (("high", width), ("low", width), ("high", width + 1))
    ]
    loras.append(replace(loras[0], path=Path("/l/i2v_lightx2v_high_noise.safetensors")))
    monkeypatch.setattr(library, "listing", replace(library.listing, files=tuple(loras)))
    looked.wan.model.path = "nano/experts"
    engine.ops.wan.use_stages(preset="distilled")
    assert looked.wan.sampling.steps == 4
    assert [(Path(use.file).name, use.expert) for use in looked.wan.loras] == [
        ("t2v_lightx2v_high_noise.safetensors", "high"),
        ("t2v_lightx2v_low_noise.safetensors", "low"),
    ]


@pytest.mark.parametrize(
    ("name", "expert"),
    [("wan22_rain_HIGH_v2", "high"), ("wan22-rain-low_noise", "low"), ("high_quality", "both")],
)
def test_lora_from_anywhere_is_for_the_expert_its_name_says(addon, scene, name, expert):
    addon.ops.wan.use_stages(preset="three")
    for path in ("loras", "stages[1].loras"):
        addon.ops.wan.add_lora(path=path, filepath=f"/elsewhere/{name}.safetensors")
    run, stage = scene.wan.loras[0], scene.wan.stages[1].loras[0]
    assert (Path(run.file).stem, run.expert) == (name, expert)
    assert (Path(stage.file).stem, stage.expert) == (name, "both")  # the stage says whose it is
    with pytest.raises(RuntimeError, match="is not a LoRA"):
        addon.ops.wan.add_lora(path="loras", filepath="/elsewhere")


def test_button_of_a_finding_says_which_stage_it_changes(looked, part):
    describe, estimate = part("panels.schedule")._describe, part("host.state").host().estimate
    view = estimate.outlook(looked)
    assert describe({"sampling.shift": 5.0, "sampling.steps": 6}, view) == "Shift 5, steps 6"
    assert describe({"region.pixels": 2088960}, view) == "Pixels 2088960"
    looked.wan.model.path = "nano/experts"
    view = estimate.outlook(looked)
    high, low = part("schedule.stages").experts(0.875)
    high.guidance, high.steps = 1.0, 4
    assert describe({"stages": [high, low]}, view) == "High noise: steps 4 and guidance 1"
    assert describe({"windows.frames": 0}, view) == "Windows of 17 frames"


def test_model_of_a_stage_is_chosen_apart(looked, engine):
    engine.ops.wan.use_stages(preset="three")
    engine.ops.wan.use_model(path="nano/vace", stage=1)
    assert [stage.model for stage in looked.wan.stages] == ["", "nano/vace", ""]
    assert looked.wan.model.path == ""


def test_plot_shows_each_step_in_the_colour_of_its_stage(looked, engine, part):
    looked.wan.model.path = "nano/experts"
    view, plot = part("host.state").host().estimate.outlook(looked), part("panels.schedule_plot")
    colours = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0)]
    picture = plot.paint(view.plan, 0.875, colours)
    assert picture.shape == (plot.SIZE, plot.SIZE, 4)
    bottom = picture[0, picture[0, :, 3] > 0.5, :3]
    share = view.plan.spans[0].stop / (len(view.plan.sigmas) - 1)
    assert abs((bottom == colours[0]).all(1).mean() - share) < 0.03
    assert (bottom == colours[1]).all(1).any()
    full = (picture[..., 0] == 1) & (picture[..., 1] == 0)
    assert full[:, 0].sum() > full[:, int(share * plot.SIZE) - 4].sum()  # noise falls


def test_memory_is_foretold_for_the_settings(looked, engine, part):
    estimate = part("host.state").host().estimate
    estimate.ask(estimate.outlook(looked))
    assert estimate.forecast is None
    estimate.wait()
    told = estimate.forecast
    assert told.size == (160, 96, 1)
    assert 0 < told.memory.predicted_gb < told.memory.free_gb
    looked.wan.sampling.steps += 1  # changes nothing about memory
    estimate.ask(estimate.outlook(looked))
    assert estimate.forecast is told
    looked.wan.model.path = "/no/where"
    estimate.ask(estimate.outlook(looked))
    assert estimate.forecast is None
    estimate.wait()
    assert "/no/where" in str(estimate.error)


def test_saving_is_foretold_once_the_mask_was_looked_at(looked, engine, part, monkeypatch):
    """From the cells of the overlay; a mask that is seen anew is asked about anew."""
    estimate, words = part("host.state").host().estimate, part("panels.generate")._saving_words
    looked.wan.sampling.compute, looked.wan.sampling.steps = "balanced", 12
    estimate.ask(estimate.outlook(looked))
    estimate.wait()
    assert estimate.forecast.compute is None
    assert "cells" in words(None)
    settings = part("host.properties").read(looked)
    sizes = part("model_info.traits").ModelSizes(8, 2, 832 * 480)
    shares = []
    for side in (24, 64):
        mask = np.zeros((96, 160), np.float32)
        mask[16 : 16 + side, 16 : 16 + side] = 1
        settings.region.mode = "whole"
        preview = part("masks.preview").make_preview(
            1, 9, lambda _, mask=mask: mask, settings.mask, settings.region, sizes
        )
        seen = (preview.crop.width, preview.crop.height), 9, preview
        monkeypatch.setattr(estimate, "_see", lambda scene, seen=seen: seen)
        estimate.ask(estimate.outlook(looked))
        assert estimate.forecast is None
        estimate.wait()
        assert estimate.error is None, estimate.error
        shares.append(estimate.forecast.compute)
    assert 0 < shares[0].active_share < shares[1].active_share
    assert shares[0].predicted_ratio < 1 / 1.3
    assert "%" in words(shares[0])
    dense = part("core.answers.report").Compute("balanced", "dense", "It would save little.")
    assert "all is computed" in words(dense)
    looked.wan.sampling.property_unset("compute")


def test_run_reports_predicted_and_measured_memory(engine, scene, part, tmp_path):
    scene.wan.sampling.steps = 2
    engine.ops.wan.generate(strip="plate")
    (local,) = part("host.state").host().session.jobs
    assert local.report.memory.measured_gb > 0
    engine.ops.wan.show_report(folder=str(local.folder))
    lines = list(part("operators.jobs").describe(local.report))
    assert any("GB predicted" in line and "GB measured" in line for line in lines)
    skipped = replace(local.report, loras_skipped={"/l/fast.safetensors": ("head", "img_emb")})
    assert "fast.safetensors changes 2 layers that this model does not have" in list(
        part("operators.jobs").describe(skipped)
    )
    with pytest.raises(RuntimeError, match="no finished result"):
        engine.ops.wan.show_report(folder=str(tmp_path))
