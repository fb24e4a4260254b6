# SPDX-License-Identifier: GPL-3.0-or-later
"""The models on this machine as the engine found them, kept between sessions, and the calls to the
engine that look for more. Nothing of it is saved in a .blend.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import bpy

from .. import __version__
from ..core.answers.progress import CallProgress
from ..core.answers.typed import read, to_json
from ..core.errors import Cancelled, WanError
from ..core.files import read_json, write_json
from ..model_info.folder import find_folder, is_bundled
from ..model_info.listing import Fetched, FoundModel, Identity, Listing, Offer
from ..model_info.names import is_distilled, is_of_lightx2v, telling_name
from ..model_info.traits import KINDS, ModelSizes, Traits, read_sizes
from ..process.call import EngineCall
from ..process.task import Task
from ..timeline import compat
from . import pump
from .interface import in_a_window, push_undo
from .properties import use_model

FILE = "models.json"
T = TypeVar("T")


class Library(Task):
    """``listing`` is what was found. ``offer`` is the download that was asked about, until it is
    done. ``error`` is what went wrong last, until something else is asked.

    ``find_python`` gives the engine's Python or raises EngineMissing, ``places`` the folders to
    look in, the first of them the one that is written to.
    """

    edits_file = True  # a model that was made or opened is chosen

    def __init__(
        self, home: Path, find_python: Callable[[], Path], places: Callable[[], list[Path]]
    ) -> None:
        self.offer: Offer | None = None
        self._into = ""  # the model that lacks what is on offer
        self._file = home / FILE
        self._find_python, self._places = find_python, places
        self.listing = _read(self._file)
        self._calls: dict[str, tuple[EngineCall, type, Callable[[Any], None]]] = {}
        self._tried = False

    # -- what is there

    @property
    def known(self) -> bool:
        """Whether anything was ever looked for."""
        return bool(self.listing.version)

    def model(self, path: str) -> FoundModel | None:
        """The model that ``model.path`` means."""
        wanted = path if is_bundled(path) else str(Path(bpy.path.abspath(path)))
        models = self.listing.models
        return next((m for m in models if m.path == wanted and not m.components), None)

    def traits(self, path: str) -> Traits | None:
        """Of the model at ``path``, if it has been read."""
        model = self.model(path)
        return model.traits if model else None

    def sizes(self, path: str) -> ModelSizes:
        """In what sizes the model that ``model.path`` means works; of one that has not been read,
        what its folder says."""
        if traits := self.traits(path):
            return ModelSizes(traits.cell, traits.patch, traits.native_pixels)
        return read_sizes(find_folder(path if is_bundled(path) else bpy.path.abspath(path)))

    def files(self, *roles: str) -> list[Identity]:
        """Single weight files that play one of ``roles``."""
        return [file for file in self.listing.files if file.role in roles]

    def fast_loras(self, path: str) -> tuple[str, str]:
        """Step-distill LoRAs that fit the model at ``path``, for high and low noise; "" where none
        was found, the same for both where there is one model. A LoRA's width and name say what it
        is for; lightx2v's, made for four steps, come first."""
        model = self.model(path) or FoundModel(path, "")
        kind = KINDS.get(model.kind)
        image = kind is not None and kind.takes_image
        fitting = [
            file
            for file in self.files("lora")
            if is_distilled(str(file.path))
            and file.width == model.width
            and ("i2v" in telling_name(str(file.path)).lower()) == image
        ]

        fitting.sort(key=lambda file: not is_of_lightx2v(str(file.path)))

        def best(*experts: str) -> str:
            return next((str(f.path) for e in experts for f in fitting if f.expert == e), "")

        if model.boundary is None:
            one = best("", "low", "high")  # the low-noise expert is what came of the older models
            return one, one
        return best("high", ""), best("low", "")

    # -- what is asked of the engine

    @property
    def running(self) -> bool:
        """Whether the engine's Python is used to look for models or to fetch them."""
        return bool(self._calls)

    def progress(self, name: str) -> CallProgress | None:
        """The newest progress of a call ("scan", "compose"); None when it does not run."""
        return self._calls[name][0].progress if name in self._calls else None

    def scan(self) -> None:
        """Look for models. Raises EngineMissing."""
        self._tried = True
        own, *named = self._places()
        looked = [own, *named] if own.is_dir() else named  # the first download makes it
        self._start("scan", Listing, self._keep, "scan", *map(str, looked))

    def scan_first(self) -> None:
        """Look once where nobody has looked yet, if the engine is there."""
        if not self.known and not self._tried:
            with contextlib.suppress(WanError):  # nobody asked; Generate says what is missing
                self.scan()

    def compose(self, name: str, parts: list[tuple[str, str]]) -> None:
        """Make a model of single files (part, file), and choose it. Raises EngineMissing."""
        given = [word for part, file in parts for word in ("--part", f"{part}={file}")]
        to = str(self._places()[0])
        self._start("compose", FoundModel, self._use, "compose", name, "--to", to, *given)

    def describe(self, path: Path) -> None:
        """Look at one folder, wherever it is, and choose it. Raises EngineMissing."""
        self._start("compose", FoundModel, self._use, "describe", str(path))

    def price(self, key: str, into: str = "") -> None:
        """Ask how large a download is; the answer becomes ``offer``. ``into`` is the model folder
        that lacks this part. Uses the network. Raises EngineMissing."""
        self.offer, self._into = None, into
        self._start("price", Offer, self._take_offer, "price", key, *self._whereto())

    def fetch(self) -> None:
        """Begin or continue the download on offer. Uses the network. Raises EngineMissing."""
        into = ["--into", self._into] if self._into else []
        to = self._whereto(self.offer.to)
        self._start("fetch", Fetched, self._fetched, "fetch", self.offer.key, *to, *into)

    @property
    def downloads(self) -> bool:
        """Whether a download is asked about, on offer or on its way."""
        return bool(self.offer) or bool({"price", "fetch"} & set(self._calls))

    def decline(self) -> None:
        """Take the offer away; what has arrived stays."""
        self.offer = self.error = None

    def cancel(self, name: str) -> None:
        """Stop a call; what it has done so far stays."""
        if name in self._calls:
            self._calls[name][0].cancel()

    def tick(self) -> bool:
        """Take what has ended."""
        for name, (call, answer, then) in list(self._calls.items()):
            if call.finished:
                del self._calls[name]
                try:
                    then(call.answer(answer))
                except Cancelled:
                    pass
                except WanError as error:
                    self.error = error
        return True

    def wait(self) -> None:
        """Until every call has ended, for scripts, where timers do not run. Raises WanError."""
        while self._calls:
            for call, *_ in list(self._calls.values()):
                call.wait()
            self.tick()
        if self.error:
            raise self.error

    def close(self) -> None:
        for call, *_ in self._calls.values():
            call.kill()
        self._calls.clear()

    # -- inside

    def _start(
        self, name: str, answer: type[T], then: Callable[[T], None], *arguments: str
    ) -> None:
        if name in self._calls:
            return
        self.error = None
        call = EngineCall(self._find_python(), "models", *arguments)
        self._calls[name] = call, answer, then
        pump.follow(self)

    def _whereto(self, chosen: str = "") -> list[str]:
        """Where a download goes, and where else its files may be already."""
        first, *others = map(str, self._places())
        return ["--to", chosen or first, *(word for at in others for word in ("--look", at))]

    def _take_offer(self, offer: Offer) -> None:
        self.offer = offer

    def _fetched(self, fetched: Fetched) -> None:
        self.offer = None
        self.scan()

    def _use(self, model: FoundModel) -> None:
        """Put a model on the list, and choose it as one undo step."""
        others = (m for m in self.listing.models if m.path != model.path or m.components)
        self._keep(replace(self.listing, models=(*others, model)))
        with in_a_window():
            use_model(compat.sequencer_scene(bpy.context), model.path)
        push_undo("Use Model")

    def _keep(self, listing: Listing) -> None:
        self.listing = listing
        with contextlib.suppress(OSError):  # it is found again
            write_json(self._file, to_json(listing))


def _read(path: Path) -> Listing:
    """What was found in an earlier session; nothing where another version of the extension found
    it, so that it is looked for again."""
    with contextlib.suppress(OSError, ValueError):
        listing = read(Listing, read_json(path), path.name)
        if listing.version == __version__:
            return listing
    return Listing()
