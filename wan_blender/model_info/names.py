# SPDX-License-Identifier: GPL-3.0-or-later
"""What only the names of files tell: which of two experts one is, of which model, and whether it
was made for few steps."""

from __future__ import annotations

import re
from pathlib import Path

MODEL_FILES = (".safetensors", ".gguf")
# "high_noise", "A14B_HIGH_fp8", "-HN-", "i2vHighV20"; not "high_quality", "HighRes", "low-rank64".
_OF_SOMETHING_ELSE = (
    r"(?![\W_]*(?i:quality|res|poly|vram|mem|rank|detail|angle|light|lit|key|heel|kick|shot|fps"
    r"|contrast|speed|motion|fashion|tide|cut|rise))"
)
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
# Names that every model's or LoRA's file has; its folder's name says more.
_PLAIN = {
    "adapter", "default", "diffusion", "high", "lora", "low", "model", "noise", "of", "pytorch",
    "safetensors", "snapshots", "transformer", "weights",
}  # fmt: skip
# In a name with "_" for "-": methods of step distillation, and what is made with them. Short words
# count only apart: "dmd" is in "admdesign" too.
_METHOD = re.compile(
    r"lightx2v|distill|causvid|accvid|fastwan|fusioni?x|self_?forcing|turbowan"
    r"|turbo_?diffusion|rapid\w*aio|(?<![a-z])(dmd2?|rcm)(?![a-z])"
)
# Words that effects and styles are called by too: "force lightning", "911 turbo", "8 step dance".
_WORDS = (r"lightning", r"(?<![a-z])turbo(?![a-z])", r"(?<!\d)[48]_?steps?(?![a-z])")
_NEGATED = re.compile(
    r"((?<![A-Za-z])(?i:un|non?|not|de|without)|(?<=[a-z])(No|Non|Not|Without))[-_]?"
    r"(?i:distill|lightning|turbo|lightx2v)[a-z]*"
)
# What the name of a release is made of besides; any other word says what a LoRA shows.
_OF_RELEASES = {
    "adaptive", "aio", "alpha", "animate", "attn", "base", "bf", "camera", "cfg", "comfy",
    "comfyui", "control", "diffusers", "dim", "dyno", "enhanced", "extracted", "final", "fixed",
    "flf", "fn", "for", "fp", "from", "full", "fun", "gguf", "high", "hn", "inp", "inpaint",
    "int", "kijai", "kj", "lightning", "ln", "lora", "loras", "low", "mega", "merged", "model",
    "noise", "nvfp", "of", "official", "phantom", "rank", "resized", "safetensors", "scaled",
    "seko", "skyreels", "step", "steps", "ti", "transformer", "turbo", "vace", "wan", "xl",
    "xs", "xxs",
}  # fmt: skip


def expert_of(path: Path) -> str:
    """ "high", "low" or "". Two experts of a pair have the same tensors; only names tell them
    apart."""
    found = [*_EXPERT.finditer(f"/{path.parent.name}/{path.name}/")]
    sure = [match for match in found if match.lastgroup in ("word", "short")]
    if not found:
        return ""
    last = (sure or found)[-1]  # what a LoRA shows stands before what it is for
    return _EXPERTS[last[last.lastgroup or 0].lower()]


def is_distilled(file: str) -> bool:
    """Whether a LoRA's or a model's name says that it was made for few steps."""
    name = _NEGATED.sub("", telling_name(file).rpartition("--")[2])  # of the cache: no author
    plain = name.lower().replace("-", "_")
    if _METHOD.search(plain):
        return True
    found = sum(bool(re.search(word, plain)) for word in _WORDS)
    words = re.findall(r"[A-Z]?[a-z]{2,}|[A-Z]{2,}(?![a-z])", name)
    return found > 1 or (found == 1 and {word.lower() for word in words} <= _OF_RELEASES)


def is_of_lightx2v(file: str) -> bool:
    """Whether it is one of lightx2v's step-distilled files, by name."""
    return bool(re.search(r"lightx2v|lightning|seko", telling_name(file).lower()))


def telling_name(file: str) -> str:
    """The name of a file, or of the nearest folder around it, that not every model has: "" for
    nothing but such names."""
    for name in reversed(Path(file).parts):
        words = set(re.findall(r"[a-z]+", name.lower()))
        if not words <= _PLAIN and not re.fullmatch(r"[0-9a-f]{40}", name):  # a commit
            return name
    return ""


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
