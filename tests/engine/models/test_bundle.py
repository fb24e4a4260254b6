# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening models: lazily, exactly, and with an error that says what is wrong."""

from __future__ import annotations

import io
import json
import shutil
import struct

import gguf
import numpy as np
import pytest
import sentencepiece
import torch
from diffusers import AutoencoderKLWan, WanPipeline, WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, UMT5Config, UMT5EncoderModel

from tests.engine.models.layouts import component, describe, open_part, save, velocity, write_gguf
from wan_blender.core.errors import BadRequest, Cancelled, UnsafeWeights, WeightsMissing, WrongModel
from wan_blender.engine.models.bundle import open_model, pick_device
from wan_blender.engine.models.find.identify import identify
from wan_blender.engine.models.layout import find_folder
from wan_blender.engine.models.text import PieceTokenizer, clean_prompt


def copied(folders, tmp_path, kind="t2v"):
    return shutil.copytree(folders[kind], tmp_path / kind)


@pytest.mark.parametrize(
    ("there", "picked"),
    [({"cuda", "mps"}, "cuda"), ({"cuda"}, "cuda"), ({"mps"}, "mps"), (set(), "cpu")],
)
def test_device_is_the_fastest_that_is_there(monkeypatch, there, picked):
    for name, module in (("cuda", torch.cuda), ("mps", torch.backends.mps)):
        monkeypatch.setattr(module, "is_available", lambda name=name: name in there)
    assert pick_device("auto") == picked
    assert pick_device("cpu") == "cpu"
    for name in ("cuda", "mps"):
        if name in there:
            assert pick_device(name) == name
        else:
            with pytest.raises(BadRequest, match=name):
                pick_device(name)


def test_second_gpu_is_taken_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == "cuda:1"
    with pytest.raises(BadRequest, match=r"'cuda:2'; torch finds 2 GPUs.*one of: cuda, cuda:1\."):
        pick_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadRequest, match=r"'cuda:1', which torch .* does not find"):
        pick_device("cuda:1")


