# SPDX-License-Identifier: GPL-3.0-or-later
"""What decides the pixels of one run: job.json as dataclasses.

A setting is declared once. Its place in job.json, its check, its Blender property
(``scene.wan.GROUP.NAME``) and its command line name (``--set GROUP.NAME=VALUE``) follow from it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from . import schema
from .hygiene_settings import Hygiene
from .mask_settings import Mask, ModelMask, Output, RegionSettings

DTYPES = {
    "auto": "bfloat16 on a GPU, float16 on one without it, float32 on the CPU",
    "float32": "32 bit",
    "bfloat16": "16 bit, wide range",
    "float16": "16 bit",
}

SOLVERS = {
    "euler": "First order; the plain reference",
    "heun": "Second order, two model calls a step",
    "dpmpp_2m": "DPM-Solver++ 2M: second order from one call a step",
    "res_multistep": "Exponential integrator of second order",
    "unipc": "UniPC, third order predictor and corrector",
    "lcm": "Fresh noise every step, for distilled models",
    "euler_ancestral": "Euler with fresh noise: more variation, never settles",
}


@dataclass
class Shot:
    """What was exported and where its result belongs. Frame numbers are the timeline's."""

    strip: str = schema.text("", "Name of the plate strip")
    scene: str = schema.text("", "Name of the scene the strip is in")
    width: int = schema.integer(0, "Canvas width", 1, 65536, "px")
    height: int = schema.integer(0, "Canvas height", 1, 65536, "px")
    fps_num: int = schema.integer(24, "Frame rate, numerator", 1, 1_000_000)
    fps_den: int = schema.integer(1, "Frame rate, denominator", 1, 1_000_000)
    frame_start: int = schema.integer(
        1, "Timeline frame of the first plate frame", -1048574, 1048574
    )
    frame_count: int = schema.integer(0, "Frames in the plate", 1, 1048574)
    channel: int = schema.integer(1, "Channel of the plate strip", 0, 128)
    bit_depth: int = schema.integer(8, "Bits per channel of the plate frames: 8 or 16", 8, 16)
    peak: float = schema.number(
        0.0,
        "Brightest light in the plate, white is 1, where its frames and the result's are half "
        "float; 0: they are integers",
        0,
        65504,
    )
    in_place: bool = schema.flag(False, "The result takes the clip's place, in a meta strip")
    with_modifiers: bool = schema.flag(
        True, "The strip's modifiers are baked into the plate; otherwise they go on the meta strip"
    )
    notes: list[str] = schema.many(str, "Notes on the plate and on where the result goes")
    alpha: str = schema.choice(
        "fill",
        "What the patch does where the plate is transparent",
        {
            "fill": "The patch is opaque everywhere",
            "keep": "The patch is as transparent as the plate",
            "replace": "Whole frames with the plate's alpha, shown instead of the plate",
        },
    )

    @property
    def suffix(self) -> str:
        """Of the plate's files and the result's."""
        return ".exr" if self.peak else ".png"


@dataclass
class Prompt:
    text: str = schema.text("", "What to generate inside the mask", "multiline")
    negative: str = schema.text("", "What to avoid", "multiline")
    sections: list[str] = schema.many(
        str, "Prompts for equally long parts of a long shot, in order; they replace text"
    )


@dataclass
class Model:
    path: str = schema.text(
        "", "Model folder in diffusers layout; empty uses the bundled model", "path"
    )
    device: str = schema.choice(
        "auto",
        "Where the model runs",
        {
            "auto": "CUDA, ROCm or Apple GPU when there is one, else the CPU",
            "cuda": "NVIDIA or AMD GPU",
            "mps": "Apple GPU",
            "cpu": "Processor",
            "cuda:1": "The second GPU",
            "cuda:2": "The third GPU",
            "cuda:3": "The fourth GPU",
        },
    )
    dtype: str = schema.choice(
        "auto",
        "Precision of the transformer",
        DTYPES,
    )


