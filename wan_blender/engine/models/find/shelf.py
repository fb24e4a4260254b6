# SPDX-License-Identifier: GPL-3.0-or-later
"""What each model on this machine can do and what it lacks, for the choice in Blender. No torch:
a model is described from its JSON files and the headers of its weights."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .... import __version__
from ....core.errors import WanError
from ....model_info.folder import BUNDLED
from ....model_info.listing import (
    CatalogueLora,
    CatalogueModel,
    CataloguePart,
    FoundModel,
    Listing,
)
from ....model_info.traits import KINDS, read_traits
from ... import nano
from ..files.dialects import foreign, piece
from ..files.gguf_files import read_infos
from ..files.tensor_files import TensorInfo, refuse_packed
from ..layout import (
    CLIP,
    complete,
    find_folder,
    locate,
    place_of,
    places,
    read_settings,
    tensor_names,
)
from .catalogue import Entry, catalogue, lora_catalogue, part_catalogue
from .comfyui import comfyui_folders
from .compose import TOKENIZER, Candidate, candidates, unsupported
from .identify import precision
from .scan import Scan, scan

_SAME = 0.12  # parameters of one model in different files differ by less


def look(places_: Iterable[Path], watch: Callable[[str], None] = lambda _: None) -> Listing:
    """Everything in ``places_``, the Hugging Face cache and ComfyUI's folders, besides the bundled
    models. ``watch`` gets what is being read and may raise Cancelled."""
    named = [Path(place).expanduser() for place in places_]
    found = scan([*named, *comfyui_folders(named)], watch)
    shown = [describe("" if key == nano.DEFAULT else BUNDLED + key) for key in nano.VARIANTS]
    for folder in found.folders:
        watch(str(folder))
        shown.append(describe(str(folder)))
    shown += _unassembled(found, shown)
    return Listing(
        version=__version__,
        models=tuple(shown),
        files=tuple(found.files),
        catalogue=tuple(
            CatalogueModel(one.key, one.title, one.licence, one.tasks)
            for one in catalogue().values()
        ),
        loras=tuple(CatalogueLora(lora.key, lora.title) for lora in lora_catalogue().values()),
        parts=tuple(
            CataloguePart(part.key, part.title, part.fills) for part in part_catalogue().values()
        ),
        tokenizers=tuple(str(path) for path in found.tokenizers),
        unusable={str(path): why for path, why in found.unusable.items()},
    )


def describe(path: str) -> FoundModel:
    """The model in a folder, or "" and "nano/..." for a bundled one. What is wrong with it is in
    ``missing``; nothing is raised."""
    folder, name = find_folder(path)
    try:
        return _describe(path, folder, name)
    except WanError as error:
        return FoundModel(path, name, missing=(str(error),))
    except Exception as error:  # noqa: BLE001  one malformed folder must not hide the others
        what = f"{type(error).__name__}: {error}"
        return FoundModel(path, name, missing=(f"{folder} is malformed: {what}.",))


def _describe(path: str, folder: Path, name: str) -> FoundModel:
    """Raises WanError for a folder without the files that say what is where."""
    index, settings = read_settings(folder)
    boundary = settings.get("boundary", index.get("boundary_ratio"))
    where = places(folder, settings, boundary)
    missing, files, configs, count = [], {}, {}, 0
    stored: dict[str, None] = {}  # precisions of the transformers
    others: dict[str, None] = {}  # modules that no Wan has
    tokenizer = place_of(folder, settings, "tokenizer")
    for part, place in where.items():
        try:
            files[part], infos, configs[part] = _read_part(part, place)
        except (WanError, OSError) as error:
            missing.append(str(error))
            continue
        if part.startswith("transformer"):
            count += sum(math.prod(info.shape) for info in infos.values())
            stored[precision(infos)] = None
            others |= dict.fromkeys(foreign(infos))
        carries = any(name.endswith("spiece_model") for name in infos)
        if part == "text_encoder" and not carries and not tokenizer.exists():
            missing.append(TOKENIZER)
    shown = FoundModel(
        path,
        name,
        parameters_b=round(count / 1e9, 3),
        precision=", ".join(stored),
        boundary=boundary,
        parts={part: tuple(str(file) for file in paths) for part, paths in files.items()},
        missing=tuple(missing),
        defaults=_own_defaults(settings),
    )
    if "transformer" not in configs or "vae" not in configs:
        return shown
    try:
        traits = read_traits(configs["transformer"], configs["vae"], boundary, settings)
    except WanError as error:
        return replace(shown, missing=(*shown.missing, str(error)))
    lacks = [CLIP] if traits.needs_clip and "image_encoder" not in where else []
    lacks += unsupported(traits.kind, others)
    shown = replace(shown, missing=(*shown.missing, *lacks))
    heads = configs["transformer"].get("num_attention_heads", 0)
    width = heads * configs["transformer"].get("attention_head_dim", 0)
    return _known(replace(shown, kind=traits.kind, width=width, traits=traits), str(folder))


def _read_part(
    part: str, place: Path | list[Path]
) -> tuple[list[Path], Mapping[str, TensorInfo], dict[str, Any]]:
    """Files, tensors and configuration of a part. Raises WanError when it is not whole."""
    files, known = locate(place)
    headers = {file: read_infos(file) for file in files}
    raw = {name: info for infos in headers.values() for name, info in infos.items()}
    refuse_packed(raw)
    names = tensor_names(part.removesuffix("_2"), headers)
    infos = {name: piece(name, inside, raw[inside]) for name, inside in names.items()}
    return files, infos, complete(part, known, infos)


def _known(shown: FoundModel, folder: str) -> FoundModel:
    """With what the catalogue says of such a model; a folder's own settings win."""
    entry = match(shown, folder)
    if entry is None:
        return replace(shown, tasks=KINDS[shown.kind].tasks)
    named = entry.key in folder or entry.repository.rpartition("/")[2] in folder
    return replace(
        shown,
        name=entry.title if entry.repository and named else shown.name,
        tasks=entry.tasks,
        sizes=entry.sizes,
        defaults=shown.defaults or entry_defaults(entry),
        catalogue_key=entry.key,
        loras=entry.loras,
    )