def test_model_on_the_second_gpu_is_measured_there(folders, monkeypatch):
    """Peaks and streams are of torch's current device, also after a job on another one."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    for device in ("cuda:1", "cuda"):
        assert str(open_model(folders["t2v"], device).device) == device
    assert chosen == [1, 0]


@pytest.mark.parametrize(
    ("capability", "hip", "expected"),
    [
        ((6, 1), None, torch.float16),  # GTX 1080
        ((7, 5), None, torch.float16),  # RTX 2080, T4
        ((8, 6), None, torch.bfloat16),  # RTX 3090
        ((7, 5), "6.4", torch.bfloat16),  # AMD counts otherwise
    ],
)
def test_precision_is_one_that_the_card_has(folders, monkeypatch, capability, hip, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    bundle = open_model(folders["t2v"], "cuda")
    assert bundle.dtype == expected
    assert bundle.parts["text_encoder"].dtype == torch.bfloat16  # T5 overflows float16
    assert open_model(folders["t2v"], "cpu").dtype == torch.float32


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("t2v", ("t2v", 16, 16, 8, False, False)),
        ("i2v", ("i2v", 36, 16, 8, False, True)),
        ("vace", ("vace", 16, 16, 8, True, False)),
        ("ti2v", ("ti2v", 48, 48, 16, False, False)),
    ],
)
def test_traits_say_what_the_model_can_do(folders, kind, facts):
    t = open_model(folders[kind], "cpu").traits
    assert (
        t.kind, t.in_channels, t.latent_channels, t.cell, t.has_vace, t.needs_image
    ) == facts  # fmt: skip
    assert t.patch == 2
    assert t.max_sequence_length == 64
    assert t.boundary is None


def test_weights_are_those_that_diffusers_reads(folders):
    bundle = open_model(folders["t2v"], "cpu")
    model = WanTransformer3DModel.from_pretrained(folders["t2v"] / "transformer")
    vae = AutoencoderKLWan.from_pretrained(folders["t2v"] / "vae")
    for ours, theirs in ((bundle.transformer(0.5), model), (bundle.vae, vae)):
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        for name, tensor in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], tensor), name
        assert not ours.training


def test_half_precision_leaves_the_sensitive_layers_exact(folders):
    model = open_model(folders["t2v"], "cpu", "bfloat16").transformer(0.5)
    reference = WanTransformer3DModel.from_pretrained(
        folders["t2v"] / "transformer", torch_dtype=torch.bfloat16
    )
    types = {n: t.dtype for n, t in model.state_dict().items()}
    assert types == {n: t.dtype for n, t in reference.state_dict().items()}
    assert {torch.bfloat16, torch.float32} == set(types.values())


def test_text_is_encoded_as_the_pipeline_of_diffusers_does(folders):
    folder = folders["t2v"]
    pipe = WanPipeline(
        tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer"),
        text_encoder=UMT5EncoderModel.from_pretrained(folder / "text_encoder"),
        vae=None, scheduler=None,
    )  # fmt: skip
    prompts = ["a red  ball", "", "x" * 100, "caf\u00c3\u00a9 &amp;amp; more"]
    expected = pipe._get_t5_prompt_embeds(
        prompts, max_sequence_length=64, device="cpu", dtype=torch.float32
    )
    actual = open_model(folder, "cpu").encode_text(prompts)
    assert actual.shape == (4, 64, 32)
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-6)
    assert actual[1, 1:].abs().max() == 0
    assert actual[0, len("a red ball")].abs().max() > 0


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_prompt_cleaning_equals_that_of_diffusers(text):
    assert clean_prompt(text) == prompt_clean(text)


def test_parts_are_loaded_at_first_use_and_dropped_on_request(folders):
    said = []

    def watch(part, done, total):
        if done == total:
            said.append(part)

    bundle = open_model(folders["pair"], "cpu", watch=watch)
    assert said == []
    assert not any(part.loaded for part in bundle.parts.values())
    bundle.transformer(0.9)
    assert said == ["transformer"]
    assert bundle.transformer(0.9) is bundle.transformer(0.95)
    assert len(said) == 1
    bundle.unload("transformer")
    assert not bundle.parts["transformer"].loaded
    bundle.transformer(0.5)
    assert said == ["transformer", "transformer_2"]


def test_watch_can_cancel_loading(folders):
    """Between any two tensors; the next attempt reads them all."""
    patience = 5

    def refuse(part, done, total):
        if done == patience < total:
            raise Cancelled

    bundle = open_model(folders["t2v"], "cpu", watch=refuse)
    with pytest.raises(Cancelled):
        bundle.transformer(1.0)
    assert not bundle.parts["transformer"].loaded
    patience = 10**6
    assert bundle.transformer(1.0)


def test_experts_change_at_the_boundary(folders):
    bundle = open_model(folders["pair"], "cpu")
    high, low = bundle.experts
    assert (high.sigma_from, high.sigma_to, low.sigma_to) == (1.0, 0.875, 0.0)
    assert bundle.expert(1.0).part is bundle.expert(0.875).part is high.part
    assert bundle.expert(0.8749).part is bundle.expert(0.0).part is low.part
    assert not torch.equal(velocity(high.model), velocity(low.model))


def test_fingerprint_follows_the_weights(folders, tmp_path):
    first = open_model(folders["t2v"], "cpu")
    folder = copied(folders, tmp_path)
    assert open_model(folder, "cpu").fingerprint == first.fingerprint
    state = component(folder / "transformer")
    state["proj_out.bias"] = state["proj_out.bias"] + 1
    save(next((folder / "transformer").glob("*.safetensors")), state)
    assert open_model(folder, "cpu").fingerprint != first.fingerprint


def test_revision_is_the_commit_in_the_hugging_face_cache(folders, tmp_path):
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123abcd"
    shutil.copytree(folders["t2v"], snapshot)
    assert open_model(snapshot, "cpu").revision == "0123abcd"


def test_folder_of_snapshots_that_is_no_cache_tells_no_commit(folders, tmp_path):
    mine = tmp_path / "snapshots" / "nightly" / "models"
    shutil.copytree(folders["t2v"], mine)
    bundle = open_model(mine, "cpu")
    assert bundle.revision == bundle.fingerprint[:12]
    assert find_folder(tmp_path / "snapshots" / "nightly")[1] == "nightly"
    assert find_folder("snapshots")[1] == "snapshots"


def test_single_file_in_the_hugging_face_cache_opens(folders, tmp_path):
    """There it is a link to a file that is named by its hash."""
    cache = tmp_path / "models--a--b"
    snapshot = cache / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    state = component(folders["t2v"] / "transformer")
    save(cache / "blobs" / "5e6f", state)
    (snapshot / "wan.safetensors").symlink_to("../../blobs/5e6f")
    shutil.copy(folders["t2v"] / "transformer" / "config.json", snapshot)
    parts = {name: str(folders["t2v"] / name) for name in ("vae", "text_encoder", "tokenizer")}
    made = describe(tmp_path / "made", parts | {"transformer": str(snapshot / "wan.safetensors")})
    bundle = open_model(made, "cpu")
    assert bundle.revision == "0123abcd"
    assert torch.isfinite(velocity(bundle.transformer(1.0))).all()


def test_shared_components_are_found_beside_the_folder(folders, tmp_path):
    folder = copied(folders, tmp_path)
    shutil.move(folder / "vae", tmp_path / "base_vae")
    data = {"components": {"vae": "../base_vae"}, "max_sequence_length": 32}
    (folder / "wan_blender.json").write_text(json.dumps(data))
    bundle = open_model(folder, "cpu")
    assert bundle.vae.config.z_dim == 16
    assert bundle.traits.max_sequence_length == 32


@pytest.mark.parametrize("entry", [".", "", "./", "../mine", "spiece.model"])
def test_part_may_be_the_folder_of_the_model_itself(folders, tmp_path, pieces, entry):
    folder = tmp_path / "mine"
    shutil.copytree(folders["t2v"], folder)
    (folder / "spiece.model").write_bytes(pieces)
    (folder / "wan_blender.json").write_text(json.dumps({"components": {"tokenizer": entry}}))
    told = open_model(folder, "cpu").read_tokenizer()(["a red ball"], max_length=8)
    assert torch.equal(told.input_ids, PieceTokenizer(pieces)(["a red ball"], 8).input_ids)


def test_no_path_opens_the_bundled_model():
    bundle = open_model("", "cpu")
    assert bundle.name == "Nano Wan VACE"
    assert bundle.traits.has_vace


def test_sharded_weights_equal_one_file(folders, tmp_path):
    model = WanTransformer3DModel.from_pretrained(folders["t2v"] / "transformer")
    model.save_pretrained(tmp_path / "sharded", max_shard_size="100KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    part = open_part("transformer", tmp_path / "sharded")
    torch.testing.assert_close(velocity(part.model), velocity(model), rtol=0, atol=2e-6)


def test_missing_shards_are_named(folders, tmp_path):
    model = WanTransformer3DModel.from_pretrained(folders["t2v"] / "transformer")
    model.save_pretrained(tmp_path / "sharded", max_shard_size="100KB")
    lost = sorted((tmp_path / "sharded").glob("*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(WeightsMissing, match=lost.name):
        open_part("transformer", tmp_path / "sharded")


@pytest.mark.parametrize(
    "lost", ["model_index.json", "vae", "text_encoder/config.json", "transformer"]
)
def test_missing_pieces_are_named(folders, tmp_path, lost):
    folder = copied(folders, tmp_path)
    path = folder / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(WeightsMissing, match=str(path)):
        open_model(folder, "cpu")


def test_half_a_pair_says_which_half(folders, tmp_path):
    folder = copied(folders, tmp_path, "pair")
    shutil.rmtree(folder / "transformer_2")
    with pytest.raises(WeightsMissing, match="transformer_2"):
        open_model(folder, "cpu")


def test_single_file_is_told_what_it_lacks(folders):
    file = next((folders["t2v"] / "transformer").glob("*.safetensors"))
    with pytest.raises(WrongModel, match=r"single file.*compose"):
        open_model(file, "cpu")


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(WeightsMissing, match="nowhere"):
        open_model(tmp_path / "nowhere", "cpu")


@pytest.mark.parametrize("path", ["x" * 5000, "~nobody/model", "a\0b"])
def test_path_that_no_system_takes_is_missing(path):
    with pytest.raises(WeightsMissing) as told:
        open_model(path, "cpu")
    assert len(str(told.value)) < 200


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"components": {"transformer": 5}}, r"components.transformer is 5; expected a file"),
        ({"components": {"vae": [None]}}, r"components.vae is \[None\]"),
        ({"components": {"vae": []}}, r"components.vae is \[\]"),
        ({"components": {"vae": "a\0b"}}, r"components.vae is 'a\\x00b'"),
        ({"components": {"tokenizer": ["a"]}}, r"components.tokenizer is \['a'\]"),
        ({"components": ["vae"]}, r"components is \['vae'\]; expected an object"),
        ({"boundary": "high"}, r"boundary is 'high'; expected a number from 0\.001 to 1"),
        ({"max_sequence_length": -1}, r"max_sequence_length is -1"),
    ],
)
def test_nonsense_in_the_settings_of_a_folder_is_named(folders, tmp_path, settings, words):
    folder = copied(folders, tmp_path)
    (folder / "wan_blender.json").write_text(json.dumps(settings))
    with pytest.raises((WrongModel, WeightsMissing), match=words) as told:
        open_model(folder, "cpu")
    assert str(folder) in str(told.value)


def test_nonsense_in_the_index_of_a_folder_is_named(folders, tmp_path):
    folder = copied(folders, tmp_path, "pair")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"boundary_ratio": "0.875"}))
    with pytest.raises(WrongModel, match=r"model_index.json: boundary_ratio is '0.875'"):
        open_model(folder, "cpu")


def test_part_with_a_name_that_no_system_takes_is_missing(folders, tmp_path):
    folder = copied(folders, tmp_path)
    (folder / "wan_blender.json").write_text(json.dumps({"components": {"vae": "x" * 5000}}))
    with pytest.raises(WeightsMissing, match="File name too long"):
        open_model(folder, "cpu")


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_device_that_is_not_there_is_named(folders, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(BadRequest, match=rf"'{device}'.*model.device to \"auto\""):
        open_model(folders["t2v"], device)
    assert open_model(folders["t2v"]).device.type == "cpu"


@pytest.mark.parametrize("name", ["model.bin", "x.pt", "x.pth", "x.ckpt"])
def test_pickles_are_refused(folders, tmp_path, name):
    folder = copied(folders, tmp_path)
    next((folder / "transformer").glob("*.safetensors")).unlink()
    torch.save({"a": torch.zeros(1)}, folder / "transformer" / name)
    with pytest.raises(UnsafeWeights, match=r"pickle.*safetensors"):
        open_model(folder, "cpu")
    with pytest.raises(UnsafeWeights):
        open_part("transformer", folder / "transformer" / name)


def test_pickle_dressed_as_safetensors_is_refused(tmp_path):
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(100)}, buffer)
    path = tmp_path / "model.safetensors"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(WeightsMissing, match="not a usable safetensors"):
        open_part("transformer", path)


def test_code_in_a_model_folder_is_refused(folders, tmp_path):
    folder = copied(folders, tmp_path)
    index = json.loads((folder / "model_index.json").read_text())
    index["transformer"] = ["my_code", "MyTransformer"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(UnsafeWeights, match="my_code"):
        open_model(folder, "cpu")


def test_index_that_leaves_its_folder_is_refused(folders, tmp_path):
    folder = copied(folders, tmp_path) / "transformer"
    index = {"weight_map": {"a": "../../secret.safetensors"}}
    (folder / "x.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UnsafeWeights, match="outside"):
        open_part("transformer", folder)


@pytest.mark.parametrize("keep", [0, 5, 60, 0.5, 0.999])
def test_cut_files_are_known_before_loading(folders, tmp_path, keep):
    path = next((copied(folders, tmp_path) / "transformer").glob("*.safetensors"))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(WeightsMissing, match=r"cut short|not a usable"):
        open_model(tmp_path / "t2v", "cpu")


@pytest.mark.parametrize(
    "header",
    [b"\xff" * 200, b"[1, 2]" + b" " * 200, b'{"a": {"dtype": "F32", "shape": [9], '
     b'"data_offsets": [0, 4]}}', b'{"a": 3}', b'{"a": {"dtype": "F32", "shape": [-1], '
     b'"data_offsets": [0, -4]}}',
     b'{"a": {"dtype": "F32", "shape": [15], "data_offsets": [0, 60]}}',
     b'{"a": {"dtype": "F32", "shape": [15], "data_offsets": [4, 64]}}',
     b'{"a": {"dtype": "U8", "shape": [40], "data_offsets": [0, 40]}, '
     b'"b": {"dtype": "U8", "shape": [40], "data_offsets": [24, 64]}}',
     b'{"__metadata__": {"n": 3}, "a": {"dtype": "U8", "shape": [64], "data_offsets": [0, 64]}}'],
    ids=["no text", "list", "size", "number", "negative", "left over", "gap", "overlap", "notes"],
)  # fmt: skip
def test_damaged_headers_are_known(tmp_path, header):
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
    with pytest.raises(WeightsMissing, match="not a usable"):
        open_part("transformer", path)


def test_header_that_claims_terabytes_is_refused_at_once(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 42) + bytes(100))
    with pytest.raises(WeightsMissing, match="claims"):
        open_part("transformer", path)


@pytest.mark.parametrize("keep", [3, 50, 3000, -40])
def test_cut_gguf_is_known(tmp_path, wide, keep):
    path = tmp_path / "wan.gguf"
    write_gguf(path, wide.state_dict(), "Q8_0")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsMissing, match="GGUF"):
        open_part("transformer", path)


@pytest.mark.parametrize("shape", [[64, 64, 1, 2, 2], [-256, -256, 1], [1 << 30]])
def test_gguf_that_lies_about_a_shape_is_told(tmp_path, wide, shape):
    writer = gguf.GGUFWriter(tmp_path / "wan.gguf", "wan")
    writer.add_array("comfy.gguf.orig_shape.a", shape)
    writer.add_tensor("a", np.zeros((256, 256), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(WeightsMissing, match="a has 65536 numbers"):
        open_part("transformer", tmp_path / "wan.gguf")


def test_number_too_long_to_be_read_is_told(folders, tmp_path):
    state = component(folders["t2v"] / "vae")
    state[f"decoder.upsamples.{'9' * 5000}.resample.1.weight"] = torch.zeros(1)
    written = (save(tmp_path / "a.safetensors", state), tmp_path / "a.gguf")
    write_gguf(written[1], state, "Q8_0")
    for path in written:
        with pytest.raises(WeightsMissing, match="name has 5036 characters"):
            open_part("vae", path)


@pytest.mark.parametrize("number", [512, 9_999_999_999])
def test_file_that_numbers_more_layers_than_any_wan_is_refused_at_once(folders, tmp_path, number):
    state = component(folders["vace"] / "transformer")
    state[f"vace_blocks.{number}.norm2.weight"] = torch.ones(1)
    path = save(tmp_path / "vace.safetensors", state)
    for read in (identify, lambda file: open_part("transformer", file)):
        with pytest.raises(WeightsMissing, match=f"numbers {number + 1} layers"):
            read(path)


def test_file_that_adds_nothing_to_a_part_is_told(folders, tmp_path):
    state = component(folders["t2v"] / "transformer")
    first = save(tmp_path / "a.safetensors", {f"model.diffusion_model.{n}": t
                                              for n, t in state.items()})  # fmt: skip
    second = save(tmp_path / "b.safetensors", {"x.weight": torch.zeros(1)})
    with pytest.raises(WrongModel, match=r"b\.safetensors holds nothing of the transformer"):
        open_part("transformer", [first, second])


def test_another_architecture_is_told_by_its_tensors(folders, tmp_path):
    path = save(tmp_path / "unet.safetensors", {"input_blocks.0.0.weight": torch.zeros(4, 4)})
    with pytest.raises(WrongModel):
        open_part("transformer", path)
    with pytest.raises(WrongModel, match="holds a vae, not a transformer"):
        open_part("transformer", next((folders["t2v"] / "vae").glob("*.safetensors")))
    with pytest.raises(WrongModel, match="lora"):
        open_part("transformer", save(tmp_path / "l.safetensors", {
            "diffusion_model.blocks.0.self_attn.q.lora_A.weight": torch.zeros(4, 4)}))  # fmt: skip


def test_weights_that_do_not_fit_their_configuration_are_told(folders, tmp_path):
    folder = copied(folders, tmp_path) / "transformer"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_layers": 3}))
    with pytest.raises(WrongModel, match=r"lacks blocks\.2"):
        open_part("transformer", folder)
    (folder / "config.json").write_text(json.dumps(config | {"ffn_dim": 64}))
    with pytest.raises(WrongModel, match=r"\(128, 64\) instead of \(64, 64\)"):
        open_part("transformer", folder)
    (folder / "config.json").write_text(
        json.dumps(config | {"_class_name": "WanAnimateTransformer3DModel"})
    )
    with pytest.raises(WrongModel):
        open_part("transformer", folder)


@pytest.mark.parametrize("name", ["num_layers", "rope_max_seq_len", "attention_head_dim"])
def test_configuration_that_would_fill_the_memory_is_refused(folders, tmp_path, name):
    folder = copied(folders, tmp_path) / "transformer"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {name: 10**9}))
    with pytest.raises(WrongModel, match=name):
        open_part("transformer", folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [("dim_mult", [1] * 20000), ("latents_mean", "a"), ("latents_mean", [0.0] * 3),
     ("latents_std", [1.0] * 15 + [float("nan")]), ("latents_std", [0.0] * 16)],
)  # fmt: skip
def test_vae_with_a_nonsensical_configuration_is_refused(folders, tmp_path, name, value):
    path = copied(folders, tmp_path) / "vae" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(WrongModel, match=r"config.* is not usable|config.json: dim_mult is"):
        open_model(tmp_path / "t2v", "cpu")


def test_pair_without_a_boundary_is_refused(folders, tmp_path):
    parts = ("transformer", "transformer_2", "vae", "text_encoder")
    files = describe(tmp_path / "a", {part: str(folders["pair"] / part) for part in parts})
    folder = copied(folders, tmp_path, "pair")
    index = json.loads((folder / "model_index.json").read_text())
    del index["boundary_ratio"]
    (folder / "model_index.json").write_text(json.dumps(index))
    for place in (files, folder):
        with pytest.raises(WrongModel, match=r'transformer_2 and no boundary.*"boundary"'):
            open_model(place, "cpu")


def test_unknown_quantisation_is_told(folders, tmp_path):
    state = component(folders["t2v"] / "transformer")
    state["blocks.0.attn1.to_q.weight"] = torch.zeros(64, 64, dtype=torch.int8)
    with pytest.raises(WrongModel, match="I8"):
        open_part("transformer", save(tmp_path / "int8.safetensors", state))


def test_recommended_shift_is_read(folders, tmp_path):
    folder = copied(folders, tmp_path)
    (folder / "wan_blender.json").write_text(json.dumps({"shift": 3.0}))
    assert open_model(folder, "cpu").traits.shift == 3.0
    assert open_model(folders["t2v"], "cpu").traits.shift is None


def test_vae_of_another_wan_is_told(folders, tmp_path):
    made = describe(tmp_path, {
        "transformer": str(folders["t2v"] / "transformer"), "vae": str(folders["ti2v"] / "vae"),
        "text_encoder": str(folders["t2v"] / "text_encoder"),
    })  # fmt: skip
    with pytest.raises(WrongModel, match="16 latent channels, the VAE has 48"):
        open_model(made, "cpu")


def test_parts_of_different_models_are_told(folders, tmp_path):
    parts = {
        name: str(folders["pair"] / name)
        for name in ("transformer", "transformer_2", "vae", "text_encoder")
    }
    other = describe(
        tmp_path / "a",
        parts | {"transformer_2": str(folders["i2v"] / "transformer")},
        boundary=0.875,
    )
    with pytest.raises(WrongModel, match="in_channels is 16"):
        open_model(other, "cpu")
    encoder = UMT5EncoderModel(UMT5Config(
        vocab_size=9, d_model=48, d_kv=16, d_ff=64, num_layers=1, num_heads=2,
        feed_forward_proj="gated-gelu"))  # fmt: skip
    encoder.save_pretrained(tmp_path / "text")
    other = describe(
        tmp_path / "b", parts | {"text_encoder": str(tmp_path / "text")}, boundary=0.875
    )
    with pytest.raises(WrongModel, match="makes 48 channels, the transformer takes 32"):
        open_model(other, "cpu")


@pytest.fixture(scope="module")
def pieces():
    """A SentencePiece model with T5's special tokens, as many as the text encoder embeds."""
    return make_pieces(unk_id=2, bos_id=-1)


