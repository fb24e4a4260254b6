# SPDX-License-Identifier: GPL-3.0-or-later
"""Weight files on disk, read no further than their headers. stdlib only.

A safetensors file is an 8-byte little-endian length, a JSON header of that length, and raw
bytes; so names, types and shapes of a 28 GB file cost one small read. Everything that can be
said about a file before loading it is said here: half-downloaded, damaged, unsafe.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ....core.errors import UnsafeWeights, WeightsMissing, WrongModel
from ....core.files import open_file, read_bytes, read_json

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_HEADER_LIMIT = 100_000_000  # bytes; the format's own limit
ABSENT = "Check the path, download the model again, or choose another."
NAME_LIMIT = 512  # characters of a tensor's name; messages quote it, numbers are read from it
SCALES = (".scale_weight", ".weight_scale")  # of float8 numbers, beside "<layer>.weight"
# Types that stand for other numbers than their own, and floats this version does not know.
_PACKED = re.compile(r"[IU]\d+|F4|F6_\w+|F8_E8M0|F8_\w+FNUZ")
_SHARD = re.compile(r"-\d{5}-of-\d{5}(\.\w+)?\.safetensors$", re.I)
_NUMBERS_LIMIT = 1 << 44  # of a tensor; the largest has 2**31
_INDEX = re.compile(r"\.safetensors\.index(\.\w+)?\.json$")
_INDEX_BYTES = 1 << 24
_TOKENIZER_BYTES = 1 << 28  # of one of its files; UMT5's largest has 17 million
_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2,
    "U16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """``dtype`` is the file format's own word: "F32", "BF16", "F8_E4M3", "Q4_K". Where a file holds
    several tensors of a model as one, ``piece`` says which of them it is."""

    dtype: str
    shape: tuple[int, ...]
    file: Path
    piece: int = 0


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Names, types and shapes of a safetensors file.

    Raises WeightsMissing when the file is absent, cut short or damaged, UnsafeWeights when it
    is of a format that can run code.
    """
    refuse_pickle(path)
    try:
        size = path.stat().st_size
        with os.fdopen(open_file(path, os.O_RDONLY, links=True), "rb") as file:
            lead = file.read(8)
            length = struct.unpack("<Q", lead)[0] if len(lead) == 8 else 0
            if not 2 <= length <= _HEADER_LIMIT or 8 + length > size:
                _refuse_text(path, lead)
                raise _damaged(path, f"its header claims {length} bytes, the file has {size}")
            header = json.loads(file.read(length))
        notes = header.pop("__metadata__", None) or {}
        if not all(isinstance(note, str) for note in notes.values()):
            raise ValueError("its metadata is not text")
        infos = {name: _info(path, name, entry) for name, entry in header.items()}
        end = _end(header)
    except FileNotFoundError as error:
        raise WeightsMissing(f"{path} does not exist.", ABSENT) from error
    except OSError as error:
        raise WeightsMissing(
            f"{path} cannot be read: {error.strerror}.", "Let your user read that file."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise _damaged(
            path, f"its header is not valid ({type(error).__name__}: {error})"
        ) from error
    if size < 8 + length + end:
        raise WeightsMissing(
            f"{path} is cut short: {size} bytes of {8 + length + end}.",
            "The download did not finish; download the file again.",
        )
    if size > 8 + length + end:
        raise _damaged(path, f"it has {size} bytes, its header tells of {8 + length + end}")
    return infos


def _end(header: dict[str, dict]) -> int:
    """Where the tensors end. Raises ValueError unless each begins where the one before it ends."""
    end = 0
    for begin, next_end in sorted(tuple(entry["data_offsets"]) for entry in header.values()):
        if begin != end:
            raise ValueError(f"a tensor begins at byte {begin}, the one before it ends at {end}")
        end = next_end
    return end


def _info(path: Path, name: str, entry: dict) -> TensorInfo:
    if len(name) > NAME_LIMIT:
        raise ValueError(f"a tensor's name has {len(name)} characters")
    begin, end = entry["data_offsets"]
    dtype, shape = entry["dtype"], tuple(entry["shape"])
    if not isinstance(dtype, str):
        raise ValueError(f"{name} is of type {dtype!r}")
    if not all(isinstance(n, int) and n >= 0 for n in (begin, end, *shape)):
        raise ValueError(f"{name} has shape {shape} at {begin}..{end}")
    if math.prod(shape) > _NUMBERS_LIMIT:
        raise ValueError(f"{name} has shape {shape}")
    width = _BYTES.get(dtype)
    if width is not None and end - begin != width * math.prod(shape):
        raise ValueError(f"{name}: {end - begin} bytes for {dtype} {shape}")
    return TensorInfo(dtype, shape, path)


def without_empty(infos: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """``infos`` without tensors of no numbers, which some programs leave in files as markers."""
    return {name: info for name, info in infos.items() if 0 not in info.shape}


def _refuse_text(path: Path, lead: bytes) -> None:
    """Raise WeightsMissing for what a download leaves instead of the weights."""
    if lead == b"version ":
        raise WeightsMissing(
            f"{path} is a pointer of Git LFS, not the weights.",
            "Run `git lfs pull` in that folder, or download the file itself.",
        )
    if lead.lstrip()[:1] == b"<":
        raise WeightsMissing(
            f"{path} is a web page, not the weights.",
            "Download the file itself; the server may want you to log in or to accept a licence.",
        )


def _damaged(path: Path, why: str) -> WeightsMissing:
    return WeightsMissing(
        f"{path} is not a usable safetensors file: {why}.", "Download the file again."
    )


def refuse_packed(infos: Mapping[str, TensorInfo]) -> None:
    """Raise WrongModel for weights in a quantisation that is not unpacked: integers, 4-bit floats,
    and float8 with scales for blocks of a row."""
    for name, info in infos.items():
        if not name.endswith("weight"):
            continue
        packing = f"as {info.dtype}" if _PACKED.fullmatch(info.dtype) else ""
        for ending in SCALES if info.dtype.startswith("F8") else ():
            scale = infos.get(name.removesuffix(".weight") + ending)
            if scale and (_PACKED.fullmatch(scale.dtype) or not _is_whole(scale, info)):
                packing = f"as {info.dtype} with scales of shape {scale.shape} ({scale.dtype})"
        if packing:
            raise WrongModel(
                f"{info.file} holds {name} {packing}: a quantisation this version does not read.",
                "Use an fp16, bf16, fp8 or GGUF version of the model.",
            )


def _is_whole(scale: TensorInfo, weight: TensorInfo) -> bool:
    """Whether it scales all of the matrix, or each of its rows."""
    count = math.prod(scale.shape)
    return count == 1 or (count,) == weight.shape[:1]


def refuse_pickle(path: Path) -> None:
    """Raise UnsafeWeights for formats that can run code while they are read."""
    if path.suffix.lower() in PICKLES:
        raise UnsafeWeights(
            f"{path} is a pickle: opening it can run any program hidden in it.",
            "Use the .safetensors or .gguf version of this model.",
        )


def is_shard(path: Path) -> bool:
    """Whether a file's name says that it is one of several pieces of a model."""
    return bool(_SHARD.search(path.name))


def whole(path: Path) -> Path:
    """What ``path`` is a piece of: the folder of a shard, else itself."""
    return path.parent if is_shard(path) else path


def component_files(folder: Path) -> list[Path]:
    """The safetensors files of one model component's folder, shards in order. Where it holds a
    model and a variant of it ("model.fp16.safetensors", "model.safetensors.index.fp16.json"), they
    are the model's, as in diffusers.

    Raises WeightsMissing with the list of what is absent, UnsafeWeights when there are only
    pickles.
    """
    if not folder.is_dir():
        raise WeightsMissing(f"The folder {folder} does not exist.", ABSENT)
    inside = [path for path in sorted(folder.iterdir()) if not is_hidden(path)]
    files = [path for path in inside if path.name.endswith(".safetensors")]
    indexes = [path for path in inside if _INDEX.search(path.name)]
    indexes.sort(key=lambda path: not path.name.endswith(".index.json"))  # variants last
    single = [path for path in files if not is_shard(path)]
    plain = [path for path in single if not _is_variant(path, single)]
    if indexes and (indexes[0].name.endswith(".index.json") or not plain):
        return _sharded(indexes[0])
    if len(plain) == 1:
        return plain
    if len(files) > 1 or any(map(is_shard, files)):
        raise WeightsMissing(
            f"{folder} holds no index of its safetensors files: "
            f"{', '.join(f.name for f in files[:4])}.",
            "Keep one file, or download the missing .safetensors.index.json.",
        )
    if not files:
        for path in inside:
            refuse_pickle(path)
        raise WeightsMissing(
            f"{folder} holds no .safetensors file.",
            "The download did not finish; download the model again.",
        )
    return files


def is_hidden(path: Path) -> bool:
    """Whether its name begins with a dot: macOS leaves such files beside those of other disks."""
    return path.name.startswith(".")


def _is_variant(path: Path, beside: list[Path]) -> bool:
    """Whether it is "model.fp16.safetensors" beside "model.safetensors"."""
    stem, dot, _ = path.stem.rpartition(".")
    return bool(dot) and path.with_name(f"{stem}{path.suffix}") in beside


def _sharded(index: Path) -> list[Path]:
    try:
        names = sorted(set(read_json(index, _INDEX_BYTES, links=True)["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise WeightsMissing(
            f"{index} is not a usable index: {error!r}.", "Download that file again."
        ) from error
    for name in names:
        if not isinstance(name, str) or name != os.path.basename(name):
            raise UnsafeWeights(
                f"{index} points outside its folder: {name!r}.", "Download the model again."
            )
        refuse_pickle(Path(name))
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise WeightsMissing(
            f"{len(missing)} of {len(names)} files of {index.parent} are missing: "
            f"{', '.join(missing)}.",
            "The download did not finish; download the model again.",
        )
    return [index.parent / name for name in names]


def digest(place: Path) -> str:
    """Hex SHA-256 of a small file, or of all files in a folder with their names; of one that is
    absent it is that of nothing."""
    found = hashlib.sha256()
    for path in sorted(place.iterdir()) if place.is_dir() else [place]:
        if path.is_file() and not is_hidden(path):
            data = read_small(path)
            found.update(f"{path.name} {len(data)} ".encode())
            found.update(data)
    return found.hexdigest()


def read_small(path: Path) -> bytes:
    """A tokenizer's file. Raises WeightsMissing."""
    try:
        return read_bytes(path, _TOKENIZER_BYTES, links=True)
    except OSError as error:
        raise WeightsMissing(
            f"{path} cannot be read: {error.strerror}.", "Download it again."
        ) from error


def fingerprint(files: list[Path]) -> str:
    """Hex SHA-256 over each file's size, its first 64 KiB and 64 samples of 4 KiB.

    It tells weights apart in milliseconds where hashing 28 GB takes a minute; it is not a proof
    against tampering, which a download's full SHA-256 gives.
    """
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(struct.pack("<Q", size))
        with open(path, "rb") as file:
            digest.update(file.read(65536))
            for part in range(64):
                file.seek(size * part // 64)
                digest.update(file.read(4096))
    return digest.hexdigest()
