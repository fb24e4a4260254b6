# SPDX-License-Identifier: GPL-3.0-or-later
"""The job folder: everything that decides the pixels of one run, readable by a person.

    job.json            this module's Job, schema version first
    plate/000000.png    frames of the plate at its own size and bit depth, RGB or RGBA
    mask/000000.png     16-bit gray at plate size, white (65535) = generate
    model_mask/         the same for the model's eyes, when model_mask.shape is "own"
    start.png end.png   given first and last frame, when they are not the plate's own (any format)
    references/         pictures of what to generate, for VACE
    compare_with        name of the folder beside it with the take without hygiene; optional
    radius.png          16-bit gray blur map of the shot, white = 2.5 px; optional
    start_radius.png    the same of the start picture, where it has its own; optional
    blur_matte/         16-bit gray matte that hygiene follows; white = hygiene.matte_blur_px
    cancel              its presence stops the run within one step
    lock                held by the process that works on the job: claim.py
    state.jsonl         append-only journal: what happened, when
    log.txt             the engine's log of this job
    result/             appears whole by one rename when the run is done
        patch/          RGBA frames, alpha = composite matte
        frames/         full frames, on request
        takes.png       both takes, where there is one to compare with
        report.json

All paths inside are relative, so the folder can be moved to another machine and run there.
No bpy, no torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import schema
from .core.files import JOURNAL_BYTES, append, read_bytes, read_json, replacing, write_json
from .errors import InvalidJob, LengthMismatch, from_os_error
from .latent_grid import REDUCTIONS

SCHEMA = 1
WRITTEN = ("shot", "made_with")  # groups of a Job that export and run write; nobody sets them
PLATE, MASK, MODEL_MASK, RESULT = "plate", "mask", "model_mask", "result"
START, END, REFERENCES = "start_image", "end_image", "references"  # settings that name pictures
PICTURES = {START: "start.png", END: "end.png", REFERENCES: "references"}  # where none is named
BUNDLED = "nano/"  # how the name of a model begins that comes with the extension
FORMATS = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}
RADIUS, START_RADIUS, BLUR_MATTE = "radius.png", "start_radius.png", "blur_matte"
COMPARE_WITH = "compare_with"
REPORT_BYTES = 64 << 20  # it holds a line for each frame
JOURNAL, LOG, CANCEL = "state.jsonl", "log.txt", "cancel"
PATCH, FRAMES, REPORT, TAKES = "patch", "frames", "report.json", "takes.png"
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
    sigmas: list[float] = schema.many(
        float,
        "Explicit noise levels, falling from at most 1 to 0; replaces schedule, steps and strength",
        0,
        1,
    )


@dataclass
class Mask:
    """From the pixel mask to the latent mask; the composite matte is ``Output``'s."""

    frames: str = schema.text(
        "", 'Only these timeline frames, for instance "30-50, 80-"; empty takes all'
    )
    reduction: str = schema.choice(
        "max", "How the pixels and frames of a latent cell become one value", REDUCTIONS
    )
    grow_px: int = schema.integer(
        0,
        "Grow what the sampler generates beyond the mask, or shrink it (negative); the patch shows "
        "more than the mask only as output.matte footprint",
        -512,
        512,
        "px",
    )
    grow_before: int = schema.integer(
        0,
        "Let the sampler begin this many frames before the mask appears; the patch shows them only "
        "as output.matte footprint",
        -1000,
        1000,
        "frames",
    )
    grow_after: int = schema.integer(
        0,
        "Let the sampler go on this many frames after the mask disappears; the patch shows them "
        "only as output.matte footprint",
        -1000,
        1000,
        "frames",
    )
    token_snap: bool = schema.flag(
        False, "Give all four cells of a model token the largest value among them"
    )
    law: str = schema.choice(
        "release",
        "What soft mask values mean during sampling",
        {
            "release": "Each value joins at its own time, counted evenly over all stages",
            "static": "Blend of source and result, as ComfyUI without differential diffusion",
            "comfy": "ComfyUI's differential diffusion: hard threshold, even in sigma",
            "kijai": "WanVideoWrapper's: hard threshold, even in steps",
        },
    )
    softness: float = schema.number(
        0.25, "How gradually a soft value joins; 0 switches it at once", 0, 1
    )


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
class ModelMask:
    """What a model that was trained with masks is shown; the sampler's mask is ``Mask``."""

    shape: str = schema.choice(
        "same",
        "Shape the model sees",
        {
            "same": "The mask as it is",
            "hard": "The mask cut at one half, without soft edges",
            "box": "The box around the mask on each frame",
            "own": "Another matte, or the frames in the job folder's model_mask",
        },
    )
    matte: str = schema.text(
        "", 'Strip or mask that the model sees when the shape is "own", by name or id', "matte"
    )
    grow_px: int = schema.integer(
        0,
        "Grow or shrink (negative) that shape; the sampler's growth does not reach it",
        -512,
        512,
        "px",
    )
    grow_before: int = schema.integer(
        0,
        "Show the model this many frames before the mask appears as masked; the sampler's growth "
        "does not reach it",
        -1000,
        1000,
        "frames",
    )
    grow_after: int = schema.integer(
        0,
        "Show the model this many frames after the mask disappears as masked; the sampler's growth "
        "does not reach it",
        -1000,
        1000,
        "frames",
    )
    known: str = schema.choice(
        "model",
        "What image-to-video models are told is given",
        {
            "model": "As the model's folder says; whole frames where it says nothing",
            "frames": "Whole frames at the start (and end): models that animate an image",
            "pixels": "All unmasked pixels: inpainting models of the same layout",
        },
    )
    start_frames: int = schema.integer(
        1,
        "Unmasked frames at the start that an image-to-video model is given; 0 gives all up to the "
        "first masked one",
        0,
        1000,
        "frames",
    )
    time: str = schema.choice(
        "groups",
        "Which frames VACE is shown as masked",
        {
            "groups": "All frames of a latent group that holds a masked one, as the sampler does",
            "frames": "Each frame's own mask, as the released code does; it can miss short flashes",
        },
    )
    strength: float = schema.number(1.0, "How strongly VACE steers", 0, 2)
    strengths: list[float] = schema.many(
        float, "VACE strength of each latent frame; one number for each, replaces strength", 0, 2
    )
    start_image: str = schema.text(
        "", "Picture an image-to-video model starts from, when it is not the plate's own", "file"
    )
    end_image: str = schema.text(
        "", "Picture an image-to-video model ends with, when it is not the plate's own", "file"
    )
    references: str = schema.text(
        "", "Folder with pictures of what to generate, for VACE; or one picture", "path"
    )


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
class Region:
    """Which part of the canvas the model sees."""

    mode: str = schema.choice(
        "auto",
        "What the model sees",
        {
            "auto": "A box around the mask with some context, the same for the whole shot and at "
            "least a quarter of the model's own size",
            "whole": "The whole frame",
        },
    )
    context: float = schema.number(
        0.5, "Surroundings on each side, as a share of the mask's size", 0, 10
    )
    pixels: int = schema.integer(
        0,
        "Pixels of a frame as the model sees it; the box is scaled to about that. 0 is the model's "
        "own size, and only ever scales down",
        0,
        33_177_600,
        "px",
    )


