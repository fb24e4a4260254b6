# SPDX-License-Identifier: GPL-3.0-or-later
"""A model folder may hold anything: what is wrong with it is said in a sentence, by file."""

from __future__ import annotations

import copy
import json
import math
import random
import shutil
import struct
from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file, save_file

from tests.engine.models.layouts import describe as describe_parts
from tests.engine.models.layouts import save, write_gguf
from wan_blender.core.errors import WanError
from wan_blender.engine.models.bundle import open_model
from wan_blender.engine.models.files.lora_files import read_lora
from wan_blender.engine.models.files.weights import Weights
from wan_blender.engine.models.find.identify import identify
from wan_blender.engine.models.find.shelf import describe
from wan_blender.model_info.traits import read_sizes

ODD = [
    None, True, False, 0, 1, -1, 7, 2**31, 10**30, 10**400, 1.5, float("nan"), float("inf"), "",
    "x", "16", [], [None], [[]], ["x"], [0] * 3, [1, 2], [1] * 2000, {}, {"a": 1}, [[1, 2], [3]],
]  # fmt: skip
JSONS = [
    "model_index.json", "wan_blender.json", "transformer/config.json", "vae/config.json",
    "text_encoder/config.json",
]  # fmt: skip
RAW = [b"", b"{", b"[]", b"null", b"\xff\xfe{", b"[" * 100_000, b'{"a":' * 50_000, b"1e999", b"\0"]


@pytest.fixture(scope="module")
def model(folders, tmp_path_factory):
    return Path(shutil.copytree(folders["t2v"], tmp_path_factory.mktemp("broken") / "m"))


def mangle(chance: random.Random, data: dict) -> dict:
    """``data`` with up to three of its values, or names, changed."""
    data = copy.deepcopy(data)
    for _ in range(chance.randint(1, 3)):
        owner = data
        while chance.random() < 0.3:
            inner = [v for v in owner.values() if isinstance(v, dict) and v]
            if not inner:
                break
            owner = chance.choice(inner)
        name = chance.choice([*owner, *EXTRA])
        if chance.random() < 0.15:
            owner.pop(name, None)
        else:
            owner[name] = copy.deepcopy(chance.choice(ODD))
    return data


EXTRA = ["components", "boundary", "shift", "steps", "known", "_class_name", "dtype", "model_type",
         "quantization_config", "vision_config", "id2label", "architectures"]  # fmt: skip


def survive(action, *where) -> str:
    """What ``action`` says is wrong. Fails for anything but a WanError."""
    try:
        action()
    except WanError as error:
        return str(error)
    except Exception as error:
        raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
    return ""


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.filterwarnings("ignore")
def test_mangled_configurations_end_in_a_sentence(model, seed):
    chance = random.Random(seed)
    for _ in range(60):
        name = chance.choice(JSONS)
        path = model / name
        whole = path.read_bytes()
        data = mangle(chance, json.loads(whole))
        raw = chance.choice(RAW) if chance.random() < 0.1 else json.dumps(data).encode()
        try:
            path.write_bytes(raw)
            said = survive(lambda: open_model(model, "cpu", "float32"), name, raw[:300])
            assert not said or str(model) in said, said
            shown = describe(str(model))
            assert not any("malformed" in words for words in shown.missing), (name, raw[:300])
            assert math.isfinite(read_sizes(model).native_pixels)
        finally:
            path.write_bytes(whole)


def mangle_header(chance: random.Random, header: dict) -> bytes:
    header = mangle(chance, header)
    if chance.random() < 0.5:
        name = chance.choice(list(header))
        if isinstance(header[name], dict):
            header[name] |= {chance.choice(["dtype", "shape", "data_offsets"]): chance.choice(ODD)}
    return json.dumps(header).encode()