@dataclass
class Sampling:
    seed: int = schema.integer(0, "Noise seed; the same seed gives the same result", 0, 2**31 - 1)
    steps: int = schema.integer(20, "Denoising steps", 1, 1000)
    guidance: float = schema.number(
        5.0, "Classifier-free guidance; 1 ignores the negative prompt and is twice as fast", 0, 50
    )
    shift: float = schema.number(
        5.0,
        "Timestep shift: higher spends more steps at high noise, where motion is made",
        0.01,
        100,
    )
    strength: float = schema.number(
        1.0,
        "1 generates from scratch; less starts from the noised source and stays closer to it",
        0.01,
        1,
    )
    solver: str = schema.choice(
        "euler",
        "How one step is taken",
        SOLVERS,
    )
    schedule: str = schema.choice(
        "shifted",
        "How noise levels are spread over the steps",
        {
            "shifted": "Evenly in time, then shifted: the schedule Wan was released with",
            "simple": "Samples of a 1000-entry table, equal to ComfyUI's schedule of that name",
            "beta": "Denser at both ends, equal to ComfyUI's schedule of that name",
        },
    )
    seam: str = schema.choice(
        "replacement",
        "Which noise the model sees on the parts that are kept",
        {
            "replacement": "The run's own",
            "coherent": "The noise the model itself would expect there, so that things continue "
            "more evenly into the mask; one extra model call for each step in its range",
        },
    )
    seam_start: float = schema.number(
        0.0, "Fraction of the steps at which the coherent noise begins", 0, 1
    )
    seam_end: float = schema.number(
        1.0, "Fraction of the steps at which the coherent noise ends", 0, 1
    )
    compute: str = schema.choice(
        "dense",
        "How much of the shot each step computes; kept pixels are exact either way",
        {
            "dense": "Everything, at every step",
            "balanced": "The generated part and a ring around it, and everything every few steps. "
            "Takes memory for what is kept in between",
            "fast": "The same with fewer full steps, and every other step between them repeats "
            "the previous one",
        },
    )
    reuse: float = schema.number(
        0.0,
        "Skip a step whose prediction would differ from the last computed one by less than this "
        "fraction of it; 0 computes every step",
        0,
        1,
    )
    sigmas: list[float] = schema.many(
        float,
        "Explicit noise levels, falling from at most 1 to 0; they replace schedule, steps and "
        "strength",
        0,
        1,
    )

    def coherent_steps(self, steps: int) -> range:
        """Of a run of so many ``steps``, those before which noise is made coherent."""
        if self.seam != "coherent":
            return range(0)
        return range(round(self.seam_start * steps), round(self.seam_end * steps))


ATTENTIONS = {
    "native": "The one that torch chooses",
    "best": "The fastest that is installed and computes the same but for rounding",
    "flash": "FlashAttention 2",
    "flash3": "FlashAttention 3, for Hopper cards",
    "cudnn": "cuDNN's, for recent NVIDIA cards",
    "xformers": "xFormers'",
    "sage": "SageAttention, in int8: faster, and not quite the same picture",
}


@dataclass
class Speed:
    """What is faster on some machines. Where it cannot run it stays off, and the report says why;
    pictures change by rounding, with fp8 products and sage by more."""

    attention: str = schema.choice("native", "How attention is computed", ATTENTIONS)
    compile: bool = schema.flag(
        False,
        "Compile the model's blocks for this machine; the first step of a run takes a minute "
        "longer",
    )
    fp8_products: bool = schema.flag(
        False, "Multiply in fp8 where the weights are in fp8 and the card can"
    )


@dataclass
class Windows:
    """Long shots are sampled in overlapping windows whose predictions are blended."""

    frames: int = schema.integer(
        0,
        "Longest stretch the model sees at once; 0 is the length it was trained on",
        0,
        10000,
        "frames",
    )
    overlap: int = schema.integer(
        24, "Frames that neighbouring windows share, at most half a window", 0, 1000, "frames"
    )
    anchor: bool = schema.flag(
        True, "Show each later window the latent before it, so that it starts like a first frame"
    )


