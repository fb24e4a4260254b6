# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m wan_blender.engine.models list|scan|identify|describe|price|fetch|compose

Results are JSON on stdout, progress goes to stderr as JSON lines. ``price`` and ``fetch`` are the
only commands that use the network; Blender starts them after a click, when online access is
allowed. Ctrl-C or SIGTERM stops at once; what has arrived is kept.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...core.answers.typed import to_json
from ...core.errors import Cancelled, WanError, from_os_error
from ...core.transfer import Transfer
from ...model_info.listing import Fetched, FoundModel, Listing, Offer
from ..models.find.catalogue import Entry, catalogue, find_entry, lora_catalogue, part_catalogue
from ..models.find.compose import add_part, candidates, compose, write_candidate
from ..models.find.download import (
    fetch,
    fetch_absent,
    find_at_hand,
    free_bytes,
    lora_places,
    model_places,
    needed_bytes,
    part_places,
)
from ..models.find.identify import identify
from ..models.find.scan import scan
from ..models.find.shelf import describe, look


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="wan_blender.engine.models", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the models, LoRAs and parts that can be fetched")
    looked = commands.add_parser("scan", help="what is in folders and the Hugging Face cache")
    looked.add_argument("folders", type=Path, nargs="*")
    named = commands.add_parser("identify", help="what a file is, by its tensors")
    named.add_argument("file", type=Path)
    described = commands.add_parser("describe", help="what a model folder can do and lacks")
    described.add_argument("folder")
    fetched = commands.add_parser("fetch", help="download a model, LoRA or part of the catalogue")
    fetched.add_argument("key")
    fetched.add_argument("--to", type=Path, required=True, help="folder for models")
    fetched.add_argument("--into", type=Path, help="model folder that lacks this part")
    priced = commands.add_parser("price", help="how much a download is, and its licence")
    priced.add_argument("key")
    priced.add_argument("--to", type=Path, required=True, help="folder for models")
    for command in (fetched, priced):
        command.add_argument(
            "--look", type=Path, action="append", default=[], metavar="FOLDER",
            help="a folder, besides ComfyUI's and the Hugging Face cache, that may hold files of "
            "it already; repeat for each",
        )  # fmt: skip
    composed = commands.add_parser("compose", help="make a model folder of files that were found")
    composed.add_argument("name")
    composed.add_argument("folders", type=Path, nargs="*")
    composed.add_argument(
        "--part", action="append", default=[], metavar="PART=FILE",
        help="assemble these files instead of what is found in folders; repeat for each",
    )  # fmt: skip
    composed.add_argument("--to", type=Path, required=True, help="folder for models")
    options = parser.parse_args(arguments)
    try:
        json.dump(to_json(_COMMANDS[options.command](options)), sys.stdout, indent=2)
        print()
        return 0
    except WanError as error:
        failed = error
    except OSError as error:
        failed = from_os_error(error, _DOING[options.command], "Name another folder.")
    print(json.dumps({"error": failed.to_dict()}), file=sys.stderr, flush=True)
    return failed.exit_code


def _list(options: argparse.Namespace) -> Any:
    return {
        "models": list(catalogue().values()),
        "loras": list(lora_catalogue().values()),
        "parts": list(part_catalogue().values()),
    }


def _scan(options: argparse.Namespace) -> Listing:
    stop = _stop_on_signals()

    def watch(doing: str) -> None:
        if stop.is_set():
            raise Cancelled
        print(json.dumps({"looking": doing}), file=sys.stderr, flush=True)

    return look(options.folders, watch)


def _identify(options: argparse.Namespace) -> Any:
    return [to_json(found) | {"title": found.title} for found in identify(options.file)]


def _describe(options: argparse.Namespace) -> FoundModel:
    return describe(options.folder)


def _fetch(options: argparse.Namespace) -> Fetched:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _cancel)  # also while a server is waited for

    def tell(transfer: Transfer) -> None:
        print(json.dumps(asdict(transfer)), file=sys.stderr, flush=True)

    folders = [options.to, *options.look]
    if options.key in lora_catalogue():
        places = lora_places(lora_catalogue()[options.key], options.to)
        places = fetch_absent(places, folders, tell)
        return Fetched(lora=str(next(iter(places.values()))))
    if options.key in part_catalogue():
        places = part_places(part_catalogue()[options.key], options.to)
        places = fetch_absent(places, folders, tell)
        ((file, place),) = places.items()
        if options.into:
            add_part(options.into, file.part, place)
        return Fetched(part=str(place))
    return Fetched(str(fetch(find_entry(options.key), options.to, tell, folders)))


def _price(options: argparse.Namespace) -> Offer:
    if lora := lora_catalogue().get(options.key):
        entry, places = lora, lora_places(lora, options.to)
    elif part := part_catalogue().get(options.key):
        entry, places = part, part_places(part, options.to)
    else:
        entry = find_entry(options.key)
        places = model_places(entry, options.to)
    folders = [options.to, *options.look]
    whole = isinstance(entry, Entry) and entry.repository
    found = {} if whole else find_at_hand(places, folders)
    at_hand = {file: paths[0] for file, paths in found.items()}
    return Offer(
        key=entry.key,
        title=entry.title,
        licence=entry.licence,
        total=sum(file.size for file in places),
        needed=needed_bytes(places | at_hand),
        found=tuple(str(path) for path in at_hand.values()),
        free=free_bytes(places),
        to=str(options.to),
    )


def _cancel(*_: object) -> None:
    raise Cancelled


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _compose(options: argparse.Namespace) -> Any:
    if options.part:
        chosen = [part.partition("=")[::2] for part in options.part]
        return describe(str(compose(options.name, chosen, options.to)))
    made = {c.name: c for c in candidates(scan(options.folders))}
    if options.name not in made:
        raise WanError(f"No {options.name!r} was found.", f"Found: {', '.join(made) or 'nothing'}.")
    if made[options.name].missing:
        raise WanError(
            f"{options.name} cannot run yet: it lacks {'; '.join(made[options.name].missing)}."
        )
    candidate = made[options.name]
    return {"model": write_candidate(candidate, options.to), "notes": candidate.notes}


_DOING = {
    "list": "listing models",
    "scan": "looking for models",
    "identify": "reading the file",
    "describe": "reading the model",
    "price": "looking at the folder for models",
    "fetch": "writing to the folder for models",
    "compose": "writing to the folder for models",
}
_COMMANDS = {
    "list": _list,
    "scan": _scan,
    "identify": _identify,
    "describe": _describe,
    "price": _price,
    "fetch": _fetch,
    "compose": _compose,
}

if __name__ == "__main__":
    sys.exit(main())
