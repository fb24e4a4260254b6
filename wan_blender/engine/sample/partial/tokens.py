# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tokens a pass over rows computes, in an order that makes every such set a prefix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ....masks.grid import grow

NEVER = np.iinfo(np.int32).max  # as a step
_CANARIES = (16, 128)  # at least, at most
_SIZES = 128  # at most so many sizes of a pass, for compiled blocks


@dataclass(frozen=True)
class Order:
    """The tokens of one window: canaries, then what is computed at some step, by that step, then
    the rest.

    ``order`` (N,) holds token numbers as the model counts them, ``due`` the steps from which the
    tokens after the canaries are computed, rising. ``active`` of the tokens are generated.
    """

    order: np.ndarray
    canaries: int
    due: np.ndarray
    active: int

    @property
    def tokens(self) -> int:
        return len(self.order)

    def rows(self, step: int) -> int:
        """How many tokens, from the first, a pass at ``step`` computes; 0 where nothing is set
        free yet."""
        wanted = int(np.searchsorted(self.due, step, "right"))
        if wanted == 0:
            return 0
        size = -(-self.tokens // _SIZES)
        return min(-(-(self.canaries + wanted) // size) * size, self.tokens)


def release_steps(masks: Iterable[np.ndarray], patch: int) -> np.ndarray:
    """The first step at which a cell of each token is free, wholly or partly; NEVER where none is.

    ``masks`` are the law's masks (t, h, w) of all steps in order. -> (t, h / patch, w / patch)
    """
    release = None
    for step, mask in enumerate(masks):
        t, h, w = mask.shape
        free = mask.reshape(t, h // patch, patch, w // patch, patch).max((2, 4)) > 0
        if release is None:
            release = np.full(free.shape, NEVER, np.int32)
        release[free & (release == NEVER)] = step
    return release


def plan_order(
    release: np.ndarray, latents: Sequence[int], prefix: int = 0, ring: int = 1
) -> Order:
    """The order for a window that shows ``latents`` of the run, which begins with ``prefix``
    references. References are context: full passes alone renew them. So many tokens of background
    as ``ring`` are computed with what is generated, along each axis.

    ``release`` (t, h, w) are the clip's release steps in tokens, without references.
    """
    own = [index - prefix for index in latents if index >= prefix]
    references = np.full((len(latents) - len(own), *release.shape[1:]), NEVER, np.int32)
    seen = release[own]
    near = -seen
    for axis in range(3):
        near = grow(near, ring, ring, axis)
    due = np.concatenate([references, -near]).ravel()
    wanted = np.flatnonzero(due < NEVER)
    wanted = wanted[np.argsort(due[wanted], kind="stable")]
    rest = np.flatnonzero(due == NEVER)
    count = min(len(rest), int(np.clip(due.size // 256, *_CANARIES))) if len(wanted) else 0
    canaries = rest[np.linspace(0, len(rest) - 1, count).astype(int)] if count else rest[:0]
    others = rest[~np.isin(rest, canaries)]
    order = np.concatenate([canaries, wanted, others])
    return Order(order, count, due[wanted], int((seen < NEVER).sum()))
