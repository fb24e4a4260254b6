# SPDX-License-Identifier: GPL-3.0-or-later
"""Every model on the machine is found once, and nothing odd on the way hides another."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import pytest
import torch

from tests.engine.models.layouts import component, official_transformer_name, renamed, save
from wan_blender.core.answers.typed import to_json
from wan_blender.core.errors import Cancelled, WeightsMissing, WrongModel
from wan_blender.engine.models.bundle import open_model
from wan_blender.engine.models.find.comfyui import comfyui_folders
from wan_blender.engine.models.find.compose import Candidate, candidates, write_candidate
from wan_blender.engine.models.find.identify import identify
from wan_blender.engine.models.find.scan import hugging_face_cache, scan
from wan_blender.engine.models.find.shelf import describe, look

pytestmark = pytest.mark.usefixtures("no_cache")


def test_model_folders_and_the_cache_are_found(folders, tmp_path):
    snapshot = hugging_face_cache() / "models--Wan-AI--X" / "snapshots" / "abc"
    shutil.copytree(folders["t2v"], snapshot)
    found = scan([folders["vace"].parent, tmp_path / "nowhere"])
    assert set(found.folders) == {*folders.values(), snapshot}
    assert found.files == []


def test_scan_can_be_cancelled(encoders):
    def refuse(_doing):
        raise Cancelled

    with pytest.raises(Cancelled):
        scan([encoders], refuse)


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


def test_a_transformer_with_an_empty_layer_is_none(tmp_path):
    shapes = {
        "patch_embedding.weight": [64, 16, 0, 2, 2], "head.head.weight": [64, 64],
        "blocks.0.self_attn.q.weight": [1], "text_embedding.0.weight": [64, 32],
        "time_embedding.0.weight": [64, 64], "blocks.0.ffn.0.weight": [64, 64],
    }  # fmt: skip
    (tmp_path / "m.safetensors").write_bytes(shaped(shapes))
    assert [found.role for found in identify(tmp_path / "m.safetensors")] == [""]
    assert scan([tmp_path]).files == []


def test_error_nobody_foresaw_is_kept_with_its_file(tmp_path, monkeypatch):
    path = save(tmp_path / "x.safetensors", {"shared.weight": torch.zeros(2, 2)})

    def fail(path):
        raise AssertionError("odd")

    monkeypatch.setattr("wan_blender.engine.models.find.scan.identify", fail)
    assert "AssertionError: odd" in scan([tmp_path]).unusable[path]


def test_malformed_model_folder_hides_no_other(folders, tmp_path):
    for number, text in enumerate(
        ("[" * 30000, '{"components": [1]}', '{"components": {"vae": 7}}')
    ):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "wan_blender.json").write_text(text)
    models = {m.path: m for m in look([tmp_path, folders["t2v"]]).models}
    assert all(models[str(tmp_path / str(number))].missing for number in range(3))
    assert models[str(folders["t2v"])].missing == ()


def packed(state, pack):
    """``state`` with what ``pack`` makes of each block matrix, and the scales for it."""
    out = dict(state)
    for name, tensor in state.items():
        if tensor.ndim == 2 and "blocks." in name and name.endswith("weight"):
            out[name], out[name.removesuffix(".weight") + ".weight_scale"] = pack(tensor)
    return out


def mxfp8(matrix):
    """As ComfyUI's mxfp8: float8 with an exponent for each 32 of a row."""
    rows, columns = matrix.shape
    return matrix.to(torch.float8_e4m3fn), torch.full((rows, columns // 32), 127, dtype=torch.uint8)


def blocks(matrix):
    """Float8 with a float for each 8x8, as DeepSeek's of 128x128."""
    rows, columns = matrix.shape
    return matrix.to(torch.float8_e4m3fn), torch.ones(rows // 8, columns // 8)


def integers(matrix):
    """Int8, with a scale for each row."""
    return matrix.to(torch.int8), torch.ones(len(matrix), 1)


@pytest.mark.parametrize(
    ("pack", "told"),
    [
        (integers, "as I8"),
        (mxfp8, "F8_E4M3 with scales of shape"),
        (blocks, "F8_E4M3 with scales of shape"),
    ],
)
def test_quantisation_that_is_not_read_is_told_before_it_is_chosen(
    folders, encoders, tmp_path, pack, told
):
    state = renamed(component(folders["t2v"] / "transformer"), official_transformer_name)
    path = save(encoders / "wan.safetensors", packed(state, pack))
    found = scan([encoders])
    assert candidates(found) == []
    assert told in found.unusable[path]
    parts = {"transformer": str(path), "vae": str(encoders / "vae.safetensors"),
             "text_encoder": str(encoders / "umt5.safetensors")}  # fmt: skip
    made = write_candidate(Candidate("x", "t2v", parts, None, ()), tmp_path / "made")
    assert any(told in lack for lack in describe(str(made)).missing)
    with pytest.raises(WrongModel, match=told):
        open_model(made, "cpu")


def test_pickle_of_a_model_is_told(tmp_path):
    for name, size in (("Wan2.1_VAE.pth", 508_000_000), ("embedding.pt", 30_000)):
        with open(tmp_path / name, "wb") as file:
            file.truncate(size)
    unusable = scan([tmp_path]).unusable
    assert list(unusable) == [tmp_path / "Wan2.1_VAE.pth"]
    assert "pickle" in unusable[tmp_path / "Wan2.1_VAE.pth"]


def write_index(folder, index, tokenizer="tokenizer.json"):
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer" / tokenizer).touch()
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_models_that_are_no_wan_are_passed_over_with_their_tokenizers(tmp_path):
    for name in ("LTXPipeline", "CogVideoXPipeline", "StableDiffusionXLPipeline", "None"):
        index = {"_class_name": name, "tokenizer": ["transformers", "T5Tokenizer"]}
        write_index(tmp_path / name, index, "spiece.model")
    edit = {"transformer": ["diffusers", "WanTransformer3DModel"], "_class_name": "EditPipeline"}
    wan = [
        write_index(tmp_path / "a", {"_class_name": "WanImageToVideoPipeline"}),
        write_index(tmp_path / "b", edit),
    ]
    found = scan([tmp_path])
    assert found.folders == wan
    assert found.tokenizers == [folder / "tokenizer" for folder in wan]


def test_cached_tokenizer_is_known_by_its_repository(tmp_path):
    cached = hugging_face_cache() / "models--google--umt5-xxl" / "snapshots" / ("0" * 40)
    cached.mkdir(parents=True)
    (cached / "spiece.model").touch()
    assert scan([]).tokenizers == [cached / "spiece.model"]


def test_what_several_ways_lead_to_is_found_once(folders, encoders, tmp_path):
    state = renamed(component(folders["t2v"] / "transformer"), official_transformer_name)
    path = save(encoders / "unet" / "wan.safetensors", state)
    shutil.copytree(folders["t2v"], encoders / "wan")
    (encoders / "unet" / "loop").symlink_to(encoders)
    (encoders / "again.safetensors").symlink_to(path)
    found = scan([tmp_path, encoders, encoders / "unet", encoders / ".." / "encoders"])
    assert len(found.folders) == 1
    assert sorted(f.role for f in found.files) == ["text_encoder", "transformer", "vae"]
    (only,) = candidates(found)
    assert (only.missing, only.notes) == ((), ())


def deny(monkeypatch, call, *names):
    """Path.call fails for paths of these names, as for a user they are closed to."""
    real = getattr(Path, call)

    def fail(path):
        if path.name in names:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, call, fail)


def test_closed_and_absent_folders_are_told_and_hide_nothing(encoders, tmp_path, monkeypatch):
    for name in ("closed", "link"):
        (encoders / name).mkdir()
    deny(monkeypatch, "iterdir", "closed")
    deny(monkeypatch, "is_dir", "link")
    absent = tmp_path / "media" / "usb"
    found = scan([encoders, absent])
    assert len(found.files) == 2
    assert set(found.unusable) == {encoders / "closed", encoders / "link", absent}
    assert "Permission denied" in found.unusable[encoders / "closed"]
    assert "No such file" in found.unusable[absent]


def test_files_of_a_relative_place_can_be_put_together(encoders, monkeypatch):
    monkeypatch.chdir(encoders)
    assert {f.path.parent for f in scan([Path(".")]).files} == {encoders}


def test_folder_that_vanishes_ends_no_scan(encoders):
    for name in ("a", "b", "c"):
        (encoders / name).mkdir()

    def watch(folder):
        if folder.endswith("/a"):
            (encoders / "b").rmdir()

    assert len(scan([encoders], watch).files) == 2


def test_folders_eight_levels_down_are_found(encoders):
    deep = encoders / "AI" / "portable" / "ComfyUI" / "models" / "vae" / "wan" / "2.1" / "bf16"
    deep.mkdir(parents=True)
    (encoders / "vae.safetensors").rename(deep / "vae.safetensors")
    assert {f.role for f in scan([encoders]).files} == {"vae", "text_encoder"}
    (deep / "more").mkdir()
    (deep / "vae.safetensors").rename(deep / "more" / "vae.safetensors")
    assert {f.role for f in scan([encoders]).files} == {"text_encoder"}
    assert {f.role for f in scan([encoders, deep]).files} == {"vae", "text_encoder"}


def test_names_that_are_no_text_are_passed_over(encoders):
    odd = os.fsencode(encoders) + b"/wan\xff.safetensors"
    try:
        shutil.copy(encoders / "vae.safetensors", odd)
        os.mkdir(os.fsencode(encoders) + b"/f\xe9")
    except OSError:
        pytest.skip("this file system takes text alone")
    found = look([encoders])
    json.dumps(to_json(found), ensure_ascii=False).encode()
    assert len(found.files) == 2
    told = list(found.unusable.values())
    assert len(told) == 2
    assert all("not UTF-8" in why for why in told)


def test_folders_of_comfyuis_configuration_are_looked_in(encoders, tmp_path, monkeypatch):
    home = tmp_path / "home"
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setenv("SHARED", str(tmp_path))
    (tmp_path / "v").mkdir()
    (encoders / "vae.safetensors").rename(tmp_path / "v" / "vae.safetensors")
    portable = tmp_path / "portable" / "ComfyUI"
    for folder in (home / "ComfyUI", portable / "models"):
        folder.mkdir(parents=True)
    (home / "ComfyUI" / "extra_model_paths.yaml").write_text("""
# shared
comfyui:
    base_path: $SHARED
    is_default: true
    text_encoders: |
        encoders
        nowhere
    custom_nodes: .
empty:
""")
    (portable / "extra_model_paths.yaml").write_text("a:\n    vae: ../../v\n    loras: [1]\n")
    assert comfyui_folders() == [encoders]
    for named in (portable, portable / "models"):
        assert {f.role for f in look([named]).files} == {"vae", "text_encoder"}


@pytest.mark.parametrize("text", ["a: [", "- 1", "7", "a: !!python/object:x.Y {}", "\xff", "a: 3"])
def test_configuration_of_comfyui_that_cannot_be_read_is_passed_over(tmp_path, monkeypatch, text):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    (tmp_path / "extra_model_paths.yaml").write_bytes(text.encode("latin-1"))
    assert comfyui_folders([tmp_path]) == []
