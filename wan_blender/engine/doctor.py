# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with this installation, and what to do. Fit to paste into a report.

Runs on any Python: nothing outside the standard library is imported before it was looked for.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from ..core.programs import find_program

PACKAGES = (
    "torch", "diffusers", "transformers", "accelerate", "safetensors", "gguf", "sentencepiece",
    "ftfy", "cv2", "numpy", "psutil",
)  # fmt: skip
AGAIN = "Install the engine again, or choose its Python in the add-on's preferences."

_NO_KERNELS = ("no kernel image", "invalid device function", "nobinaryforgpu", "code object")


@dataclass(frozen=True)
class Symptom:
    subject: str
    says: str
    bad: bool = False
    remedy: str = ""

    @property
    def line(self) -> str:
        mark = "!!" if self.bad else "ok"
        return f"{mark}  {self.subject}: {self.says}{' ' + self.remedy if self.remedy else ''}"


def examine() -> list[Symptom]:
    """Version, Python, packages, and where those can be used device, memory and disk."""
    packages = [_package(name) for name in PACKAGES]
    findings = [Symptom("wan_blender", __version__), _python(), *packages, *_damage()]
    if all(not f.bad for f in packages):
        findings += [_device(), _attention(), _memory(), _disk()]
    return findings


def _python() -> Symptom:
    version = platform.python_version()
    says = f"{version} on {platform.platform()} at {sys.executable}"
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Symptom("Python", says, not supported, "" if supported else "Use Python 3.11 to 3.13.")


def _package(name: str) -> Symptom:
    try:
        module = importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - a library that is damaged raises anything
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            return Symptom(name, "is not installed.", True, AGAIN)
        what = f"{type(error).__name__}: {error}"
        return Symptom(name, f"cannot be imported ({what}).", True, AGAIN)
    return Symptom(name, getattr(module, "__version__", "present"))


def _damage() -> list[Symptom]:
    """Files that are not there as they were installed: a full disk, a virus scanner, a hand."""
    damaged = [
        str(path)
        for distribution in _installed()
        for path in distribution.files or ()
        if path.size is not None and path.suffix != ".pyc" and _size(path) != path.size
    ]
    if not damaged:
        return []
    says = f"{len(damaged)} installed files are missing or changed, the first is {damaged[0]}."
    return [Symptom("Environment", says, True, AGAIN)]


def _installed() -> list[importlib.metadata.Distribution]:
    """The engine's packages and what they need, of all that this Python finds."""
    found = {_plain(d.metadata["Name"] or ""): d for d in importlib.metadata.distributions()}
    listed = Path(__file__).with_name("requirements.txt").read_text(encoding="utf-8")
    names, taken = [line for line in listed.splitlines() if line[:1].isalpha()], {}
    while names:
        name = _plain(names.pop())
        if name in found and name not in taken:
            taken[name] = found[name]
            names += [need for need in found[name].requires or () if "extra ==" not in need]
    return list(taken.values())


def _plain(requirement: str) -> str:
    """ "Huggingface_Hub>=1" -> "huggingface-hub"."""
    name = re.match(r"[\w.-]*", requirement)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def _size(path: importlib.metadata.PackagePath) -> int:
    try:
        return Path(path.locate()).stat().st_size
    except OSError:
        return -1


def _attention() -> Symptom:
    """What speed.attention may be here."""
    import torch

    from .models.bundle import pick_device
    from .models.switches import EXACT, usable_attentions

    faults = usable_attentions(torch.device(pick_device("auto")))
    usable = [name for name, fault in faults.items() if not fault]
    best = next((name for name in EXACT if name in usable), "native")
    return Symptom("Attention", f"{', '.join(['native', *usable])}; best is {best}")


def _device() -> Symptom:
    import torch

    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        try:
            _multiply("cuda")
            free, total = torch.cuda.mem_get_info()
        except RuntimeError as error:
            return _idle(name, str(error).partition("\n")[0], torch.__version__)
        return Symptom("Device", f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
    if torch.backends.mps.is_available():
        try:
            _multiply("mps")
        except RuntimeError as error:
            return _idle("The Apple GPU", str(error).partition("\n")[0], torch.__version__)
        return Symptom("Device", "Apple GPU")
    if card := _card():
        return _unused(card, torch.__version__, torch.version.cuda or torch.version.hip)
    return Symptom(
        "Device", f"processor only, {torch.get_num_threads()} threads; real models need a GPU"
    )


def _multiply(device: str) -> None:
    """A small product: torch names a card that it has no kernels for as readily as any other.
    Raises RuntimeError."""
    import torch

    ones = torch.ones(64, 64, device=device)
    if (total := float((ones @ ones).sum())) != 64**3:
        raise RuntimeError(f"a product of ones gave {total:g} instead of {64**3}")


def _idle(name: str, words: str, version: str) -> Symptom:
    """A card that torch finds and cannot compute on."""
    if any(told in words.lower() for told in _NO_KERNELS):
        says = f"torch {version} has no code for the {name} ({words})."
        remedy = (
            "Choose another build of torch in the preferences, CUDA 12.6 for a GeForce GTX or "
            "older, and install the engine again."
        )
        return Symptom("Device", says, True, remedy)
    remedy = "End what else uses it, or restart the machine."
    return Symptom("Device", f"{name} does not answer ({words}).", True, remedy)


def _card() -> str:
    """The card that torch has a build for, or "", as the system knows it."""
    program = find_program("nvidia-smi") or "nvidia-smi is not there"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(
            [program, "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
        return listed.stdout.strip().partition("\n")[0]
    return "An AMD card" if Path("/dev/kfd").exists() else ""


def _unused(card: str, version: str, build: str | None) -> Symptom:
    if build is None:
        says = f"{card} is there, but torch {version} is the build for the processor."
        remedy = "Choose another build of torch in the preferences and install the engine again."
    else:
        says = f"{card} is there, but torch {version} (for {build}) cannot use it."
        remedy = "Update the card's driver, or choose the build of torch that fits it."
    return Symptom("Device", says, True, remedy)


def _memory() -> Symptom:
    import psutil

    memory = psutil.virtual_memory()
    return Symptom(
        "Memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    )


def _disk() -> Symptom:
    from .cache import cache_folder

    folder = cache_folder()
    place = next(p for p in [folder, *folder.parents] if p.exists())
    free = shutil.disk_usage(place).free / 2**30
    low = free < 2
    remedy = "Free some space, or set WAN_BLENDER_CACHE to a larger disk." if low else ""
    return Symptom("Cache", f"{folder}, {free:.1f} GiB free", low, remedy)