@dataclass
class Output:
    matte: str = schema.choice(
        "mask",
        "Which pixels the patch covers",
        {
            "mask": "The mask itself, soft values included",
            "solid": "Every masked pixel fully",
            "footprint": "Every pixel of a generated latent cell, also beyond the mask",
        },
    )
    feather_px: float = schema.number(
        1.0,
        "Soft edge of the patch, inward from the mask's edge; less where the mask is thin",
        0,
        512,
        "px",
    )
    colour_match: bool = schema.flag(
        False, "Match the patch's colours to the plate in a ring around the mask"
    )
    grain_match: bool = schema.flag(False, "Give the patch the plate's own grain")
    full_frames: bool = schema.flag(False, "Also write full frames, source and patch composited")


@dataclass
class Lora:
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
    loras: list[Lora] = schema.many(Lora, "LoRAs of this stage, besides the run's")


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
    region: Region = field(default_factory=Region)
    output: Output = field(default_factory=Output)
    loras: list[Lora] = schema.many(Lora, "LoRAs of the whole run")
    stages: list[Stage] = schema.many(Stage, "Stages; none: one for each expert of the model")
    made_with: MadeWith = field(default_factory=MadeWith, compare=False)

    @property
    def name(self) -> str:
        """Name for the result strip: the prompt's beginning, the seed, and the hygiene mode."""
        words = re.sub(r"\s+", " ", self.prompt.text).strip() or "Wan"
        treated = "" if self.hygiene.mode == "off" else f" {self.hygiene.mode}"
        return f"{words[:40].rstrip()} [{self.sampling.seed}{treated}]"