def match(shown: FoundModel, folder: str = "") -> Entry | None:
    """The catalogue's entry for a model: of its kind, with as many parameters, one expert or two.
    Where several have the same tensors (I2V for 480p and 720p) the folder's name decides."""
    same = [
        entry
        for entry in catalogue().values()
        if entry.kind == shown.kind
        and (entry.boundary is None) == (shown.boundary is None)
        and abs(entry.parameters_b - shown.parameters_b) < _SAME * entry.parameters_b
    ]
    words = set(re.findall(r"[a-z0-9]+", folder.lower()))

    def likeness(entry: Entry) -> int:
        name = f"{entry.key} {entry.repository}".lower()
        return len(words & set(re.findall(r"[a-z0-9]+", name)))

    return max(same, key=likeness, default=None)


def entry_defaults(entry: Entry) -> dict[str, Any]:
    """Settings a model was released with, by dotted name."""
    defaults: dict[str, Any] = {
        "sampling.steps": entry.steps,
        "sampling.shift": entry.shift,
        "sampling.guidance": entry.guidance,
    }
    if entry.boundary is None or entry.guidance_low in (None, entry.guidance):
        return defaults | {"stages": []}
    high = {"name": "high noise", "expert": "high", "end": entry.boundary}
    low = {"name": "low noise", "expert": "low", "guidance": entry.guidance_low}
    return defaults | {"stages": [high, low]}


def _own_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a folder's wan_blender.json recommends."""
    own = {f"sampling.{k}": settings[k] for k in ("steps", "shift", "guidance") if k in settings}
    return own | {"stages": []} if own else {}


def _unassembled(found: Scan, shown: list[FoundModel]) -> list[FoundModel]:
    """Models that single files would make up and that no folder holds yet."""
    made = {(m.parts.get("transformer", ()), m.parts.get("transformer_2", ())) for m in shown}
    return [
        _candidate(candidate, found)
        for candidate in candidates(found)
        if (_files(candidate, "transformer"), _files(candidate, "transformer_2")) not in made
    ]


def _files(candidate: Candidate, part: str) -> tuple[str, ...]:
    entry = candidate.components.get(part, ())
    return (entry,) if isinstance(entry, str) else tuple(entry)


def _candidate(candidate: Candidate, found: Scan) -> FoundModel:
    used = [*_files(candidate, "transformer"), *_files(candidate, "transformer_2")]
    ours = [file for file in found.files if file.role in ("transformer", "vace")]
    files = [file for name in used for file in ours if str(file.path) == name]
    shown = FoundModel(
        "",
        candidate.name,
        candidate.kind,
        parameters_b=round(sum(file.parameters_b for file in files), 3),
        precision=", ".join(dict.fromkeys(file.precision for file in files)),
        boundary=candidate.boundary,
        components={part: _files(candidate, part) for part in candidate.components},
        missing=candidate.missing,
        notes=candidate.notes,
    )
    return replace(_known(shown, candidate.name), name=candidate.name)
