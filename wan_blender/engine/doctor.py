# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with this installation, and what to do. Fit to paste into a report."""

from __future__ import annotations

import importlib
import platform
import shutil
import sys
from dataclasses import dataclass

from .cache import cache_folder

PACKAGES = ("torch", "diffusers", "transformers", "safetensors", "cv2", "numpy", "psutil", "gguf")


@dataclass(frozen=True)
class Finding:
    subject: str
    says: str
    bad: bool = False
    remedy: str = ""

    @property
    def line(self) -> str:
        mark = "!!" if self.bad else "ok"
        return f"{mark}  {self.subject}: {self.says}{' ' + self.remedy if self.remedy else ''}"


def examine() -> list[Finding]:
    """Python, packages, device, memory and disk."""
    findings = [_python(), *map(_package, PACKAGES)]
    if all(not f.bad for f in findings):
        findings += [_device(), _memory()]
    return [*findings, _disk()]


def _python() -> Finding:
    version = platform.python_version()
    says = f"{version} on {platform.platform()} at {sys.executable}"
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding("Python", says, not supported, "" if supported else "Use Python 3.11 to 3.13.")


def _package(name: str) -> Finding:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        return Finding(name, f"cannot be imported ({error}).", True, "Install the engine again.")
    return Finding(name, getattr(module, "__version__", "present"))


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        return Finding("Device", f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
    if torch.backends.mps.is_available():
        return Finding("Device", "Apple GPU")
    return Finding(
        "Device", f"processor only, {torch.get_num_threads()} threads; real models need a GPU"
    )


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    return Finding(
        "Memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    )


def _disk() -> Finding:
    folder = cache_folder()
    place = next(p for p in [folder, *folder.parents] if p.exists())
    free = shutil.disk_usage(place).free / 2**30
    low = free < 2
    remedy = "Free some space, or set WAN_BLENDER_CACHE to a larger disk." if low else ""
    return Finding("Cache", f"{folder}, {free:.1f} GiB free", low, remedy)
