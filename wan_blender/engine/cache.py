# SPDX-License-Identifier: GPL-3.0-or-later
"""Tensors that are dear to compute and small to keep: prompt embeddings, source latents.

Files are named by the content that made them and by this version, so a hit is always right and a
stale entry cannot exist. The oldest are dropped when the folder grows past its limit, which the
host sets, or the variable WAN_BLENDER_CACHE_GB; 0 keeps nothing. Files of other users are passed
over: what they hold is not known to be what their names say.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file

from .. import __version__
from ..core.files import open_file

LIMIT_GB = 2.0  # of 2**30 bytes
ABANDONED_S = 86400.0  # after which a file that is half written is nobody's
_chosen_gb: float | None = None


def cache_folder() -> Path:
    """WAN_BLENDER_CACHE, or the platform's usual place for caches; by hand, as that of the data."""
    if chosen := os.environ.get("WAN_BLENDER_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "wan_blender" / "tensors"


def set_limit(gigabytes: float) -> None:
    """What the folder may hold from now on, in this process; the rest is dropped at once."""
    global _chosen_gb
    _chosen_gb = gigabytes
    with contextlib.suppress(OSError):
        _drop_oldest(cache_folder())


def limit_bytes() -> float:
    """What was set, else WAN_BLENDER_CACHE_GB, or LIMIT_GB where that is not a number."""
    if _chosen_gb is not None:
        return _chosen_gb * 2**30
    try:
        chosen = float(os.environ.get("WAN_BLENDER_CACHE_GB", LIMIT_GB))
    except ValueError:
        chosen = LIMIT_GB
    return (chosen if 0 <= chosen < math.inf else LIMIT_GB) * 2**30


def cached(compute: Callable[[], torch.Tensor], *key: object) -> torch.Tensor:
    """The tensor for ``key``, computed once. A cache that cannot be written is not an error."""
    name = hashlib.sha256("\0".join(map(str, (__version__, *key))).encode()).hexdigest()
    path = cache_folder() / f"{name}.safetensors"
    if (tensor := _read(path)) is not None:
        return tensor
    tensor = compute().cpu().contiguous()
    if not limit_bytes():
        return tensor
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{uuid.uuid4().hex}.part")
        save_file({"tensor": tensor}, part)
        os.replace(part, path)
        _drop_oldest(path.parent)
    except (OSError, SafetensorError):
        pass
    return tensor


def _read(path: Path) -> torch.Tensor | None:
    """None for what is not there, damaged, not finite, or another user's."""
    if not limit_bytes():
        return None
    try:
        with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
            if hasattr(os, "getuid") and os.fstat(file.fileno()).st_uid != os.getuid():
                return None
            tensor = load(file.read())["tensor"]
        os.utime(path)
    except (OSError, SafetensorError, KeyError):
        return None
    return tensor if bool(torch.isfinite(tensor).all()) else None


def _drop_oldest(folder: Path) -> None:
    """A file that cannot be removed, or that another process has removed, is left to it."""
    found = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            state = path.stat()
            if path.suffix == ".safetensors":
                found.append((state.st_mtime_ns, state.st_size, path))
            elif path.suffix == ".part" and time.time() - state.st_mtime > ABANDONED_S:
                path.unlink()
    total, limit = 0, limit_bytes()
    for _, size, path in sorted(found, reverse=True):
        total += size
        if total > limit:
            with contextlib.suppress(OSError):
                path.unlink()
