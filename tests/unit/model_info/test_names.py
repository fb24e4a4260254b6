# SPDX-License-Identifier: GPL-3.0-or-later
"""What a file's name says of its model."""

from __future__ import annotations

from pathlib import Path

import pytest

from wan_blender.model_info.names import expert_of, model_of, stem_of


@pytest.mark.parametrize(
    ("high", "low"),
    [
        ("Wan2_2-T2V-A14B_HIGH_fp8_e4m3fn_scaled_KJ", "Wan2_2-T2V-A14B-LOW_fp8_e4m3fn_scaled_KJ"),
        ("wan2.2_i2v_high_noise_14B_fp16", "wan2.2_i2v_low_noise_14B_fp16"),
        ("HighNoise/Wan2.2-T2V-A14B-HighNoise-Q4_K_M", "LowNoise/Wan2.2-T2V-A14B-LowNoise-Q4_K_M"),
        ("wan22RemixT2VI2V_i2vHighV20", "wan22RemixT2VI2V_i2vLowV20"),
        ("smoothMixWan2214BI2V_i2vHigh", "smoothMixWan2214BI2V_i2vLow"),
        ("wan22-i2v-HN-Q8_0", "wan22-i2v-LN-Q8_0"),
    ],
)
def test_names_of_two_experts_are_the_same_but_for_one_word(tmp_path, high, low):
    for name, expert in ((high, "high"), (low, "low")):
        assert expert_of(tmp_path / "models" / f"{name}.safetensors") == expert
    assert stem_of(high) == stem_of(low)


@pytest.mark.parametrize(
    "name",
    [
        "wan_high_quality", "Highlights", "flow_v2", "low_vram_wan", "wan21HighQuality_v1",
        "skyreelsV2HighRes", "FastLowRank", "wan-low-rank64", "low_angle_shot", "wan_low_light",
        "dance_high_kick",
    ],
)  # fmt: skip
def test_other_words_name_no_expert(tmp_path, name):
    assert expert_of(tmp_path / f"{name}.safetensors") == ""


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Wan2.2-T2V-A14B-HighNoise-Q2_K", "wan2.2_t2v_low_noise_14B_fp16", True),
        ("Wan2_2-T2V-A14B_HIGH_fp8_e4m3fn_scaled_KJ", "Wan2.2-T2V-A14B-LowNoise-IQ4_XS", True),
        ("wan22-i2v-HN-Q8_0", "Wan2.2_I2V_LN_bf16", True),
        ("wan2.2_t2v_high_noise_14B_fp16", "wan2.2_i2v_low_noise_14B_fp16", False),
        ("wan2.2_t2v_high_noise_14B_Q4_K_M", "wan2.2_t2v_lightning_low_noise_14B_fp16", False),
        ("wan2.2_fun_inpaint_high_noise_14B_fp8", "wan2.2_i2v_low_noise_14B_fp8", False),
        ("wan22Remix_i2vHighV20_Q4_0", "wan22Remix_i2vLowV21_fp16", False),
    ],
)
def test_a_model_has_one_word_in_every_precision(one, other, same):
    words = [model_of(Path("models") / f"{name}.gguf") for name in (one, other)]
    assert (words[0] == words[1]) == same
    assert all(words)


@pytest.mark.parametrize("place", ["high_noise.gguf", "high_noise_fp16.safetensors"])
def test_a_name_without_a_model_tells_none(place):
    assert model_of(Path("/models/unet") / place) == ""
