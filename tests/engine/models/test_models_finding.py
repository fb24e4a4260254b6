# SPDX-License-Identifier: GPL-3.0-or-later
"""Files are known by their tensors, whatever they are called and wherever they lie."""

from __future__ import annotations

import json
import shutil
import struct

import pytest
import torch
from layouts import (
    GOLDEN,
    component,
    fp8_scaled,
    official_transformer_name,
    official_vae_name,
    renamed,
    save,
    velocity,
    write_gguf,
)

from wan_blender.engine.models.finding import candidates, hugging_face_cache, scan, write_candidate
from wan_blender.engine.models.identify import identify
from wan_blender.engine.models.loading import open_model
from wan_blender.engine.models.shelf import look
from wan_blender.errors import Cancelled, UnsafeWeights, WeightsMissing


@pytest.fixture(autouse=True)
def no_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture(scope="module")
def comfy(folders, wide, tmp_path_factory):
    """A ComfyUI folder with a pair, its VACE module, VAE, text encoder and a LoRA."""
    models = tmp_path_factory.mktemp("ComfyUI") / "models"
    wide = renamed(wide.state_dict(), official_transformer_name)
    for expert in ("high", "low"):
        name = f"wan2.2_t2v_{expert}_noise_14B_fp8_scaled.safetensors"
        save(models / "diffusion_models" / name, fp8_scaled(wide))
    (models / "unet").mkdir()
    write_gguf(models / "unet" / "anything.gguf", wide, "Q4_K")
    vae = component(folders["t2v"] / "vae")
    names = {n: official_vae_name(n, False, 3) for n in vae}
    save(models / "vae" / "x.safetensors", renamed(vae, names.__getitem__))
    text = component(folders["t2v"] / "text_encoder")
    text["spiece_model"] = torch.zeros(8, dtype=torch.uint8)
    save(models / "text_encoders" / "t5.safetensors", text)
    save(models / "loras" / "style.safetensors", {
        "diffusion_model.blocks.0.self_attn.q.lora_down.weight": torch.zeros(4, 256),
        "diffusion_model.blocks.0.self_attn.q.lora_up.weight": torch.zeros(256, 4),
    })  # fmt: skip
    save(models / "checkpoints" / "flux.safetensors", {"double_blocks.0.x": torch.zeros(2)})
    (models / "vae" / "half.safetensors").write_bytes(b"\x10\x00\x00")
    torch.save({}, models / "vae" / "old.pt")
    return models.parent


def test_files_are_known_by_their_tensors(comfy):
    models = comfy / "models"
    high = identify(next((models / "diffusion_models").glob("*high*")))[0]
    assert (high.role, high.kind, high.precision, high.expert, high.width) == (
        "transformer", "t2v", "fp8 scaled", "high", 256)  # fmt: skip
    assert identify(models / "unet" / "anything.gguf")[0].precision == "Q4_K"
    vae = identify(models / "vae" / "x.safetensors")[0]
    assert (vae.role, vae.latent_channels) == ("vae", 16)
    assert identify(models / "text_encoders" / "t5.safetensors")[0].has_tokenizer
    lora = identify(models / "loras" / "style.safetensors")[0]
    assert (lora.role, lora.width) == ("lora", 256)
    assert identify(models / "checkpoints" / "flux.safetensors")[0].role == ""
    with pytest.raises(UnsafeWeights):
        identify(models / "vae" / "old.pt")


@pytest.mark.parametrize(("name", "kind"), [("i2v", "i2v"), ("ti2v", "ti2v"), ("t2v", "t2v")])
def test_official_files_are_known(name, kind):
    found = identify(GOLDEN / f"wan22_{name}_tiny_official_keys.safetensors")[0]
    assert (found.role, found.kind, found.precision) == ("transformer", kind, "fp32")


def test_vace_is_known_whole_and_as_a_module(folders, tmp_path):
    state = component(folders["vace"] / "transformer")
    whole = save(tmp_path / "a.safetensors", renamed(state, official_transformer_name))
    only = {n: t for n, t in state.items() if n.startswith("vace_")}
    module = save(tmp_path / "b.safetensors", renamed(only, official_transformer_name))
    assert identify(whole)[0].kind == "vace"
    assert (identify(module)[0].role, identify(module)[0].width) == ("vace", 64)


def test_comfyui_folder_gives_runnable_models(comfy, tmp_path):
    found = scan([comfy])
    assert list(found.unusable) == [comfy / "models" / "vae" / "half.safetensors"]
    made = {c.name: c for c in candidates(found)}
    assert set(made) == {"wan2.2_t2v_14B_fp8_scaled", "anything"}
    pair = made["wan2.2_t2v_14B_fp8_scaled"]
    assert pair.missing == ()
    assert pair.boundary == 0.875
    bundle = open_model(write_candidate(pair, tmp_path), "cpu")
    assert [e.sigma_to for e in bundle.experts] == [0.875, 0.0]
    assert torch.isfinite(velocity(bundle.transformer(0.9))).all()


def test_what_is_missing_is_said(comfy, tmp_path):
    models = tmp_path / "ComfyUI" / "models"
    shutil.copytree(comfy / "models" / "diffusion_models", models / "diffusion_models")
    next((models / "diffusion_models").glob("*low*")).unlink()
    only = candidates(scan([tmp_path / "ComfyUI"]))[0]
    text = " / ".join(only.missing)
    assert "low-noise expert" in text
    assert "VAE with 16" in text
    assert "text encoder" in text


