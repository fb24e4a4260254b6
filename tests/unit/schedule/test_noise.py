# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest

from wan_blender.core import errors
from wan_blender.schedule.noise import SCHEDULES, make_sigmas, shift_time, unshift


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 7, 50, 400])
@pytest.mark.parametrize("strength", [1.0, 0.5, 0.03])
def test_schedules_fall_strictly_to_zero(schedule, steps, strength):
    if schedule != "shifted" and steps / strength > 1000:
        with pytest.raises(errors.InvalidJob, match="1000 entries"):
            make_sigmas(schedule, steps, 5.0, strength)
        return
    sigmas = make_sigmas(schedule, steps, 5.0, strength)
    assert len(sigmas) == steps + 1
    assert sigmas[-1] == 0
    assert sigmas[0] <= 1
    assert (np.diff(sigmas) < 0).all()


def test_unshift_inverts_the_shift():
    u = np.linspace(0, 1, 101)
    np.testing.assert_allclose(unshift(shift_time(u, 8.0), 8.0), u, atol=1e-12)
