# SPDX-License-Identifier: GPL-3.0-or-later
"""Tensors that are dear to compute and small to keep: prompt embeddings, source latents.

Files are named by the content that made them, so a hit is always right and a stale entry cannot
exist. The oldest are dropped when the folder grows past its limit.
"""

from __future__ import annotations

import hashlib
import os
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

LIMIT_BYTES = 2 * 1024**3


def cache_folder() -> Path:
    """WAN_BLENDER_CACHE, or the platform's usual place for caches."""
    if chosen := os.environ.get("WAN_BLENDER_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "wan_blender" / "tensors"


def cached(compute: Callable[[], torch.Tensor], *key: object) -> torch.Tensor:
    """The tensor for ``key``, computed once. A cache that cannot be written is no error."""
    name = hashlib.sha256("\0".join(map(str, key)).encode()).hexdigest()
    path = cache_folder() / f"{name}.safetensors"
    try:
        tensor = load_file(path)["tensor"]
        os.utime(path)
    except (OSError, SafetensorError, KeyError):
        tensor = None
    if tensor is not None and bool(torch.isfinite(tensor).all()):
        return tensor
    tensor = compute().cpu().contiguous()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{uuid.uuid4().hex}.part")
        save_file({"tensor": tensor}, part)
        os.replace(part, path)
        _drop_oldest(path.parent)
    except (OSError, SafetensorError):
        pass
    return tensor


def _drop_oldest(folder: Path) -> None:
    files = sorted(folder.glob("*.safetensors"), key=lambda p: p.stat().st_mtime, reverse=True)
    total = 0
    for path in files:
        total += path.stat().st_size
        if total > LIMIT_BYTES:
            path.unlink(missing_ok=True)
