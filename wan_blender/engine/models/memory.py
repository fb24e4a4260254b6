# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run is made to fit: what the machine has free, what the run will take, and the gentlest
set of measures that brings the one under the other.

What the run will take is computed in run_sizes.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import psutil
import torch

from ...core.errors import OutOfMemory

_GB = 1e9
_MARGIN_GB = 0.6  # CUDA context, allocator slack, the desktop's own share

REMEDY = (
    "Use a smaller picture, fewer frames, a smaller model, or a GGUF version of it; close other "
    "programs that use the GPU."
)


@dataclass(frozen=True)
class Machine:
    """Free memory, measured. On the CPU ``device_gb`` is the RAM's."""

    device: str  # "cuda", "mps" or "cpu"
    device_gb: float
    ram_gb: float
    name: str = ""  # as people call it


@dataclass(frozen=True)
class Sizes:
    """What the run takes, in GB: parts of the model, and activations of one model call."""

    transformer: float  # the larger expert, with LoRAs
    blocks: int
    text_encoder: float
    vae: float
    call: float  # activations of one call for one of the two guidance branches
    encode: float
    decode: float
    tiled_decode: float
    quantised: float  # the transformer with its matrices in fp8
    work: float = 0.0  # the transformer's largest packed matrix, unpacked for its product
    quantised_work: float = 0.0  # the same with all matrices of its blocks in fp8
    slab: float = 0.0  # keys and values kept between steps by passes over rows
    base: float = 0.0  # held through all phases: latents, conditions, on the CPU work areas


@dataclass(frozen=True)
class MemoryPlan:
    """``rung`` counts measures taken; ``step_down`` takes the next."""

    rung: int
    guided: bool  # the run has guidance, and the device gains from one call for both branches
    batch_guidance: bool  # both branches in one call: weights are read once
    tiled_decode: bool
    quantise: bool  # matrices to fp8 while loading
    resident_blocks: int  # of the transformer; the others stay in RAM and are streamed
    predicted_gb: float
    free_gb: float
    text_on_cpu: bool = False  # the text encoder runs on the processor, from RAM
    vae_on_cpu: bool = False
    wants_slab: bool = False  # the run would compute part of the tokens at most steps
    keeps_slab: bool = False  # and there is room for what that keeps

    @property
    def fits(self) -> bool:
        return self.predicted_gb <= self.free_gb

    @property
    def measures(self) -> list[str]:
        """What is done to fit, in words."""
        return [
            text
            for text, on in (
                ("all tokens at every step", self.wants_slab and not self.keeps_slab),
                ("guidance in two calls", self.guided and not self.batch_guidance),
                ("tiled decode", self.tiled_decode),
                ("fp8 weights", self.quantise),
                (f"{self.resident_blocks} blocks resident", self.resident_blocks >= 0),
                ("text encoder on the processor", self.text_on_cpu),
                ("VAE on the processor", self.vae_on_cpu),
            )
            if on
        ]

    @property
    def words(self) -> str:
        how = f" with {', '.join(self.measures)}" if self.measures else ""
        return f"{self.predicted_gb:.1f} of {self.free_gb:.1f} GB{how}"


def measure_machine(device: torch.device) -> Machine:
    """Free memory now. A GPU's other users (Blender among them) are already taken off."""
    ram = psutil.virtual_memory().available / _GB
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        return Machine("cuda", torch.cuda.mem_get_info(device)[0] / _GB, ram, name)
    if device.type == "mps":
        used = torch.mps.driver_allocated_memory()
        free = min(ram, (torch.mps.recommended_max_memory() - used) / _GB)
        return Machine("mps", free, ram, "the Apple GPU")
    return Machine("cpu", ram, ram, "the processor")


def free_gb(device: str) -> float:
    """What a run may take of ``device`` ("cpu", "cuda:0", "mps") now."""
    machine = measure_machine(torch.device(device))
    return machine.device_gb - (_MARGIN_GB if machine.device != "cpu" else 0.0)


def name_device(device: torch.device) -> str:
    """One name for each: "cuda" is the first card."""
    return f"cuda:{device.index or 0}" if device.type == "cuda" else device.type