def make_pieces(**special):
    model = io.BytesIO()
    text = ["a red ball moves left over a white wall", "an empty blue cloth", "two green stars"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text * 20), model_writer=model, vocab_size=258, pad_id=0, eos_id=1,
        hard_vocab_limit=False, user_defined_symbols=[f"<extra_id_{n}>" for n in range(225)],
        **special,
    )  # fmt: skip
    return model.getvalue()


def test_tokenizer_inside_a_text_encoder_file_is_used(folders, tmp_path, pieces):
    folder = folders["t2v"]
    state = component(folder / "text_encoder")
    state["spiece_model"] = torch.frombuffer(bytearray(pieces), dtype=torch.uint8)
    save(tmp_path / "umt5.safetensors", state)
    made = describe(tmp_path, {
        "transformer": str(folder / "transformer"), "vae": str(folder / "vae"),
        "text_encoder": "umt5.safetensors",
    })  # fmt: skip
    embeddings = open_model(made, "cpu").encode_text(["a red ball"])
    count = len(sentencepiece.SentencePieceProcessor(model_proto=pieces).encode("a red ball")) + 1
    assert embeddings.shape == (1, 64, 32)
    assert embeddings[0, count - 1].abs().max() > 0
    assert embeddings[0, count:].abs().max() == 0