@pytest.mark.parametrize("kind", ["transformer", "lora"])
def test_mangled_headers_end_in_a_sentence(folders, tmp_path, kind):
    chance = random.Random(1)
    source = next((folders["t2v"] / "transformer").glob("*.safetensors"))
    small = WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=32, text_dim=32, freq_dim=64, ffn_dim=128,
        num_layers=1,
    )  # fmt: skip
    if kind == "lora":
        layer = "blocks.0.attn1.to_q"
        source = save(tmp_path / "lora.safetensors", {
            f"{layer}.lora_A.weight": torch.zeros(4, 64), f"{layer}.alpha": torch.tensor(4.0),
            f"{layer}.lora_B.weight": torch.zeros(64, 4), f"{layer}.lokr_w1": torch.zeros(8, 8),
            f"{layer}.lokr_w2": torch.zeros(8, 8),
        })  # fmt: skip
    data = source.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    path = tmp_path / "mangled.safetensors"
    for _ in range(200):
        raw = mangle_header(chance, header)
        path.write_bytes(struct.pack("<Q", len(raw)) + raw + body)
        for action in (
            lambda: identify(path),
            lambda: Weights([path], "transformer"),
            lambda: read_lora(path, small),
        ):
            said = survive(action, raw[:300])
            assert not said or str(path) in said, said


def test_mangled_gguf_headers_end_in_a_sentence(wide, tmp_path):
    chance = random.Random(2)
    path = tmp_path / "m.gguf"
    state = {n: t for n, t in wide.state_dict().items() if "blocks.1" not in n}
    write_gguf(path, state, "Q8_0")
    whole = path.read_bytes()
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(4, 6000)] = chance.randrange(256)
        path.write_bytes(data[: chance.choice([len(data), len(data), chance.randrange(9000)])])
        survive(lambda: identify(path))
        survive(lambda: Weights([path], "transformer"))


def test_a_byte_order_mark_is_passed_over(model, tmp_path):
    folder = Path(shutil.copytree(model, tmp_path / "m"))
    for name in JSONS:
        path = folder / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert open_model(folder, "cpu", "float32").traits.kind == "t2v"
    assert describe(str(folder)).missing == ()


