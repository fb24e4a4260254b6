# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused before an export."""

import pytest

from wan_blender.core.errors import InvalidJob, WeightsMissing
from wan_blender.core.settings import Job, Shot
from wan_blender.schedule.check import check_settings


def test_a_job_that_only_borrows_needs_no_model():
    job = Job(Shot())
    job.model.path = "/nowhere/model"
    for borrow in ("off", "first"):
        job.fill.borrow = borrow
        with pytest.raises(WeightsMissing, match="/nowhere/model"):
            check_settings(job, range(1, 10))
    job.fill.borrow = "only"
    check_settings(job, range(1, 10))
    job.mask.frames = "20-30"
    with pytest.raises(InvalidJob):
        check_settings(job, range(1, 10))