def plan_memory(machine: Machine, sizes: Sizes, guidance: bool = True) -> MemoryPlan:
    """The first rung that fits; the last one when none does (its ``fits`` is False).

    The CPU computes one branch after the other: it gains nothing from both at once.
    """
    at_once = guidance and machine.device != "cpu"
    free = max(0.0, machine.device_gb - (_MARGIN_GB if machine.device != "cpu" else 0.0))
    kept = {"wants_slab": sizes.slab > 0, "keeps_slab": sizes.slab > 0}
    start = MemoryPlan(0, at_once, at_once, False, False, -1, 0.0, free, **kept)
    plan = replace(start, predicted_gb=predict(start, sizes))
    while not plan.fits:
        lower = step_down(plan, sizes, machine)
        if lower is None:
            break
        plan = lower
    return plan


def predict(plan: MemoryPlan, sizes: Sizes) -> float:
    """Peak on the device in GB. Phases follow each other, so the largest one counts."""
    return max(predict_phases(plan, sizes).values())


def predict_phases(plan: MemoryPlan, sizes: Sizes) -> dict[str, float]:
    """Peak on the device in GB of each phase that holds a part of the model."""
    held = sizes.quantised if plan.quantise else sizes.transformer
    if plan.resident_blocks >= 0:
        # one block at work and one on its way, besides those that stay
        held *= min(1.0, (plan.resident_blocks + 2) / sizes.blocks)
    work = sizes.quantised_work if plan.quantise else sizes.work
    pixels = sizes.tiled_decode if plan.tiled_decode else sizes.decode
    taken = {
        "text": 0.0 if plan.text_on_cpu else sizes.text_encoder,
        "encoding": 0.0 if plan.vae_on_cpu else sizes.vae + sizes.encode,
        "denoising": held
        + work
        + sizes.call * (2 if plan.batch_guidance else 1)
        + (sizes.slab if plan.keeps_slab else 0.0),
        "decoding": 0.0 if plan.vae_on_cpu else sizes.vae + pixels,
    }
    return {phase: sizes.base + gb for phase, gb in taken.items()}


def predict_ram(plan: MemoryPlan, sizes: Sizes) -> dict[str, float]:
    """Of each phase, GB of RAM for parts that a run on a GPU does not have there."""
    vae = sizes.vae if plan.vae_on_cpu else 0.0
    return {
        "text": sizes.text_encoder if plan.text_on_cpu else 0.0,
        "encoding": vae + (sizes.encode if plan.vae_on_cpu else 0.0),
        "denoising": sizes.transformer if plan.resident_blocks >= 0 else 0.0,
        "decoding": vae + (sizes.decode if plan.vae_on_cpu else 0.0),
    }


def step_down(
    plan: MemoryPlan, sizes: Sizes, machine: Machine, phase: str = ""
) -> MemoryPlan | None:
    """The next measure that lowers the peak of ``phase``, or of the run; cheapest in time first.
    None when all are taken."""
    gpu = machine.device == "cuda"

    def peak(of: MemoryPlan) -> float:
        return predict_phases(of, sizes)[phase] if phase else predict(of, sizes)

    options = [
        replace(plan, keeps_slab=False) if plan.keeps_slab else None,
        replace(plan, batch_guidance=False) if plan.batch_guidance else None,
        replace(plan, tiled_decode=True) if not plan.tiled_decode else None,
        replace(plan, quantise=True)
        if not plan.quantise
        and machine.device != "mps"
        and sizes.quantised < 0.9 * sizes.transformer
        else None,
        replace(plan, text_on_cpu=True) if gpu and machine.ram_gb > sizes.text_encoder else None,
        *_fewer_blocks(plan, sizes, machine),
        replace(plan, vae_on_cpu=True) if gpu else None,
    ]
    for option in options:
        if option is not None and peak(option) < peak(plan):
            return replace(option, rung=plan.rung + 1, predicted_gb=predict(option, sizes))
    return None


def refuse(plan: MemoryPlan) -> OutOfMemory:
    """What to say when not even the last rung fits, or when it did not as it should have."""
    if plan.fits:
        message = (
            f"The run should have taken {plan.words}, and took more than there is; no measure is "
            "left."
        )
    else:
        message = f"The run needs {plan.predicted_gb:.1f} GB and {plan.free_gb:.1f} GB are free."
    return OutOfMemory(message, REMEDY)


def _fewer_blocks(plan: MemoryPlan, sizes: Sizes, machine: Machine) -> list[MemoryPlan | None]:
    """Halve the resident blocks, as long as RAM can hold what leaves the device."""
    if machine.device != "cuda" or machine.ram_gb < sizes.transformer:
        return [None]
    now = sizes.blocks if plan.resident_blocks < 0 else plan.resident_blocks
    return [replace(plan, resident_blocks=now // 2)] if now > 0 else [None]
