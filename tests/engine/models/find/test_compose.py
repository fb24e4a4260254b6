# SPDX-License-Identifier: GPL-3.0-or-later
"""Files are known by their tensors, whatever they are called and wherever they lie."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from tests.engine.models.layouts import (
    GOLDEN,
    component,
    fp8_scaled,
    official_transformer_name,
    open_clip,
    renamed,
    save,
    save_text_encoder,
    save_vae,
    velocity,
    write_gguf,
)
from wan_blender.core.errors import BadRequest, UnsafeWeights, WeightsMissing, WrongModel
from wan_blender.engine.cli import models
from wan_blender.engine.models.bundle import open_model
from wan_blender.engine.models.find import pairs
from wan_blender.engine.models.find.catalogue import part_catalogue
from wan_blender.engine.models.find.compose import (
    TOKENIZER,
    add_part,
    candidates,
    compose,
    write_candidate,
)
from wan_blender.engine.models.find.identify import Identity, identify
from wan_blender.engine.models.find.scan import hugging_face_cache, scan
from wan_blender.engine.models.find.shelf import describe, look
from wan_blender.engine.models.layout import CLIP
from wan_blender.model_info.names import name_of

pytestmark = pytest.mark.usefixtures("no_cache")


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
    save_vae(folders, models / "vae" / "x.safetensors")
    save_text_encoder(folders, models / "text_encoders" / "t5.safetensors")
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


def test_lone_low_noise_expert_is_listed(comfy, tmp_path):
    low = next((comfy / "models" / "diffusion_models").glob("*low*"))
    shutil.copy(low, tmp_path / low.name)
    only = candidates(scan([tmp_path]))[0]
    assert only.components == {"transformer_2": str(tmp_path / low.name)}
    assert "its high-noise expert" in only.missing[0]
    shown = next(m for m in look([tmp_path]).models if m.components)
    assert (shown.kind, shown.boundary) == ("t2v", 0.875)


def test_a_pair_in_two_places_is_two_pairs(comfy, tmp_path):
    for place in ("a", "b"):
        shutil.copytree(comfy / "models" / "diffusion_models", tmp_path / place / "models")
    made = candidates(scan([tmp_path / "a", tmp_path / "b"]))
    assert [sorted(c.components) for c in made] == [["transformer", "transformer_2"]] * 2


@pytest.fixture(scope="module")
def clip_files(folders, tmp_path_factory):
    """A ComfyUI folder of Wan 2.1's image-to-video kinds, which take CLIP."""
    models = tmp_path_factory.mktemp("clip")
    torch.manual_seed(1)
    sizes = {
        "num_attention_heads": 1, "attention_head_dim": 128, "text_dim": 32, "freq_dim": 64,
        "ffn_dim": 64, "num_layers": 1, "in_channels": 36, "out_channels": 16, "image_dim": 160,
        "added_kv_proj_dim": 128,
    }  # fmt: skip
    for kind, ends in (("i2v", None), ("flf2v", 514)):
        state = WanTransformer3DModel(**sizes, pos_embed_seq_len=ends).state_dict()
        save(models / "diffusion_models" / f"wan2.1_{kind}_14B.safetensors",
             renamed(state, official_transformer_name))  # fmt: skip
    save(models / "vae" / "wan_2.1_vae.safetensors", component(folders["t2v"] / "vae"))
    text = component(folders["t2v"] / "text_encoder")
    text["spiece_model"] = torch.zeros(8, dtype=torch.uint8)
    save(models / "text_encoders" / "umt5_xxl.safetensors", text)
    for name, width in (("clip_vision_g", 320), ("clip_vision_h", 160)):
        vision = CLIPVisionModel(CLIPVisionConfig(
            hidden_size=width, intermediate_size=64, num_hidden_layers=1,
            num_attention_heads=width // 80, image_size=28, patch_size=14, hidden_act="gelu",
        ))  # fmt: skip
        state = {f"vision_model.{n}": t for n, t in vision.state_dict().items()}
        save(models / "clip_vision" / f"{name}.safetensors", state)
    return models


