# SPDX-License-Identifier: GPL-3.0-or-later
"""Say which models the files on this machine make up, which can run and what the others lack.

Nothing is moved or copied: using single files together writes one small wan_blender.json that
points to them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ....core.errors import BadRequest, WrongModel
from ....core.files import write_json
from ....model_info.folder import DESCRIPTION, peek_object
from ....model_info.listing import Identity
from ....model_info.names import name_of
from ....model_info.traits import KINDS
from ..files.tensor_files import whole
from ..layout import CLIP, read_description
from .identify import identify
from .pairs import name_of_pair, pair_experts, partner
from .scan import Scan

_PARTS = (
    "transformer", "transformer_2", "vace", "vace_2", "text_encoder", "tokenizer", "vae",
    "image_encoder",
)  # fmt: skip
TOKENIZER = "the tokenizer of google/umt5-xxl"


@dataclass(frozen=True)
class Candidate:
    """A model that single files make up. Runnable when ``missing`` is empty. ``notes`` say which
    file was taken where several fit."""

    name: str
    kind: str
    components: dict[str, str | list[str]]
    boundary: float | None
    missing: tuple[str, ...]
    notes: tuple[str, ...] = ()


def candidates(found: Scan) -> list[Candidate]:
    """Models that the single files make up: every transformer, pairs of experts together, and
    VACE modules on the T2V transformers they fit."""
    by_role: dict[str, list[Identity]] = {}
    for identity in found.files:
        by_role.setdefault(identity.role, []).append(identity)
    tokenizer = next(map(str, found.tokenizers), "")
    made = []
    for high, low in pair_experts(by_role.get("transformer", [])):
        made.append(_candidate(high, low, by_role, tokenizer))
        if high and high.kind == "t2v":
            for module in by_role.get("vace", []):
                if module.width == high.width and module.expert == high.expert:
                    made.append(_with_vace(high, low, module, by_role, tokenizer))
    return _tell_apart(made)


def _tell_apart(made: list[Candidate]) -> list[Candidate]:
    """With what tells those of one name apart in brackets: their formats, their folders, or else
    where their files are."""
    names = Counter(candidate.name for candidate in made)
    told = list(made)
    for name in [name for name, count in names.items() if count > 1]:
        same = [index for index, candidate in enumerate(made) if candidate.name == name]
        files = [_transformer_files(made[index]) for index in same]
        for word in (lambda path: path.suffix[1:], lambda path: path.parent.name, str):
            words = [" + ".join(dict.fromkeys(map(word, paths))) for paths in files]
            if all(words) and len(set(words)) == len(words):
                break
        for index, says in zip(same, words, strict=True):
            told[index] = replace(made[index], name=f"{name} ({says})")
    return told


def _transformer_files(candidate: Candidate) -> list[Path]:
    """Of both experts, with their VACE modules."""
    parts = [candidate.components.get(part, []) for part in ("transformer", "transformer_2")]
    return [Path(p) for part in parts for p in ([part] if isinstance(part, str) else part)]


def _candidate(
    high: Identity | None, low: Identity | None, by_role: dict[str, list[Identity]], tokenizer: str
) -> Candidate:
    one = high or low
    checkpoints = {transformer.path for transformer in by_role["transformer"]}
    components, missing = _transformers(high, low)
    notes = []

    def take(part: str, fitting: list[Identity], word: str, words: str) -> Identity | None:
        """Its own of a checkpoint that holds every part, and no other checkpoint's where there is
        another; then the one with ``word`` in its name."""
        if not fitting:
            missing.append(words)
            return None

        def order(file: Identity) -> tuple[bool, ...]:
            named = word in file.path.name.lower()
            return file.path != one.path, file.path in checkpoints, not named

        taken = min(fitting, key=order)
        components[part] = str(taken.path)
        if len(fitting) > 1:
            notes.append(f"{words}: {taken.path.name} was taken of {len(fitting)} that fit")
        return taken

    vaes = [v for v in by_role.get("vae", []) if v.latent_channels == one.latent_channels]
    take("vae", vaes, "wan", f"the VAE with {one.latent_channels} latent channels")
    texts = [
        t for t in by_role.get("text_encoder", []) if t.kind == "umt5" and t.width == one.text_dim
    ]
    if not tokenizer and any(t.has_tokenizer for t in texts):
        texts = [t for t in texts if t.has_tokenizer]
    text = take("text_encoder", texts, "umt5", "the UMT5-XXL text encoder")
    if text and not text.has_tokenizer and tokenizer:
        components["tokenizer"] = tokenizer
    elif text and not text.has_tokenizer:
        missing.append(TOKENIZER)
    if one.image_dim:
        clips = [c for c in by_role.get("image_encoder", []) if c.width == one.image_dim]
        take("image_encoder", clips, "vision_h", CLIP)
    boundary = KINDS[one.kind].boundary if one.expert else None
    missing += unsupported(one.kind, one.foreign)
    name = name_of_pair(high, low)
    return Candidate(name, one.kind, components, boundary, tuple(missing), tuple(notes))


def unsupported(kind: str, foreign: Iterable[str]) -> list[str]:
    """In words, what this version would need to run such a transformer."""
    lacks = []
    if not KINDS[kind].condition:
        lacks.append(f"support for {kind!r} models, which this version cannot condition")
    if names := ", ".join(foreign):
        lacks.append(f"support for {names}, which no Wan of a known kind has")
    return lacks


def _transformers(
    high: Identity | None, low: Identity | None
) -> tuple[dict[str, str | list[str]], list[str]]:
    """The components they are, and in words the expert that is missing."""
    components, missing = {}, []
    if high is not None:
        components["transformer"] = str(high.path)
    else:
        missing.append(f"its high-noise expert, named like {low.path.name} with high for low")
    if low is not None:
        components["transformer_2"] = str(low.path)
    elif high.expert:
        missing.append(f"its low-noise expert, named like {high.path.name} with low for high")
    return components, missing


def _with_vace(
    high: Identity,
    low: Identity | None,
    module: Identity,
    by_role: dict[str, list[Identity]],
    tokenizer: str,
) -> Candidate:
    base = _candidate(high, low, by_role, tokenizer)
    components = dict(base.components)
    components["transformer"] = [str(high.path), str(module.path)]
    missing = list(base.missing)
    if low is not None:
        other = partner(module, [m for m in by_role["vace"] if m.expert == "low"])
        if other is None:
            missing.append("the VACE module of the low-noise expert")
        else:
            components["transformer_2"] = [str(low.path), str(other.path)]
    name = f"{base.name} + {name_of(module.path)}"
    return replace(base, name=name, kind="vace", components=components, missing=tuple(missing))


def compose(name: str, chosen: Iterable[tuple[str, str]], root: Path) -> Path:
    """A model folder of ``chosen`` (part, file): transformer, transformer_2, vace, vace_2,
    text_encoder, tokenizer, vae, image_encoder. Raises BadRequest when a part is not one of these
    or the file of a part is not given."""
    components: dict[str, str | list[str]] = {}
    for part, file in chosen:
        if part not in _PARTS:
            raise BadRequest(f"There is no part {part!r}.", f"Known: {', '.join(_PARTS)}.")
        components[part] = str(whole(Path(file)))
    for part in ("transformer", "text_encoder", "vae"):
        if part not in components:
            raise BadRequest(f"No file is chosen for the {part.replace('_', ' ')}.")
    held = identify(Path(components["transformer"]))
    model = next((part for part in held if part.role == "transformer"), None)
    if model is None:
        raise WrongModel(
            f"{components['transformer']} holds no Wan transformer"
            + "".join(f", but a {part.role}" for part in held if part.role)
            + ".",
            "Choose another file for the transformer.",
        )
    if model.image_dim and "image_encoder" not in components:
        raise BadRequest(f"No file is chosen for {CLIP}.", "Wan 2.1 image to video needs it.")
    kind = model.kind
    for module, part in (("vace", "transformer"), ("vace_2", "transformer_2")):
        if file := components.pop(module, ""):
            components[part] = [components[part], file]
            kind = "vace"
    boundary = KINDS[kind].boundary if "transformer_2" in components else None
    return write_candidate(Candidate(name, kind, components, boundary, ()), root)


def write_candidate(candidate: Candidate, root: Path) -> Path:
    """A model folder for ``candidate`` under ``root``: one wan_blender.json, no weights."""
    data: dict[str, Any] = {"components": candidate.components}
    if candidate.boundary is not None:
        data["boundary"] = candidate.boundary
    text = json.dumps(data, indent=2) + "\n"
    name = re.sub(r"[^\w.+-]+", "-", candidate.name).strip("-")
    folder = root / name
    if _holds_another(folder, data):  # other parts under the same name are another model
        folder = root / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / DESCRIPTION, data)
    return folder


def add_part(folder: Path, part: str, file: Path) -> None:
    """Tell the model in ``folder`` where a part is that it lacked."""
    data = read_description(folder)
    data["components"] = {**data.get("components", {}), part: str(file)}
    write_json(folder / DESCRIPTION, data)


def _holds_another(folder: Path, data: dict[str, Any]) -> bool:
    path = folder / DESCRIPTION
    return path.exists() and peek_object(path) != data