def _write_t5(tokenizer):
    """What is left of a T5 tokenizer when its vocabulary was not fetched."""
    (tokenizer / "tokenizer.json").unlink()
    (tokenizer / "tokenizer_config.json").write_text('{"tokenizer_class": "T5TokenizerFast"}')


@pytest.mark.parametrize(
    "spoil",
    [
        shutil.rmtree,
        _write_t5,
        lambda t: (t / "tokenizer.json").write_text('{"version": "1.0", "tru'),
        lambda t: (t / "tokenizer.json").write_text("{}"),
        lambda t: (t / "tokenizer_config.json").unlink(),
        lambda t: (_write_t5(t), (t / "spiece.model").write_bytes(b"")),
        lambda t: (_write_t5(t), (t / "spiece.model").write_bytes(b"\n\x05<pad>")),
    ],
    ids=["gone", "no vocabulary", "cut", "{}", "no config", "empty pieces", "cut pieces"],
)
def test_half_a_tokenizer_is_refused(folders, tmp_path, spoil):
    folder = copied(folders, tmp_path)
    spoil(folder / "tokenizer")
    with pytest.raises(WeightsMissing, match=str(folder / "tokenizer")):
        open_model(folder, "cpu").read_tokenizer()


def test_folder_with_pieces_alone_is_a_tokenizer(folders, tmp_path, pieces):
    folder = copied(folders, tmp_path)
    _write_t5(folder / "tokenizer")
    (folder / "tokenizer" / "spiece.model").write_bytes(pieces)
    told = open_model(folder, "cpu").read_tokenizer()(["a red ball"], max_length=8)
    assert torch.equal(told.input_ids, PieceTokenizer(pieces)(["a red ball"], 8).input_ids)