def test_image_encoder_is_taken_by_models_that_need_it(clip_files, tmp_path):
    made = candidates(scan([clip_files]))
    assert [c.kind for c in made] == ["flf2v", "i2v"]
    for candidate in made:
        assert candidate.missing == ()
        clip = clip_files / "clip_vision" / "clip_vision_h.safetensors"
        assert candidate.components["image_encoder"] == str(clip)
        folder = write_candidate(candidate, tmp_path)
        assert describe(str(folder)).missing == ()
        assert open_model(folder, "cpu").image_encoder.config.hidden_size == 160


def test_image_encoder_that_is_not_there_is_missed_before_anything_runs(clip_files, tmp_path):
    shutil.copytree(clip_files, tmp_path / "m", ignore=shutil.ignore_patterns("*_h.safetensors"))
    candidate = candidates(scan([tmp_path / "m"]))[0]
    assert candidate.missing == (CLIP,)
    folder = write_candidate(candidate, tmp_path / "made")
    assert describe(str(folder)).missing == (CLIP,)
    with pytest.raises(WeightsMissing, match="CLIP"):
        open_model(folder, "cpu")
    parts = [item for item in candidate.components.items() if item[0] != "tokenizer"]
    with pytest.raises(BadRequest, match="CLIP"):
        compose("x", parts, tmp_path)
    wide = tmp_path / "m" / "clip_vision" / "clip_vision_g.safetensors"
    other = compose("y", [*parts, ("image_encoder", str(wide))], tmp_path)
    with pytest.raises(WrongModel, match="makes 320 channels, the transformer takes 160"):
        open_model(other, "cpu")


def test_encoders_and_vae_are_told_from_their_kin(clip_files, tmp_path):
    models = shutil.copytree(clip_files, tmp_path / "m")
    vae = models / "vae" / "wan_2.1_vae.safetensors"
    shutil.copy(vae, models / "vae" / "qwen_image_vae.safetensors")
    umt5 = models / "text_encoders" / "umt5_xxl.safetensors"
    shutil.copy(umt5, models / "text_encoders" / "another.safetensors")
    for encoder, config in ((T5EncoderModel, T5Config), (UMT5EncoderModel, UMT5Config)):
        for dim in (32, 48):
            model = encoder(config(
                vocab_size=258, d_model=dim, d_kv=16, d_ff=64, num_layers=2, num_heads=2,
                feed_forward_proj="gated-gelu",
            ))  # fmt: skip
            state = {n: t.clone() for n, t in model.state_dict().items() if "embed_tok" not in n}
            state["spiece_model"] = torch.zeros(8, dtype=torch.uint8)
            path = save(
                models / "text_encoders" / f"a_{config.model_type}_{dim}.safetensors", state
            )
            assert identify(path)[0].kind == config.model_type
    (models / "text_encoders" / "a_umt5_32.safetensors").unlink()
    made = candidates(scan([models]))[0]
    assert (made.components["vae"], made.components["text_encoder"]) == (str(vae), str(umt5))
    assert [note.rpartition(": ")[2] for note in made.notes] == [
        "wan_2.1_vae.safetensors was taken of 2 that fit",
        "umt5_xxl.safetensors was taken of 2 that fit",
    ]


def test_vace_module_joins_the_transformer_it_fits(folders, tmp_path):
    state = component(folders["vace"] / "transformer")
    parts = {True: {}, False: {}}
    for name, tensor in state.items():
        parts[name.startswith("vace_")][name] = tensor
    save(tmp_path / "m" / "base.safetensors", renamed(parts[False], official_transformer_name))
    save(tmp_path / "m" / "module.safetensors", renamed(parts[True], official_transformer_name))
    assert [c.kind for c in candidates(scan([tmp_path / "m"]))] == ["t2v", "vace"]


