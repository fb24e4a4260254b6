# SPDX-License-Identifier: GPL-3.0-or-later
"""Look for Wan models on this machine: in the folders the user names, and in the Hugging Face
cache. Files are known by their tensors; folders and files that several ways lead to count once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from ....core.errors import WanError
from ....model_info.folder import DESCRIPTION, read_object
from ....model_info.listing import Identity
from ....model_info.names import MODEL_FILES, telling_name
from ..files.tensor_files import PICKLES, refuse_pickle, whole
from .identify import identify
from .walk import Walk

_MODEL_BYTES = 100_000_000  # the smallest part, the VAE, has 250 million
_PIECES = "spiece.model"  # of a tokenizer
_DESCRIBED = {"model_index.json", DESCRIPTION}  # one of them makes a folder a model


@dataclass(frozen=True)
class Scan:
    """What was found: model folders that open as they are, single files (the folder of one in
    shards), files and folders that cannot be used with the reason, and tokenizers of UMT5."""

    folders: list[Path]
    files: list[Identity]
    unusable: dict[Path, str]
    tokenizers: list[Path]


def hugging_face_cache() -> Path:
    """Where Hugging Face keeps downloads."""
    return Path(constants.HF_HUB_CACHE)


def scan(places: Iterable[Path], watch: Callable[[str], None] = lambda _doing: None) -> Scan:
    """Look through ``places`` and the Hugging Face cache. ``watch`` gets each folder's name and
    may raise Cancelled."""
    found = Scan([], [], {}, [])
    named = [Path(os.path.abspath(Path(place).expanduser())) for place in places]
    cache = hugging_face_cache()
    walk = Walk(found.unusable, _is_described)
    for top in (*named, *([cache] if cache.is_dir() else [])):
        for folder, inside in walk.folders(top):
            watch(str(folder))
            names = {path.name for path in inside}
            if names & _DESCRIBED:
                if DESCRIPTION in names or _is_wan(folder):
                    found.folders.append(folder)
                    if "tokenizer" in names:
                        found.tokenizers.append(folder / "tokenizer")
                continue
            if _PIECES in names and "umt5" in telling_name(str(folder)).lower():
                found.tokenizers.append(folder / _PIECES)
            # the shards of a model are one file, its folder
            for path in dict.fromkeys(map(whole, inside)):
                try:
                    if path == folder or (_is_model(path) and walk.is_new(path)):
                        found.files.extend(part for part in identify(path) if part.role)
                except WanError as error:
                    found.unusable[path] = str(error)
                except Exception as error:  # noqa: BLE001  one file must not hide the others
                    what = f"{type(error).__name__}: {error}"
                    found.unusable[path] = f"{path} cannot be read: {what}."
    return found


def _is_described(inside: list[Path]) -> bool:
    """Whether it is what a model folder of diffusers holds, whose inside is its own business."""
    return any(path.name == "model_index.json" for path in inside)


def _is_wan(folder: Path) -> bool:
    """Whether the model_index.json in ``folder`` is a Wan's, of diffusers' pipelines or another's
    with its transformer. One that cannot be read may be: its description says why."""
    try:
        index = read_object(folder / "model_index.json")
    except WanError:
        return True
    transformer = index.get("transformer")
    names = [index.get("_class_name"), *(transformer if isinstance(transformer, list) else ())]
    return any(str(name).startswith("Wan") for name in names)


def _is_model(path: Path) -> bool:
    """Raises UnsafeWeights for a pickle as large as a model."""
    kind = path.suffix.lower()
    if kind in PICKLES and path.is_file() and path.stat().st_size >= _MODEL_BYTES:
        refuse_pickle(path)
    return kind in MODEL_FILES and path.is_file()