def test_vace_module_joins_the_transformer_it_fits(folders, tmp_path):
    state = component(folders["vace"] / "transformer")
    parts = {True: {}, False: {}}
    for name, tensor in state.items():
        parts[name.startswith("vace_")][name] = tensor
    save(tmp_path / "m" / "base.safetensors", renamed(parts[False], official_transformer_name))
    save(tmp_path / "m" / "module.safetensors", renamed(parts[True], official_transformer_name))
    assert [c.kind for c in candidates(scan([tmp_path / "m"]))] == ["t2v", "vace"]


def test_model_folders_and_the_cache_are_found(folders, tmp_path):
    snapshot = hugging_face_cache() / "models--Wan-AI--X" / "snapshots" / "abc"
    shutil.copytree(folders["t2v"], snapshot)
    found = scan([folders["vace"].parent, tmp_path / "nowhere"])
    assert set(found.folders) == {*folders.values(), snapshot}
    assert found.files == []


def test_scan_can_be_cancelled(comfy):
    def refuse(_doing):
        raise Cancelled

    with pytest.raises(Cancelled):
        scan([comfy], refuse)


def safetensors_header(text: str, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text.encode() + data


def shaped(shapes: dict[str, list[int]]) -> bytes:
    """A safetensors file of float32 tensors of these shapes."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * int(torch.Size(shape).numel())
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    return safetensors_header(json.dumps(header), bytes(end))


def gguf_of(fields: bytes, count: int = 1, tensors: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, count) + fields


KEY = struct.pack("<Q", 1) + b"k"
ARRAY, STRING, U8 = 9, 8, 0
NESTED = struct.pack("<IQ", ARRAY, 1) * 3000
MALFORMED = {
    "array.gguf": gguf_of(KEY + struct.pack("<IIQ", ARRAY, U8, 2**40) + bytes(64)),
    "strings.gguf": gguf_of(KEY + struct.pack("<IIQ", ARRAY, STRING, 2**40) + bytes(64)),
    "nested.gguf": gguf_of(KEY + struct.pack("<I", ARRAY) + NESTED),
    "dimensions.gguf": gguf_of(KEY + struct.pack("<I", 2**31), 0, 1) + bytes(64),
    "cut.gguf": b"GGUF" + struct.pack("<I", 3),
    "deep.safetensors": safetensors_header('{"a":' * 30000 + "1" + "}" * 30000),
    "list.safetensors": safetensors_header("[1, 2]"),
    "scalar.safetensors": shaped({
        "patch_embedding.weight": [], "blocks.0.self_attn.q.weight": [1],
    }),
    "flat.safetensors": shaped({"shared.weight": [4]}),
    "empty.safetensors": shaped({
        "patch_embedding.weight": [64, 16, 0, 2, 2], "head.head.weight": [64, 64],
        "blocks.0.self_attn.q.weight": [1], "text_embedding.0.weight": [64, 32],
        "time_embedding.0.weight": [64, 64], "blocks.0.ffn.0.weight": [64, 64],
    }),
    "clip.safetensors": shaped({
        "vision_model.pre_layrnorm.weight": [4],
        "vision_model.embeddings.patch_embedding.weight": [4, 3],
    }),
    "lora.safetensors": shaped({"blocks.0.self_attn.q.lora_down.weight": []}),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_file_hides_no_other(folders, tmp_path, name):
    good = renamed(component(folders["t2v"] / "transformer"), official_transformer_name)
    save(tmp_path / "good.safetensors", good)
    (tmp_path / name).write_bytes(MALFORMED[name])
    with pytest.raises(WeightsMissing):
        identify(tmp_path / name)
    found = scan([tmp_path])
    assert list(found.unusable) == [tmp_path / name]
    assert str(tmp_path / name) in found.unusable[tmp_path / name]
    assert [file.path.name for file in found.files] == ["good.safetensors"]


def test_error_nobody_foresaw_is_kept_with_its_file(tmp_path, monkeypatch):
    path = save(tmp_path / "x.safetensors", {"shared.weight": torch.zeros(2, 2)})

    def fail(path):
        raise AssertionError("odd")

    monkeypatch.setattr("wan_blender.engine.models.finding.identify", fail)
    assert "AssertionError: odd" in scan([tmp_path]).unusable[path]


def test_malformed_model_folder_hides_no_other(folders, tmp_path):
    for number, text in enumerate(
        ("[" * 30000, '{"components": [1]}', '{"components": {"vae": 7}}')
    ):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "wan_blender.json").write_text(text)
    models = {m["path"]: m for m in look([tmp_path, folders["t2v"]])["models"]}
    assert all(models[str(tmp_path / str(number))]["missing"] for number in range(3))
    assert models[str(folders["t2v"])]["missing"] == ()


def test_pickle_of_a_model_is_told(tmp_path):
    for name, size in (("Wan2.1_VAE.pth", 508_000_000), ("embedding.pt", 30_000)):
        with open(tmp_path / name, "wb") as file:
            file.truncate(size)
    unusable = scan([tmp_path]).unusable
    assert list(unusable) == [tmp_path / "Wan2.1_VAE.pth"]
    assert "pickle" in unusable[tmp_path / "Wan2.1_VAE.pth"]