def in_shards(state, folder):
    """An official folder: two shards, their index and Wan's own configuration."""
    folder.mkdir(parents=True)
    names, files = sorted(state), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"diffusion_pytorch_model-0000{number}-of-00002.safetensors"
        save(folder / file, {name: state[name] for name in part})
        files |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": files}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    config = {
        "_class_name": "WanModel", "_diffusers_version": "0.33.0", "dim": 64, "num_heads": 2,
        "eps": 1e-6, "model_type": "t2v", "text_len": 512,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


def test_official_folders_of_shards_are_one_model(folders, encoders, tmp_path):
    state = renamed(component(folders["t2v"] / "transformer"), official_transformer_name)
    official = hugging_face_cache() / "models--Wan-AI--Wan2.2-T2V-A14B" / "snapshots" / "ab12"
    for expert in ("high", "low"):
        in_shards(state, official / f"{expert}_noise_model")
    found = scan([encoders])
    assert found.unusable == {}
    assert [f.path for f in found.files if f.role == "transformer"] == [
        official / "high_noise_model", official / "low_noise_model"]  # fmt: skip
    (pair,) = candidates(found)
    assert (pair.name, pair.boundary, pair.missing) == ("Wan2.2-T2V-A14B", 0.875, ())
    bundle = open_model(write_candidate(pair, tmp_path / "made"), "cpu")
    reference = open_model(folders["t2v"], "cpu").transformer(1.0)
    for sigma in (0.9, 0.1):
        assert (velocity(bundle.transformer(sigma)) - velocity(reference)).abs().max() < 2e-6
    shard = official / "high_noise_model" / "diffusion_pytorch_model-00002-of-00002.safetensors"
    parts = [("transformer", str(shard)), *list(pair.components.items())[1:]]
    composed = json.loads((compose("x", parts, tmp_path) / "wan_blender.json").read_text())
    assert composed["components"]["transformer"] == str(official / "high_noise_model")


def test_shards_without_their_index_or_one_of_them_are_told(folders, tmp_path):
    state = renamed(component(folders["t2v"] / "transformer"), official_transformer_name)
    for name in ("no_index", "one_short"):
        in_shards(state, tmp_path / name)
    (index,) = (tmp_path / "no_index").glob("*.index.json")
    index.unlink()
    next((tmp_path / "no_index").glob("*-00002-*")).unlink()
    next((tmp_path / "one_short").glob("*-00002-*")).unlink()
    found = scan([tmp_path])
    assert found.files == []
    assert "no index" in found.unusable[tmp_path / "no_index"]
    assert "1 of 2 files" in found.unusable[tmp_path / "one_short"]


def test_a_file_without_a_transformer_is_refused_as_one(encoders, tmp_path):
    parts = {
        "transformer": "vae.safetensors",
        "vae": "vae.safetensors",
        "text_encoder": "umt5.safetensors",
    }
    chosen = [(part, str(encoders / file)) for part, file in parts.items()]
    with pytest.raises(WrongModel, match="holds no Wan transformer, but a vae"):
        compose("x", chosen, tmp_path)


def test_pair_of_a_public_name_is_one_model(comfy, encoders, tmp_path):
    (high,) = (comfy / "models" / "diffusion_models").glob("*high*")
    for name in ("A14B_HIGH_fp8", "A14B-LOW_fp8"):
        shutil.copy(high, encoders / f"Wan2_2-T2V-{name}.safetensors")
    (pair,) = candidates(scan([encoders]))
    assert (pair.name, pair.missing, pair.boundary) == ("Wan2_2-T2V-A14B_fp8", (), 0.875)
    assert {"transformer", "transformer_2"} < set(pair.components)


@pytest.fixture
def copies(encoders, wide):
    """``copies(name, ...)`` writes one transformer under each name, in the type it says."""
    state = renamed(wide.state_dict(), official_transformer_name)

    def write(*names):
        for name in names:
            path = encoders / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".gguf":
                write_gguf(path, state, path.stem[path.stem.index("Q") :][:4])
            else:
                save(path, {n: t.half() for n, t in state.items()})
        return candidates(scan([encoders]))

    return write


def pairs_of(made) -> dict[str, list[str]]:
    """Name -> the files of both experts, "" for one that is missing."""
    parts = ("transformer", "transformer_2")
    return {c.name: [Path(c.components.get(p, "")).name for p in parts] for c in made}


