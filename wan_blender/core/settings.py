# SPDX-License-Identifier: GPL-3.0-or-later
"""What decides the pixels of one run: job.json as dataclasses.

A setting is declared once. Its place in job.json, its check, its Blender property
(``scene.wan.GROUP.NAME``) and its command line name (``--set GROUP.NAME=VALUE``) follow from it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from . import schema
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
        True, "The plate has the strip's modifiers in it; else they are put on the meta strip"
    )
    notes: list[str] = schema.many(
        str, "What is to be known of the plate and of where the result goes"
    )
    alpha: str = schema.choice(
        "fill",
        "What the patch does where the plate is transparent",
        {
            "fill": "It is opaque wherever it lies",
            "keep": "It is as transparent as the plate",
            "replace": "Its frames are whole, with the plate's alpha, and are shown instead of it",
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
        str, "Prompts for parts of equal length of a long shot, in order; replaces text"
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
        1.0, "1 generates anew, less starts from the noised source and stays closer to it", 0.01, 1
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
        "What noise is shown on what is kept, beside what is generated",
        {
            "replacement": "The run's own",
            "coherent": "What the model takes to be noise there, so that structures run on more "
            "evenly into the mask; one model call more for each step in its range",
        },
    )
    seam_start: float = schema.number(
        0.0, "Part of the steps after which the coherent noise begins", 0, 1
    )
    seam_end: float = schema.number(
        1.0, "Part of the steps after which the coherent noise ends", 0, 1
    )
    compute: str = schema.choice(
        "dense",
        "How much of the shot each step computes; what is kept is exact with all of them",
        {
            "dense": "All of it, at every step",
            "balanced": "What is generated and a ring around it; all of it every few steps. Takes "
            "memory for what is kept between",
            "fast": "The same with fewer full steps, and every other step between them repeats "
            "the one before",
        },
    )
    reuse: float = schema.number(
        0.0,
        "Skip a step whose prediction would change less than this since the last one that was "
        "made, as a share of itself; 0 makes all of them",
        0,
        1,
    )
    sigmas: list[float] = schema.many(
        float,
        "Explicit noise levels, falling from at most 1 to 0; replaces schedule, steps and strength",
        0,
        1,
    )

    def coherent_steps(self, steps: int) -> range:
        """Of a run of so many ``steps``, those before which noise is made coherent."""
        if self.seam != "coherent":
            return range(0)
        return range(round(self.seam_start * steps), round(self.seam_end * steps))


@dataclass
class Hygiene:
    """How fine detail of the start frame is kept from holding the motion; docs/hygiene.md."""

    mode: str = schema.choice(
        "off",
        "What the model sees of the start frame",
        {
            "off": "The start frame as it is",
            "soft": "Lightly blurred where the blur map says so",
            "scheduled": "Low-passed while motion is decided, the frame itself afterwards",
            "both": "Low-passed first, lightly blurred afterwards",
        },
    )
    strength: float = schema.number(1.0, "Factor on the radii of the blur map", 0, 2)
    matte: str = schema.text(
        "", "Matte to blur lightly inside of, frame by frame, besides what is painted", "matte"
    )
    matte_blur_px: float = schema.number(1.0, "Blur where that matte is white", 0, 2.5, "px")
    keep_edges: bool = schema.flag(False, "Spare the outlines of large things from the blur")
    start: float = schema.number(0.0, "Part of the steps after which the low-pass begins", 0, 1)
    end: float = schema.number(0.2, "Part of the steps after which the low-pass ends", 0, 1)
    factor: float = schema.number(
        0.4, "Size the low-passed frame is reduced to; less is a stronger low-pass", 0.05, 1
    )
    low_pass_region: str = schema.choice(
        "whole",
        "What is low-passed of the pictures that the model sees",
        {
            "whole": "All of each picture",
            "map": "Only what the blur map and its matte cover; in end frame and references the "
            "regions that are found by measure",
        },
    )
    deliver_original: bool = schema.flag(
        True, "The first frame of the result is the untouched start frame"
    )

    @property
    def softens(self) -> bool:
        return self.mode in ("soft", "both")

    @property
    def low_passes(self) -> bool:
        return self.mode in ("scheduled", "both")

    @property
    def uses_map(self) -> bool:
        """Whether the blur map decides about anything."""
        return self.softens or (self.low_passes and self.low_pass_region == "map")

    @property
    def needs_map(self) -> bool:
        """Whether nothing is done to the shot's frames without one."""
        return self.mode == "soft" or (self.low_passes and self.low_pass_region == "map")


@dataclass
class Windows:
    """Long shots are sampled in overlapping windows whose predictions are blended."""

    frames: int = schema.integer(
        0, "Longest stretch the model sees at once; 0 is what it was trained on", 0, 10000, "frames"
    )
    overlap: int = schema.integer(
        24, "Frames that neighbouring windows share, half a window at most", 0, 1000, "frames"
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
            "off": "The model makes all of the mask",
            "first": "Taken from them; the model makes what no frame shows",
            "only": "Taken from them; what no frame shows stays as it is, and no model is needed",
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
        "Map what the model had decided when the high-noise expert let go",
        {
            "off": "Nothing is noted",
            "free": "From the calls that the run makes anyway",
            "probe": "Also asks the model twice more at the hand-over, which tells more",
        },
    )
    attention: bool = schema.flag(
        False, "Measure at a few steps what attention is spent on: own frame, other frames, prompt"
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

    name: str = schema.text("", "Name in the log: exploration, decision, refinement")
    model: str = schema.text("", "Model folder; empty uses the run's model", "path")
    dtype: str = schema.choice("auto", "Precision; auto is the run's", DTYPES)
    expert: str = schema.choice(
        "auto",
        "Which transformer of a pair it uses",
        {"auto": "By noise level", "high": "The high-noise expert", "low": "The low-noise expert"},
    )
    steps: int = schema.integer(0, "Its steps; 0: those the schedule has in its range", 0, 1000)
    end: float = schema.number(
        -1.0, "Noise level where it ends; -1: where its steps end; the last one ends at 0", -1, 1
    )
    guidance: float = schema.number(-1.0, "Guidance; -1 is the run's", -1, 50)
    solver: str = schema.choice("same", "How one step is taken", {"same": "The run's", **SOLVERS})
    loras: list[LoraUse] = schema.many(LoraUse, "LoRAs of this stage, besides the run's")


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
    mask: Mask = field(default_factory=Mask)
    hygiene: Hygiene = field(default_factory=Hygiene)
    model_mask: ModelMask = field(default_factory=ModelMask)
    windows: Windows = field(default_factory=Windows)
    region: RegionSettings = field(default_factory=RegionSettings)
    output: Output = field(default_factory=Output)
    fill: Fill = field(default_factory=Fill)
    insight: Insight = field(default_factory=Insight)
    loras: list[LoraUse] = schema.many(LoraUse, "LoRAs of the whole run")
    stages: list[Stage] = schema.many(Stage, "Stages; none: one for each expert of the model")
    made_with: MadeWith = field(default_factory=MadeWith, compare=False)

    @property
    def name(self) -> str:
        """Name for the result strip: the prompt's beginning, the seed, and the hygiene mode."""
        words = re.sub(r"\s+", " ", self.prompt.text).strip() or "Wan"
        treated = "" if self.hygiene.mode == "off" else f" {self.hygiene.mode}"
        return f"{words[:40].rstrip()} [{self.sampling.seed}{treated}]"
