# SPDX-License-Identifier: GPL-3.0-or-later
"""Look a name up in a registry: a table of the code behind each name that a setting offers."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

from .errors import InvalidJob
from .schema import show

T = TypeVar("T")


def find(registry: Mapping[str, T], name: str, what: str) -> T:
    """The entry ``name``; ``what`` is a noun for the message. Raises InvalidJob."""
    try:
        return registry[name]
    except (KeyError, TypeError) as error:
        near = difflib.get_close_matches(str(name), registry, 1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(registry)}."
        raise InvalidJob(f"There is no {what} {show(name)}.", hint) from error