def create(folder: Path, job: Job) -> Path:
    """Write a new job folder's job.json; the frames are written beside it by the exporter."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        append_state(folder, "created")
        write_json(folder / "job.json", {"schema": SCHEMA, **schema.to_dict(job)})
    except OSError as error:
        raise from_os_error(error, "creating the job folder") from error
    return folder


def note_weights(folder: Path, made_with: MadeWith) -> None:
    """Write into job.json what its first run is made with; the rest of the file stays as it is, and
    so does what an earlier run has written."""
    path = folder / "job.json"
    data = read_json(path)
    if not data.get("made_with", {}).get("fingerprint"):
        write_json(path, data | {"made_with": schema.to_dict(made_with)})


def new_folder(root: Path, strip: str) -> Path:
    """A folder name that sorts by time, says the strip and cannot collide."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", strip).strip("-")[:32] or "shot"
    return root / f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}-{uuid.uuid4().hex[:6]}"


def read(folder: Path) -> Job:
    """Read and validate job.json. Raises InvalidJob that names the field or the file."""
    path = folder / "job.json"
    try:
        data = read_json(path)
    except FileNotFoundError as error:
        raise InvalidJob(
            f"{folder} is not a job folder: it has no job.json.",
            "Give the folder of an exported shot.",
        ) from error
    except OSError as error:
        raise from_os_error(error, "reading job.json") from error
    except ValueError as error:
        raise InvalidJob(
            f"{path} is not valid JSON: {error}.", "Correct it, or export the shot again."
        ) from error
    if not isinstance(data, dict):
        raise InvalidJob(f"{path} holds {type(data).__name__}; expected an object.")
    version = data.pop("schema", None)
    if version != SCHEMA:
        raise InvalidJob(
            f"{path} has schema version {schema.show(version)}; this version reads {SCHEMA}.",
            "Export the shot again, or run the job with the version that wrote it.",
        )
    return schema.from_dict(Job, data, "job.json")


def frame_files(folder: Path, job: Job) -> tuple[list[Path], list[Path]]:
    """Plate and mask files in frame order; a one-frame mask serves every frame.

    Raises InvalidJob for missing frames, LengthMismatch with both numbers for a mask of
    another length.
    """
    plate = _numbered(folder / PLATE)
    if len(plate) != job.shot.frame_count:
        raise InvalidJob(
            f"{folder / PLATE} holds {len(plate)} frames; job.json's shot.frame_count says "
            f"{job.shot.frame_count}.",
            "Export the shot again.",
        )
    return plate, mask_files(folder / MASK, len(plate))


def mask_files(folder: Path, frames: int) -> list[Path]:
    mask = _numbered(folder)
    if len(mask) == 1:
        mask *= frames
    if len(mask) != frames:
        raise LengthMismatch(
            f"{folder} has {len(mask)} mask frames, the plate has {frames} frames.",
            "Export the shot again, or give one mask frame for all or one for each.",
        )
    return mask


def pictures(folder: Path, settings: ModelMask, name: str) -> list[Path]:
    """The files that the setting ``name`` (START, END or REFERENCES) gives, in order of their
    names; where it is empty, what ``folder`` holds in the usual place. Raises InvalidJob when a
    picture is named that is not there."""
    given = getattr(settings, name)
    path = folder / (given or PICTURES[name])
    files = [path] if path.is_file() else []
    if path.is_dir() and name == REFERENCES:
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in FORMATS)
    if given and not files:
        raise InvalidJob(
            f"model_mask.{name} is {str(path)!r}; there is no picture.",
            "Choose another file, or leave it empty.",
        )
    return files


def take_pictures(folder: Path, job: Job) -> Job:
    """Copy the pictures that ``job`` names into its folder; the job with the names of the copies.
    Raises InvalidJob for one that is not there, DiskFull."""
    taken: dict[str, str] = {}
    for name, usual in PICTURES.items():
        if not getattr(job.model_mask, name):
            continue
        taken[name] = usual
        try:
            for number, file in enumerate(pictures(Path.cwd(), job.model_mask, name)):
                place = folder / usual / f"{number:03d}{file.suffix}"
                if name != REFERENCES:
                    taken[name] = Path(usual).stem + file.suffix
                    place = folder / taken[name]
                place.parent.mkdir(exist_ok=True)
                shutil.copyfile(file, place)
        except OSError as error:
            raise from_os_error(error, "copying pictures into the job") from error
    return replace(job, model_mask=replace(job.model_mask, **taken))


def locate_pictures(folder: Path, job: Job) -> Job:
    """``job`` with the full paths of the pictures in its folder: what another job can take."""
    named = {name: getattr(job.model_mask, name) for name in PICTURES}
    found = {name: str(folder / path) for name, path in named.items() if path}
    return replace(job, model_mask=replace(job.model_mask, **found))