def test_files_of_macos_are_passed_over(model, tmp_path):
    """It leaves one beside each file on a disk that cannot hold its attributes, as on exFAT."""
    folder = Path(shutil.copytree(model, tmp_path / "m"))
    before = open_model(folder, "cpu", "float32").content("text_encoder")
    for path in [p for p in folder.rglob("*") if p.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7" + bytes(100))
    assert open_model(folder, "cpu", "float32").content("text_encoder") == before
    assert describe(str(folder)).missing == ()


def test_tensors_without_numbers_are_passed_over(folders, tmp_path):
    state = load_file(next((folders["t2v"] / "transformer").glob("*.safetensors")))
    path = save(tmp_path / "t.safetensors", state | {"blocks.0.marker": torch.zeros(0, 4)})
    assert identify(path)[0].foreign == ()
    parts = {n: str(folders["t2v"] / n) for n in ("vae", "text_encoder", "tokenizer")}
    folder = describe_parts(tmp_path / "m", parts | {"transformer": str(path)})
    assert open_model(folder, "cpu", "float32").transformer(1.0) is not None
    assert describe(str(folder)).missing == ()


@pytest.mark.parametrize("fold", ["(out in) t h w", "out (in t) h w"])
@pytest.mark.parametrize("five_b", [False, True])
def test_a_folded_patch_embedding_of_a_gguf_file_is_unfolded(wide, tmp_path, fold, five_b):
    """ggml has four dimensions, and some converters note nowhere which two they put together."""
    model = wide
    if five_b:
        model = WanTransformer3DModel(
            num_attention_heads=2, attention_head_dim=128, text_dim=32, freq_dim=64, ffn_dim=256,
            num_layers=1, in_channels=48, out_channels=48,
        )  # fmt: skip
    state = dict(model.state_dict())
    weight = state["patch_embedding.weight"]
    shape = (-1, 1, 2, 2) if fold.startswith("(") else (weight.shape[0], -1, 2, 2)
    state["patch_embedding.weight"] = weight.reshape(shape)
    write_gguf(tmp_path / "m.gguf", state, "Q8_0")
    (found,) = identify(tmp_path / "m.gguf")
    assert (found.kind, found.width) == ("ti2v" if five_b else "t2v", 256)
    read = Weights([tmp_path / "m.gguf"], "transformer").read("patch_embedding.weight")
    assert torch.equal(read, weight)


def variants(folder: Path, state: dict, word: str, sharded: bool) -> None:
    """Write ``state`` as diffusers does: "" or ".fp16", in one file or in two with an index."""
    name = "diffusion_pytorch_model"
    if not sharded:
        save(folder / f"{name}{word}.safetensors", state)
        return
    names, places = sorted(state), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"{name}{word}-{number:05d}-of-00002.safetensors"
        save(folder / file, {n: state[n] for n in part})
        places |= dict.fromkeys(part, file)
    index = folder / f"{name}.safetensors.index{word}.json"
    index.write_text(json.dumps({"weight_map": places}))


@pytest.mark.parametrize("default", [None, False, True])
@pytest.mark.parametrize("half", [None, False, True])
def test_variants_are_taken_as_diffusers_does(model, tmp_path, default, half):
    """None: not there; else in shards or not. The default counts where there is one."""
    folder = Path(shutil.copytree(model, tmp_path / "m"))
    place = folder / "transformer"
    file = next(place.glob("*.safetensors"))
    state = load_file(file)
    file.unlink()
    if default is not None:
        variants(place, state, "", default)
    if half is not None:
        variants(place, {name: tensor.half() for name, tensor in state.items()}, ".fp16", half)
    if default is half is None:
        with pytest.raises(WanError, match=r"holds no \.safetensors"):
            open_model(folder, "cpu", "float32")
        return
    bundle = open_model(folder, "cpu", "float32")
    expected = "F32" if default is not None else "F16"
    assert {info.dtype for info in bundle.parts["transformer"].weights.infos.values()} == {expected}
    assert len(bundle.parts["transformer"].files) == (default if default is not None else half) + 1
    assert describe(str(folder)).missing == ()


def test_two_models_in_one_folder_are_refused(model, tmp_path):
    folder = Path(shutil.copytree(model, tmp_path / "m"))
    file = next((folder / "transformer").glob("*.safetensors"))
    shutil.copy(file, file.with_name("other.safetensors"))
    with pytest.raises(WanError, match="no index"):
        open_model(folder, "cpu", "float32")


def test_what_a_download_left_instead_of_weights_is_said(model, tmp_path):
    folder = Path(shutil.copytree(model, tmp_path / "m"))
    weights = next((folder / "vae").glob("*.safetensors"))
    for content, words in (
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 9\n", "of Git LFS"),
        (b"<!DOCTYPE html><html>Sign in</html>", "a web page"),
        (b"\n\n<html><body>503</body></html>", "a web page"),
    ):
        weights.write_bytes(content)
        with pytest.raises(WanError, match=words):
            open_model(str(folder))


def test_counters_that_trainers_leave_are_passed_over(model, tmp_path):
    folder = Path(shutil.copytree(model, tmp_path / "m"))
    weights = next((folder / "transformer").glob("*.safetensors"))
    state = load_file(weights)
    counters = {"num_updates": torch.tensor(10), "ema_decay": torch.tensor([0.99])}
    save_file(state | counters, weights)
    assert open_model(str(folder)).transformer(1.0) is not None
    save_file(state | {"extra": torch.zeros(2, 2)}, weights)
    with pytest.raises(WanError, match="no place for extra"):
        open_model(str(folder))


def test_lora_without_numbers_is_refused_even_where_attention_swallows_them(model, tmp_path):
    transformer = WanTransformer3DModel.from_pretrained(model / "transformer")
    layer, width = "diffusion_model.blocks.0.self_attn.q", transformer.blocks[0].attn1.to_q.weight
    pair = {f"{layer}.lora_A.weight": torch.ones(2, width.shape[1]),
            f"{layer}.lora_B.weight": torch.ones(width.shape[0], 2)}  # fmt: skip
    for value in (math.nan, math.inf):
        broken = pair | {f"{layer}.lora_A.weight": torch.full((2, width.shape[1]), value)}
        save_file(broken, tmp_path / "l.safetensors")
        with pytest.raises(WanError, match=r"holds NaN or infinity in .*lora_A"):
            read_lora(tmp_path / "l.safetensors", transformer)
    save_file(pair | {f"{layer}.alpha": torch.tensor(0.0)}, tmp_path / "l.safetensors")
    with pytest.raises(WanError, match="alpha of all of its 1 layers is 0"):
        read_lora(tmp_path / "l.safetensors", transformer)