def test_bare_pieces_are_padded_and_cut_like_t5(pieces):
    tokens = PieceTokenizer(pieces)(["a red ball", "a red ball " * 40], max_length=8)
    assert tokens.input_ids.shape == (2, 8)
    assert tokens.input_ids[1, -1] == 1
    assert tokens.attention_mask[1].all()
    ends = tokens.attention_mask[0].sum()
    assert tokens.input_ids[0, ends - 1] == 1
    assert (tokens.input_ids[0, ends:] == 0).all()


@pytest.mark.parametrize("rows", [300, 200])
def test_tokenizer_of_another_model_is_refused(folders, tmp_path, pieces, rows):
    """Ids of a smaller one lie within UMT5's, so that nothing else would tell; those of a larger
    one end a job on a card in an error of the driver."""
    text = component(folders["t2v"] / "text_encoder")
    text["shared.weight"] = torch.zeros(rows, 32)
    save(tmp_path / "umt5.safetensors", text)
    (tmp_path / "t5.model").write_bytes(pieces)
    parts = {name: str(folders["t2v"] / name) for name in ("transformer", "vae", "tokenizer")}
    for tokenizer in (parts["tokenizer"], "t5.model"):
        made = describe(tmp_path, parts | {"text_encoder": "umt5.safetensors",
                                           "tokenizer": tokenizer})  # fmt: skip
        with pytest.raises(WeightsMissing, match=f"tokens where the text encoder embeds {rows}"):
            open_model(made, "cpu").read_tokenizer()


def test_tokenizer_with_other_special_tokens_is_refused(folders, tmp_path):
    """As Gemma's, which has nearly as many tokens as UMT5, and the same two first."""
    folder = copied(folders, tmp_path)
    _write_t5(folder / "tokenizer")
    made = make_pieces(bos_id=2, unk_id=3)
    assert len(PieceTokenizer(made)) <= 258
    (folder / "tokenizer" / "spiece.model").write_bytes(made)
    with pytest.raises(WeightsMissing, match="its unknown token is 3, UMT5's is 2"):
        open_model(folder, "cpu").read_tokenizer()