Q2, Q5, F16 = (
    "T2V-HighNoise-Q2_K.gguf",
    "T2V-LowNoise-Q5_K_S.gguf",
    "T2V_low_noise_fp16.safetensors",
)


def test_experts_of_two_precisions_are_a_pair(copies, tmp_path):
    (pair,) = copies(f"HighNoise/{Q2}", f"LowNoise/{Q5}")
    assert pairs_of([pair]) == {"T2V (Q2_K high, Q5_K low)": [Q2, Q5]}
    assert (pair.missing, pair.boundary) == ((), 0.875)
    folder = write_candidate(pair, tmp_path / "made")
    assert describe(str(folder)).precision == "Q2_K, Q5_K"
    bundle = open_model(folder, "cpu")
    assert [e.part.files[0].name for e in bundle.experts] == [Q2, Q5]


def test_one_pair_of_two_precisions_stands_beside_those_of_one(copies):
    high = F16.replace("low", "high")
    assert pairs_of(copies(Q2, high, F16)) == {
        "T2V (Q2_K high, fp16 low)": [Q2, F16],
        "T2V_fp16": [high, F16],
    }
    more = pairs_of(copies(Q5, "T2V-LowNoise-Q3_K_S.gguf"))
    assert more == {
        "T2V (Q2_K high, Q5_K low)": [Q2, Q5],
        "T2V_fp16": [high, F16],
        "T2V-Q3_K_S": ["", "T2V-LowNoise-Q3_K_S.gguf"],
    }


@pytest.mark.parametrize(
    "low",
    [
        "T2V-Lightning-LowNoise-Q5_K_S.gguf",
        "Fun-T2V-LowNoise-Q5_K_S.gguf",
        "lightx2v/T2V-LowNoise-Q5_K_S.gguf",
    ],
)
def test_experts_of_two_models_are_no_pair(copies, low):
    made = copies(Q2, low)
    assert sorted(pairs_of(made).values()) == [["", Path(low).name], [Q2, ""]]


def test_experts_of_two_kinds_are_no_pair(copies, encoders):
    state = load_file(GOLDEN / "wan22_i2v_tiny_official_keys.safetensors")
    save(encoders / Q5.replace(".gguf", ".safetensors"), state)
    assert {len(c.components.keys() & {"transformer", "transformer_2"}) for c in copies(Q2)} == {1}


def test_name_of_each_lone_expert_is_judged_once(monkeypatch):
    """Of merges there may be hundreds, and each is held against each."""
    judged = []
    for name in ("stem_of", "is_distilled"):
        real = getattr(pairs, name)
        monkeypatch.setattr(pairs, name, lambda text, real=real: judged.append(text) or real(text))
    experts = [
        Identity(path, "transformer", "t2v", width=5120, expert=expert)
        for number in range(30)
        for expert in ("high", "low")
        for path in [Path(f"/judged/{number}/merge{number}{expert}_{expert}_noise.safetensors")]
    ]
    made = pairs.pair_experts(experts)
    assert len(made) == len(experts)
    assert len(judged) <= 4 * len(experts)  # two stems; the names of the file and its folder


def test_vace_modules_of_a_pair_are_of_one_name(folders, tmp_path):
    state = renamed(component(folders["vace"] / "transformer"), official_transformer_name)
    module = {n: t for n, t in state.items() if n.startswith("vace_")}
    base = {n: t for n, t in state.items() if not n.startswith("vace_")}
    for expert in ("HIGH", "LOW"):
        save(tmp_path / "m" / f"T2V-{expert}_fp8.safetensors", base)
        save(tmp_path / "m" / f"Fun_{expert}_fp8.safetensors", module)
    save(tmp_path / "m" / "VACE_2_1_fp8.safetensors", module)
    save(tmp_path / "m" / "Another_LOW_fp8.safetensors", module)
    made = [c.components for c in candidates(scan([tmp_path / "m"])) if c.kind == "vace"]
    assert [[Path(c[part][1]).name for part in ("transformer", "transformer_2")] for c in made] == [
        ["Fun_HIGH_fp8.safetensors", "Fun_LOW_fp8.safetensors"]
    ]


