# SPDX-License-Identifier: GPL-3.0-or-later
"""The card that each job of a batch wants, whatever machine is asked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ..core import job as jobs
from ..core import schema
from ..core.errors import OutOfMemory, WanError
from ..core.settings import Job, MadeWith, Prompt
from .forecast import lay_out
from .models.memory import Machine, Sizes, plan_memory
from .plan import fit_memory, tokens_of

# Cards that are sold, in GB as their makers count.
CARDS_GB = (6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 141, 192)
CARD_RAM_GB = 64.0  # of the machine a card is thought to be in


def needs_of(folders: Iterable[Path]) -> dict[str, float]:
    """By the name of each job folder the smallest of CARDS_GB that runs it whole: neither packed to
    fp8, which changes pixels, nor streamed from RAM, which takes much longer. Jobs that cannot be
    read, and whose models are not here, are left out."""
    found: dict[str, float] = {}
    known: dict[str, float | None] = {}
    for folder in folders:
        try:
            job = jobs.read(folder)
        except (WanError, OSError):
            continue
        sampling = replace(job.sampling, seed=0)
        alike = replace(job, prompt=Prompt(), sampling=sampling, made_with=MadeWith())
        key = json.dumps(schema.to_dict(alike), sort_keys=True)
        if key not in known:
            known[key] = _card_for(alike)
        if needed := known[key]:
            found[folder.name] = needed
    return found


def _card_for(job: Job) -> float | None:
    dtype = "bfloat16" if job.model.dtype == "auto" else job.model.dtype  # as on a card
    job = replace(job, model=replace(job.model, dtype=dtype))
    try:
        bundle, region, stages, windows = lay_out(job)
        kept = 0 if job.sampling.compute == "dense" else sum(tokens_of(region, windows))
        _, sizes, _ = fit_memory(job, bundle, region, stages, windows, kept_tokens=kept)
    except OutOfMemory:
        return CARDS_GB[-1]
    except (WanError, OSError):
        return None
    return smallest_card(sizes)


def smallest_card(sizes: Sizes) -> float:
    """Of CARDS_GB the smallest that runs it whole; the largest where none does."""
    for card_gb in CARDS_GB:
        plan = plan_memory(Machine("cuda", card_gb, CARD_RAM_GB), sizes)
        if plan.fits and not plan.quantise and plan.resident_blocks < 0:
            return card_gb
    return CARDS_GB[-1]
