# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the parts of a model are and how they are configured, from its folder's JSON files and the
headers of its weights. No torch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...core.errors import UnsafeWeights, WeightsMissing, WrongModel
from ...core.files import read_bytes
from ...core.schema import show
from ...model_info.folder import BUNDLED, DESCRIPTION, read_object
from ...model_info.names import name_of
from .. import nano
from .files.config_checks import check_config
from .files.configs import infer_config
from .files.dialects import roles, translate
from .files.tensor_files import TensorInfo, component_files, refuse_pickle

_LIBRARIES = ("diffusers", "transformers", None)
_NOTE_BYTES = 1 << 16
# Of a folder's settings: the smallest and largest number, of its type.
_NUMBERS = {
    "boundary": (1e-3, 1.0), "boundary_ratio": (1e-3, 1.0), "max_sequence_length": (1, 8192),
    "native_pixels": (1, 1 << 30), "native_frames": (1, 100_000), "shift": (0.01, 100.0),
    "steps": (1, 1000), "guidance": (0.0, 50.0),
}  # fmt: skip
# How the configuration of a part begins to say what it is of.
_CLASSES = {"transformer": "Wan", "vae": "Autoencoder"}  # diffusers
_TYPES = {"text_encoder": "umt5", "image_encoder": "clip"}  # transformers
CLIP = "the CLIP image encoder (clip_vision_h.safetensors)"  # for traits.needs_clip


def find_folder(path: str | Path) -> tuple[Path, str]:
    """The folder and the name of a model; "" and "nano/i2v" are bundled ones."""
    words = str(path) or f"{BUNDLED}{nano.DEFAULT}"
    bundled = words.removeprefix(BUNDLED)
    if words.startswith(BUNDLED) and bundled in nano.VARIANTS:
        return nano.VARIANTS[bundled], f"Nano Wan {nano.TITLES[bundled]}"
    folder = Path(os.path.expanduser(path))
    return folder, name_of(folder) if _is_snapshot(folder) else folder.name