def test_models_of_another_architecture_are_not_runnable(folders, encoders, tmp_path):
    state = renamed(component(folders["t2v"] / "transformer"), official_transformer_name)
    animate = state | {
        "face_adapter.fuser_blocks.0.q.weight": torch.zeros(8, 8),
        "blocks.0.audio_cross_attn.k.weight": torch.zeros(8, 8),
    }
    save(encoders / "animate.safetensors", animate)
    control = state | {"patch_embedding.weight": torch.zeros(64, 52, 1, 2, 2)}
    for expert in ("high", "low"):
        save(encoders / f"control_{expert}_noise.safetensors", control)
    save(encoders / "lone.safetensors", control)
    made = {c.name: c for c in candidates(scan([encoders]))}
    assert set(made) == {"animate", "control", "lone"}
    (lack,) = made["animate"].missing
    assert "support for blocks.audio_cross_attn, face_adapter" in lack
    (lack,) = made["control"].missing
    assert "'control' models" in lack
    for name in ("animate", "lone"):
        folder = write_candidate(made[name], tmp_path / "made")
        assert describe(str(folder)).missing == made[name].missing


def test_a_file_in_the_place_of_the_folder_for_models_ends_in_a_sentence(
    folders, encoders, tmp_path, capsys
):
    (tmp_path / "file").write_text("mine")
    words = ["compose", "mine", "--to", str(tmp_path / "file" / "deeper")]
    parts = {"transformer": folders["t2v"] / "transformer", "vae": encoders / "vae.safetensors",
             "text_encoder": encoders / "umt5.safetensors"}  # fmt: skip
    words += [word for part, path in parts.items() for word in ("--part", f"{part}={path}")]
    code = models.main(words)
    said = json.loads(capsys.readouterr().err.splitlines()[-1])["error"]
    assert (code, said["code"]) == (2, "BadRequest"), said
    assert str(tmp_path / "file") in said["message"]
    assert (tmp_path / "file").read_text() == "mine"


def test_official_clip_under_open_clips_names_is_taken(clip_files, tmp_path):
    models = shutil.copytree(clip_files, tmp_path / "m")
    comfy = models / "clip_vision" / "clip_vision_h.safetensors"
    state = {n.removeprefix("vision_model."): t for n, t in load_file(comfy).items()}
    path = comfy.with_name("open-clip-xlm-roberta-large-vit-huge-14_visual_fp16.safetensors")
    halves = {name: tensor.half() for name, tensor in open_clip(state).items()}
    save(path, renamed(halves, str, "visual.") | {"log_scale": torch.zeros(())})
    found = identify(path)
    assert [(f.role, f.width, f.precision) for f in found] == [("image_encoder", 160, "fp16")]
    both = candidates(scan([models]))[0]
    assert both.components["image_encoder"] == str(comfy)
    comfy.unlink()
    alone = candidates(scan([models]))[0]
    assert (alone.missing, alone.components["image_encoder"]) == ((), str(path))
    folder = write_candidate(alone, tmp_path / "made")
    assert describe(str(folder)).missing == ()
    encoder = open_model(folder, "cpu").image_encoder
    layer = encoder.state_dict()["encoder.layers.0.self_attn.k_proj.weight"]
    assert torch.equal(layer, state["encoder.layers.0.self_attn.k_proj.weight"].half().float())


def test_every_part_that_can_lack_can_be_fetched(comfy, clip_files, tmp_path):
    """What the lists say is missing is what a part of the catalogue fills."""
    fills = {entry.fills for entry in part_catalogue().values()}
    unet = tmp_path / "unet"
    shutil.copytree(comfy / "models" / "unet", unet)
    shutil.copytree(clip_files / "diffusion_models", unet / "i2v")
    lacks = {lack for c in candidates(scan([unet])) for lack in c.missing}
    assert lacks == fills - {TOKENIZER, "the VAE with 48 latent channels"}


