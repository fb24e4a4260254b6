# SPDX-License-Identifier: GPL-3.0-or-later
"""What only the names of files tell: which of two experts one is, and of which model."""

from __future__ import annotations

import re
from pathlib import Path

MODEL_FILES = (".safetensors", ".gguf")
# "high_noise", "A14B_HIGH_fp8", "-HN-", "i2vHighV20"; not "high_quality", "HighRes", "low-rank64".
_OF_SOMETHING_ELSE = r"(?![\W_]*(?i:quality|res|poly|vram|mem|rank|detail))"
_EXPERT = re.compile(
    r"(?P<word>(?i:high|low))[\W_]*(?i:noise)"
    r"|(?<=[\W_])(?P<apart>(?i:high|low))(?=[\W_])"
    + _OF_SOMETHING_ELSE
    + r"|(?<=[A-Za-z0-9])(?P<camel>High|Low)(?![a-z])"
    + _OF_SOMETHING_ELSE
    + r"|(?<=[\W_])(?P<short>HN|LN)(?=[\W_])"
)
_EXPERTS = {"high": "high", "low": "low", "hn": "high", "ln": "low"}
# "Q2_K", "Q5_K_S", "fp16", "fp8_e4m3fn_scaled_KJ"
_PRECISION = re.compile(
    r"(^|[\W_]+)(i?q\d[\W_](\d|nl|xxs|xs|[sm]|k([\W_](xs|xl|[sml]))?)|(fp|bf|f)(8|16|32)"
    r"|e\dm\d(fn)?|scaled|kj)(?![^\W_])",
    re.I,
)
_GENERIC = ("model", "diffusion_pytorch_model", "transformer", "diffusion_model", "")  # no names
_SHELVES = ("diffusion_models", "unet", "checkpoints", "models")  # folders of many models


def expert_of(path: Path) -> str:
    """ "high", "low" or "". Two experts of a pair have the same tensors; only names tell them
    apart."""
    found = _EXPERT.search(f"/{path.parent.name}/{path.name}/")
    return _EXPERTS[found[found.lastgroup].lower()] if found else ""


def without_expert(text: str) -> str:
    """``text`` with the expert left out."""
    return _EXPERT.sub("_", f"/{text}/")[1:-1]


def without_precision(text: str) -> str:
    """``text`` with the words for its number format left out."""
    return _PRECISION.sub("", text).strip("_-. ")


def stem_of(text: str) -> str:
    """A path or name as it is the same for both of a pair, however they are punctuated."""
    return re.sub(r"[\W_]+", "_", without_expert(text)).lower()


def name_of(path: Path) -> str:
    """What a transformer's file or folder is called without its expert; for a name that all models
    have, that of the nearest folder around it."""
    own = path.with_suffix("") if path.suffix.lower() in MODEL_FILES else path
    for place in (own, *path.parents):
        if place.parent.name == "snapshots":  # of the Hugging Face cache, named by commits
            return place.parents[1].name.rpartition("--")[2]
        name = re.sub(r"([\W_])[\W_]+", r"\1", without_expert(place.name)).strip("_-. ")
        if name.lower() not in _GENERIC:
            return name
    return own.name


def model_of(path: Path) -> str:
    """One word for a model in every precision, as several publishers write it ("Wan2.2-T2V-A14B",
    "wan2.2_t2v_14B"); "" where nothing tells it."""
    name = name_of(path)
    if name.lower() in _SHELVES:
        return ""
    word = re.sub(r"[\W_]+", "_", without_precision(name)).lower()
    return re.sub(r"(?<=_)a(?=14b)", "", re.sub(r"wan_?2_?(?=[12](_|$))", "wan2_", word))
