# SPDX-License-Identifier: GPL-3.0-or-later
"""Models are found by the real engine and chosen without a terminal."""

import json
import os
import shutil
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
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
    chosen = part("preferences").get()
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
    library = part("library").library()
    assert [m["path"] for m in library.models] == ["", "nano/i2v", "nano/experts", str(mine)]
    assert library.model("nano/experts")["boundary"] == 0.875
    assert library.model("")["tasks"][0] == "inpaint"
    assert library.model(str(mine))["missing"] == []
    again = part("library").Library(part("preferences").home(), None, None)
    assert again.models == library.models  # kept between sessions


def test_what_a_folder_lacks_is_said(engine, chosen, part, tmp_path):
    mine = copy_of_nano(tmp_path / "models" / "mine")
    data = json.loads((mine / "wan_blender.json").read_text())
    data["components"]["text_encoder"] = "nowhere"
    (mine / "wan_blender.json").write_text(json.dumps(data))
    engine.ops.wan.scan_models()
    (lack,) = part("library").library().model(str(mine))["missing"]
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
    library = part("library").library()
    assert [f["role"] for f in library.files("transformer", "vae")].count("transformer") == 2
    (loose,) = (m for m in library.models if m["components"])
    assert (loose["kind"], loose["boundary"]) == ("vace", 0.875)
    assert "tokenizer" in " ".join(loose["missing"])
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
    assert library.model(str(path))["boundary"] == 0.875


def test_scan_without_an_engine_says_what_to_do(addon, part, monkeypatch):
    monkeypatch.setenv("WAN_ENGINE_PYTHON", "/no/such/python")
    with pytest.raises(RuntimeError, match="/no/such/python"):
        addon.ops.wan.scan_models()