def test_tokenizer_that_lies_apart_is_found_and_given_to_a_model(folders, encoders, tmp_path):
    state = renamed(component(folders["t2v"] / "transformer"), official_transformer_name)
    save(encoders / "wan.safetensors", state)
    text = component(folders["t2v"] / "text_encoder")
    save(encoders / "umt5.safetensors", text)
    (bare,) = candidates(scan([encoders]))
    assert bare.missing == (TOKENIZER,)
    made = write_candidate(bare, tmp_path / "made")
    assert describe(str(made)).missing == (TOKENIZER,)
    pieces = encoders / "google" / "umt5-xxl" / "spiece.model"
    pieces.parent.mkdir(parents=True)
    pieces.write_bytes(b"pieces")
    (whole,) = candidates(scan([encoders]))
    assert (whole.missing, whole.components["tokenizer"]) == ((), str(pieces))
    add_part(made, "tokenizer", pieces)
    assert describe(str(made)).missing == ()


def test_shards_at_the_root_of_the_cache_are_named_by_their_repository(tmp_path):
    cached = tmp_path / "models--Wan-AI--Wan2.1-T2V-14B" / "snapshots" / ("0" * 40)
    assert name_of(cached) == "Wan2.1-T2V-14B"
    assert name_of(cached / "model.safetensors") == "Wan2.1-T2V-14B"


def test_cached_folder_that_is_not_in_the_catalogue_has_its_repositorys_name(folders):
    cached = hugging_face_cache() / "models--FastVideo--FastWan2.1-T2V" / "snapshots" / ("0" * 40)
    shutil.copytree(folders["t2v"], cached)
    assert describe(str(cached)).name == "FastWan2.1-T2V"


def test_models_of_one_name_are_told_apart(copies, encoders):
    def names():
        made = candidates(scan([encoders]))
        return {c.name: c.components["transformer"] for c in made}

    (encoders / "a").mkdir()
    copies("a/wan-14b.safetensors")
    assert list(names()) == ["wan-14b"]
    shutil.copytree(encoders / "a", encoders / "b")
    assert names() == {
        f"wan-14b ({place})": str(encoders / place / "wan-14b.safetensors") for place in "ab"
    }
    shutil.rmtree(encoders / "b")
    state = load_file(encoders / "a" / "wan-14b.safetensors")
    write_gguf(encoders / "a" / "wan-14b.gguf", state, "Q4_K")
    assert names() == {
        f"wan-14b ({ending})": str(encoders / "a" / f"wan-14b.{ending}")
        for ending in ("gguf", "safetensors")
    }
    shown = [m.name for m in look([encoders]).models if m.components]
    assert shown == list(names())


def test_checkpoint_takes_its_own_parts_and_other_models_take_them_last(folders, encoders):
    transformer = renamed(component(folders["t2v"] / "transformer"), official_transformer_name)
    parts = {
        "model.diffusion_model.": transformer,
        "first_stage_model.": load_file(encoders / "vae.safetensors"),
        "cond_stage_model.umt5xxl.transformer.": component(folders["t2v"] / "text_encoder"),
    }
    state = {prefix + n: t for prefix, part in parts.items() for n, t in part.items()}
    state["cond_stage_model.umt5xxl.spiece_model"] = torch.zeros(8, dtype=torch.uint8)
    whole = save(encoders / "wan_umt5_aio.safetensors", state)
    alone = save(encoders / "x.safetensors", transformer)
    made = {c.components["transformer"]: c.components for c in candidates(scan([encoders]))}
    own = dict.fromkeys(("transformer", "vae", "text_encoder"), str(whole))
    assert made[str(whole)] == own
    assert made[str(alone)] == {
        "transformer": str(alone),
        "vae": str(encoders / "vae.safetensors"),
        "text_encoder": str(encoders / "umt5.safetensors"),
    }
    (encoders / "vae.safetensors").unlink()
    made = {c.components["transformer"]: c.components for c in candidates(scan([encoders]))}
    assert made[str(alone)]["vae"] == str(whole)
