# SPDX-License-Identifier: GPL-3.0-or-later
"""What the settings offer is what there is code for, and no more."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wan_blender.core import schema
from wan_blender.core.errors import InvalidJob
from wan_blender.core.mask_settings import Mask
from wan_blender.core.registry import find
from wan_blender.core.settings import Sampling, Speed, Stage
from wan_blender.engine.conditioning import CONDITIONS
from wan_blender.engine.models.find.catalogue import catalogue
from wan_blender.engine.models.switches import BACKENDS
from wan_blender.engine.sample.loop import MaskedSource, denoise, make_noise
from wan_blender.engine.sample.release import LAWS, make_law
from wan_blender.engine.sample.solvers import SOLVERS
from wan_blender.masks.crop import Crop
from wan_blender.masks.gray import GRAYS
from wan_blender.masks.grid import Grid
from wan_blender.masks.reduce import REDUCERS, reduce_space, reduce_time
from wan_blender.model_info.traits import KINDS
from wan_blender.schedule.noise import SCHEDULES, make_sigmas

OFFERED = {
    "solvers": (Sampling, "solver", SOLVERS),
    "solvers of stages": (Stage, "solver", {"same", *SOLVERS}),
    "schedules": (Sampling, "schedule", SCHEDULES),
    "reductions": (Mask, "reduction", REDUCERS),
    "laws": (Mask, "law", LAWS),
    "meanings of gray": (Mask, "gray", GRAYS),
    "attentions": (Speed, "attention", {"native", "best", *BACKENDS}),
}


@pytest.mark.parametrize("name", OFFERED)
def test_settings_offer_what_is_registered(name):
    owner, setting, registry = OFFERED[name]
    assert set(dict(schema.settings(owner))[setting]["choices"]) == set(registry)


def test_every_kind_is_conditioned_by_code_that_exists():
    assert {kind.condition for kind in KINDS.values()} - {""} == set(CONDITIONS)


def test_the_catalogue_offers_kinds_that_can_run():
    assert all(KINDS[entry.kind].condition for entry in catalogue().values())


def test_an_unknown_name_is_an_error_wherever_it_is_used():
    mask, grid = np.ones((5, 16, 16), np.float32), Grid(5, 16, 16)
    sigmas, tensor = [1.0, 0.0], torch.ones(1, 1, 1, 2, 2)
    source, law = MaskedSource(tensor, make_noise((1, 1, 1, 2, 2), 0), tensor), lambda step: tensor
    uses = [
        lambda name: denoise(lambda x, level, step: x, source, sigmas, law, name),
        lambda name: make_law(name, tensor, sigmas, 5.0),
        lambda name: make_sigmas(name, 4, 5.0),
        lambda name: reduce_space(mask, grid, name),
        lambda name: reduce_time(mask, grid, name),
        lambda name: Crop(0, 0, 16, 16, Grid(5, 8, 8)).mask_as_seen(mask[0], name),
    ]
    for use in uses:
        with pytest.raises(InvalidJob, match=r"There is no .* 'maxx'"):
            use("maxx")


def test_a_near_name_is_proposed():
    with pytest.raises(InvalidJob, match="Did you mean 'max'"):
        find(REDUCERS, "maxx", "reduction")
    with pytest.raises(InvalidJob, match="Known: euler, heun"):
        find(SOLVERS, "qqq", "solver")