def read_settings(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """model_index.json and wan_blender.json; one of them has to be there. Raises WeightsMissing,
    UnsafeWeights, or WrongModel that names the field that is wrong."""
    if _is_file(folder):
        refuse_pickle(folder)
        raise WrongModel(
            f"{folder} is a single file; a run needs a VAE and a text encoder too.",
            "Make a model folder of it with: python -m wan_blender.engine models compose",
        )
    if not folder.is_dir():
        raise WeightsMissing(
            f"There is no model folder {folder}.",
            "Choose a model in the Wan tab, or name a folder in model.path or --model.",
        )
    settings = read_description(folder)
    described = "transformer" in settings.get("components", {})
    index = read_object(folder / "model_index.json", optional=described)
    _check_settings(index, folder / "model_index.json")
    for part, entry in index.items():
        if isinstance(entry, list) and entry and entry[0] not in _LIBRARIES:
            raise UnsafeWeights(
                f"{folder} asks to run its own code for its {part} ({entry[0]}).",
                "Use a model that consists of weights only.",
            )
    return index, settings


def read_description(folder: Path) -> dict[str, Any]:
    """Its wan_blender.json; {} where there is none. Raises WeightsMissing, WrongModel."""
    settings = read_object(folder / DESCRIPTION, optional=True)
    _check_settings(settings, folder / DESCRIPTION)
    return settings


def _is_file(path: Path) -> bool:
    """Raises WeightsMissing for a name that is too long, or in a folder that is closed to us."""
    try:
        return path.is_file()
    except OSError as error:
        raise WeightsMissing(
            f"{show(str(path))} cannot be read: {error.strerror}.",
            "Choose another path, or let your user read it.",
        ) from error


def _check_settings(settings: dict[str, Any], path: Path) -> None:
    """Raise WrongModel for a field that is not what the rest of the code takes it for."""

    def require(right: bool, name: str, value: Any, expected: str) -> None:
        if not right:
            raise WrongModel(
                f"{path}: {name} is {show(value)}; expected {expected}.",
                "Correct the file, or put the model together again.",
            )

    parts = settings.get("components", {})
    require(isinstance(parts, dict), "components", parts, "an object")
    for part, entry in parts.items():
        several = isinstance(entry, list) and entry and part != "tokenizer"
        right = all(isinstance(e, str) and "\0" not in e for e in (entry if several else [entry]))
        require(right, f"components.{part}", entry, "a file or folder")
    for name, (low, high) in _NUMBERS.items():
        value, kinds = settings.get(name), (int,) if isinstance(low, int) else (int, float)
        right = type(value) in kinds and low <= value <= high
        what = "an integer" if kinds == (int,) else "a number"
        require(value is None or right, name, value, f"{what} from {low:g} to {high:g}")


def place_of(folder: Path, settings: dict[str, Any], part: str) -> Path | list[Path]:
    """Links of files are not followed: the Hugging Face cache links to files without an ending."""
    entry = settings.get("components", {}).get(part, part)
    several = entry if isinstance(entry, list) else [entry]
    found = [folder / name for name in several]
    found = [place.parent.resolve() / place.name for place in found]  # also of "." and ""
    return found if isinstance(entry, list) else found[0]


def places(
    folder: Path, settings: dict[str, Any], boundary: float | None
) -> dict[str, Path | list[Path]]:
    """Where each part is. A part that a model may do without is left out when it is absent.
    Raises WeightsMissing or WrongModel for one half of a pair of experts."""
    names = ["transformer", "vae", "text_encoder"]
    given = settings.get("components", {})
    if boundary is not None:
        if "transformer_2" not in given and not (folder / "transformer_2").is_dir():
            raise WeightsMissing(
                f"{folder} is one half of a pair: its boundary is {boundary}, but it has no "
                "transformer_2.",
                "Download the low-noise expert too.",
            )
        names.append("transformer_2")
    elif "transformer_2" in given or (folder / "transformer_2").is_dir():
        raise WrongModel(
            f"{folder} has a transformer_2 and no boundary between the two experts.",
            'Add "boundary" to its wan_blender.json: 0.875 for text to video and VACE, 0.9 for '
            "image to video.",
        )
    if "image_encoder" in given or (folder / "image_encoder").is_dir():
        names.append("image_encoder")
    return {name: place_of(folder, settings, name) for name in names}


def commit_of(file: Path) -> str:
    """The commit of its repository that ``file`` was downloaded at, "" where nothing tells it. In
    the Hugging Face cache a folder is named by it; elsewhere a note tells it, ours or that of
    ``hf download --local-dir``, which does not count for a file changed since."""
    file = file.absolute()
    for folder in file.parents:
        if _is_snapshot(folder):
            return folder.name
        with contextlib.suppress(OSError, ValueError):
            note = note_of(folder, str(file.relative_to(folder)))
            lines = read_bytes(note, _NOTE_BYTES, links=True).decode().split("\n")
            commit, _etag, written_s = lines[:3]
            if file.stat().st_mtime - 1 <= float(written_s):
                return commit
    return ""


def _is_snapshot(folder: Path) -> bool:
    """Whether it is a repository of the Hugging Face cache, which is named by its commit."""
    repository = folder.parent.parent.name
    return folder.parent.name == "snapshots" and repository.startswith("models--")


def note_of(folder: Path, path: str) -> Path:
    """Where huggingface_hub notes how it came by ``path`` in ``folder``: a line each for commit,
    ETag (SHA-256 of a large file) and time in seconds."""
    return folder / ".cache" / "huggingface" / "download" / f"{path}.metadata"


def locate(place: Path | list[Path]) -> tuple[list[Path], dict[str, Any]]:
    """The files of a component, and the configuration beside them, if any."""
    if isinstance(place, list):
        files = place
    elif place.suffix.lower() in (".safetensors", ".gguf"):
        files = [place]
    elif _is_file(place):
        refuse_pickle(place)
        raise WeightsMissing(
            f"{place} is neither a .safetensors nor a .gguf file.",
            "Name another file in the model's wan_blender.json.",
        )
    else:
        return component_files(place), read_object(place / "config.json")
    return files, read_object(files[0].parent / "config.json", optional=True)


def tensor_names(role: str, headers: Mapping[Path, Mapping[str, TensorInfo]]) -> dict[str, str]:
    """Diffusers (or transformers) name -> name in its file, of everything that ``role`` has in
    these files: one, shards of one, or a T2V transformer and what VACE adds to it, whose names
    may begin otherwise. Raises WrongModel for a file that has none of it."""
    found = roles([name for infos in headers.values() for name in infos])
    first = next(iter(headers))
    if found and role not in found:
        raise WrongModel(
            f"{first} holds a {' and a '.join(found)}, not a {role}.",
            "Choose another file for this part of the model.",
        )
    raw: dict[str, str] = {}  # name without what all names in its file begin with -> whole name
    for path, infos in headers.items():
        own = roles(infos)
        prefix = own.get(role, own.get("vace", found.get(role, "")))
        inside = {name[len(prefix) :]: name for name in infos if name.startswith(prefix)}
        if not inside:
            raise WrongModel(
                f"{path} holds nothing of the {role} that begins in {first}.",
                "Choose another file for this part of the model.",
            )
        raw |= inside
    return {name: raw[short] for name, short in translate(role, raw).items()}


def complete(
    name: str, known: Mapping[str, Any], infos: Mapping[str, TensorInfo]
) -> dict[str, Any]:
    """``known``, checked, when it is a configuration of diffusers or transformers for this
    component, else read from shapes: a single file may lie beside another one's configuration, or
    beside the official one, which has a ``dim`` and of a transformer too a ``model_type``."""
    role = name.removesuffix("_2")
    if role in _CLASSES and "dim" not in known:
        if str(known.get("_class_name")).startswith(_CLASSES[role]):
            return _checked(known, infos)
    elif role in _TYPES and str(known.get("model_type")).startswith(_TYPES[role]):
        return _checked(known, infos)
    return infer_config(role, infos, known)


def _checked(known: Mapping[str, Any], infos: Mapping[str, TensorInfo]) -> dict[str, Any]:
    file = next((info.file for info in infos.values()), Path())
    check_config(known, file.parent / "config.json")
    return dict(known)