@dataclass
class Fill:
    """Where the pixels inside the mask come from."""

    borrow: str = schema.choice(
        "off",
        "What other frames of the shot show behind the mask",
        {
            "off": "Nothing is borrowed; the model generates everything under the mask",
            "first": "Borrow from other frames; the model generates what no frame shows",
            "only": "Borrow from other frames, without a model; what no frame shows stays as it is",
        },
    )


@dataclass
class Insight:
    """What is measured of a run beside its frames; none of it changes a pixel. docs/attention.md"""

    settledness: bool = schema.flag(
        False, "Measure whether fine detail sticks to its surface from frame to frame"
    )
    decisions: str = schema.choice(
        "off",
        "Map what the model had decided when the high-noise expert handed over",
        {
            "off": "Do not measure",
            "free": "From the calls that the run makes anyway",
            "probe": "Also runs the model twice more at the hand-over, which tells more",
        },
    )
    attention: bool = schema.flag(
        False, "Measure what attention is spent on at a few steps: own frame, other frames, prompt"
    )


@dataclass
class LoraUse:
    file: str = schema.text("", "LoRA file, .safetensors", "file")
    weight: float = schema.number(1.0, "How strongly it is applied", -10, 10)
    expert: str = schema.choice(
        "both",
        "Which transformer of a pair it is for",
        {"both": "Both experts", "high": "The high-noise expert", "low": "The low-noise expert"},
    )


@dataclass
class Stage:
    """Part of the run with a model of its own. Stages follow each other down one schedule."""

    name: str = schema.text(
        "", "Name shown in the log, for example exploration, decision, refinement"
    )
    model: str = schema.text("", "Model folder; empty uses the run's model", "path")
    dtype: str = schema.choice("auto", "Precision; auto is the run's", DTYPES)
    expert: str = schema.choice(
        "auto",
        "Which transformer of a pair it uses",
        {"auto": "By noise level", "high": "The high-noise expert", "low": "The low-noise expert"},
    )
    steps: int = schema.integer(
        0, "Number of steps; 0 takes those the schedule has in its range", 0, 1000
    )
    end: float = schema.number(
        -1.0,
        "Noise level at which it ends; -1 is where its steps end; the last stage ends at 0",
        -1,
        1,
    )
    guidance: float = schema.number(-1.0, "Guidance; -1 is the run's", -1, 50)
    solver: str = schema.choice("same", "How one step is taken", {"same": "The run's", **SOLVERS})
    loras: list[LoraUse] = schema.many(LoraUse, "LoRAs of this stage, in addition to the run's")


@dataclass
class MadeWith:
    """Which weights the job was first run with; model.path alone is another model's elsewhere."""

    name: str = schema.text("", "Name of the model")
    revision: str = schema.text("", "Its commit, or the beginning of its fingerprint")
    fingerprint: str = schema.text("", "SHA-256 over samples of its weights; empty until a run")


@dataclass
class Job:
    shot: Shot
    prompt: Prompt = field(default_factory=Prompt)
    model: Model = field(default_factory=Model)
    sampling: Sampling = field(default_factory=Sampling)
    speed: Speed = field(default_factory=Speed)
    mask: Mask = field(default_factory=Mask)
    hygiene: Hygiene = field(default_factory=Hygiene)
    model_mask: ModelMask = field(default_factory=ModelMask)
    windows: Windows = field(default_factory=Windows)
    region: RegionSettings = field(default_factory=RegionSettings)
    output: Output = field(default_factory=Output)
    fill: Fill = field(default_factory=Fill)
    insight: Insight = field(default_factory=Insight)
    loras: list[LoraUse] = schema.many(LoraUse, "LoRAs of the whole run")
    stages: list[Stage] = schema.many(
        Stage, "Stages; without any there is one for each expert of the model"
    )
    made_with: MadeWith = field(default_factory=MadeWith, compare=False)

    @property
    def name(self) -> str:
        """Name for the result strip: the prompt's beginning, the seed, and the hygiene mode."""
        words = re.sub(r"\s+", " ", self.prompt.text).strip() or "Wan"
        treated = "" if self.hygiene.mode == "off" else f" {self.hygiene.mode}"
        return f"{words[:40].rstrip()} [{self.sampling.seed}{treated}]"