def frames_in(ranges: str, first: int, last: int) -> set[int] | None:
    """The timeline frames that text like "30-50, 80-" names, within ``first`` .. ``last``; None
    for empty text. Raises InvalidJob that quotes what is not understood, or when no frame of
    the shot is named."""
    if not ranges.strip():
        return None
    frames: set[int] = set()
    for part in ranges.split(","):
        low, high = _range(part.strip())
        frames.update(
            range(
                max(first if low is None else low, first),
                min(last if high is None else high, last) + 1,
            )
        )
    if not frames:
        raise InvalidJob(
            f"mask.frames {schema.show(ranges)} names no frame of the shot, which spans {first} "
            f"to {last}.",
            "Name frames of the timeline within that, or leave it empty for all.",
        )
    return frames


def _range(text: str) -> tuple[int | None, int | None]:
    """ "30-50", "80-", "-20", "7"; "-10..5" where a frame number is negative itself."""
    if re.fullmatch(r"-?\d{1,9}", text) and not text.startswith("-"):
        return int(text), int(text)
    separator = ".." if ".." in text else "-"
    low, _, high = text.partition(separator)
    if not (low or high) or not all(re.fullmatch(r"|-?\d{1,9}", side) for side in (low, high)):
        raise InvalidJob(
            f"mask.frames: {schema.show(text)} is no range of frames.",
            'Write "30-50", "80-" for all from 80 on, or "-20" for all up to 20.',
        )
    return (int(low) if low else None), (int(high) if high else None)


def _numbered(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.glob("*.png") if p.stem.isdecimal())
    for number_, path in enumerate(files):
        if int(path.stem) != number_:
            raise InvalidJob(
                f"{folder / f'{number_:06d}.png'} is missing.", "Export the shot again."
            )
    return files


def frame_name(index: int) -> str:
    return f"{index:06d}.png"


def append_state(folder: Path, event: str, **details: Any) -> None:
    """One line in the journal. The journal informs; only result/ means done."""
    line = json.dumps(
        {"time": round(time.time(), 3), "event": event, **details}, ensure_ascii=False
    )
    with append(folder / JOURNAL) as journal:
        if end := journal.seek(0, os.SEEK_END):
            journal.seek(end - 1)
            if journal.read(1) != b"\n":  # a line that was cut off stays its own
                line = "\n" + line
        journal.write(f"{line}\n".encode("utf-8", "backslashreplace"))


def read_events(folder: Path) -> list[str]:
    """What the journal says happened, oldest first. Lines that cannot be read are passed over."""
    try:
        lines = read_bytes(folder / JOURNAL, JOURNAL_BYTES).splitlines()
    except OSError:
        return []
    events = []
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            events.append(json.loads(line)["event"])
    return [event for event in events if isinstance(event, str)]


def compare_with(folder: Path, other: Path) -> None:
    """Let the run in ``folder`` end with a comparison with the take in ``other``, beside it.
    Raises DiskFull."""
    try:
        with replacing(folder / COMPARE_WITH) as file:
            file.write(other.name.encode())
    except OSError as error:
        raise from_os_error(error, "writing the job") from error


def request_cancel(folder: Path) -> None:
    append(folder / CANCEL).close()


def cancel_requested(folder: Path) -> bool:
    return (folder / CANCEL).exists()


def clear_cancel(folder: Path) -> None:
    (folder / CANCEL).unlink(missing_ok=True)


def clear(folder: Path) -> None:
    """Remove what exports and runs have left, so that the shot can be exported anew; files of
    others stay. Raises DiskFull."""
    unfinished = ("export", "result.part", "result.earlier")
    try:
        if (folder / RESULT).exists():  # by a rename: half of one would look finished
            shutil.rmtree(folder / "result.earlier", ignore_errors=True)
            os.replace(folder / RESULT, folder / "result.earlier")
        for name in (PLATE, MASK, MODEL_MASK, BLUR_MATTE, REFERENCES, *unfinished):
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
        maps = (RADIUS, START_RADIUS)
        for name in ("job.json", JOURNAL, LOG, CANCEL, *maps, COMPARE_WITH):
            (folder / name).unlink(missing_ok=True)
        for name in (START, END):
            for picture in folder.glob(f"{Path(PICTURES[name]).stem}.*"):
                picture.unlink()
    except OSError as error:
        raise from_os_error(error, "clearing the job folder") from error


def result_folder(folder: Path) -> Path | None:
    """The finished result, or None. Done is the rename that makes it appear."""
    result = folder / RESULT
    return result if (result / REPORT).is_file() else None
