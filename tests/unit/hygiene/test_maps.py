# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules that Blender holds before the export hold in the engine before the run."""

from pathlib import Path

import pytest

from wan_blender.core.errors import InvalidJob
from wan_blender.core.settings import Hygiene, Job, Shot
from wan_blender.hygiene.maps import folder_without, require_effect, without_hygiene


@pytest.mark.parametrize("radii", [False, True])
@pytest.mark.parametrize("pictures", [False, True])
@pytest.mark.parametrize("mode", ["off", "soft", "scheduled", "both"])
def test_a_mode_that_follows_a_map_needs_something_to_change(mode, pictures, radii):
    job = Job(Shot(), hygiene=Hygiene(mode=mode))
    if mode == "soft" and not radii and not pictures:
        with pytest.raises(InvalidJob, match=r"\('soft'\) would change nothing: no map, and"):
            require_effect(job, radii, pictures, "no map")
    else:
        require_effect(job, radii, pictures, "no map")


def test_take_without_hygiene_differs_in_nothing_else():
    job = Job(Shot(), hygiene=Hygiene(mode="both", strength=0.5))
    without = without_hygiene(job)
    assert (without.hygiene.mode, without.hygiene.strength) == ("off", 0.5)
    without.hygiene.mode = "both"
    assert without == job
    with pytest.raises(InvalidJob, match="both takes would be the same"):
        without_hygiene(Job(Shot()))


def test_take_without_hygiene_lies_beside():
    assert folder_without(Path("jobs/a")) == Path("jobs/a-without")
