# SPDX-License-Identifier: GPL-3.0-or-later
"""The short forms of the campaigns. Each file needs a process of its own: a campaign forks, and
what forks must not hold the threads that other tests leave. ``make test-engine`` sees to that."""

import pytest

from campaigns import tally


@pytest.fixture
def unbroken(tmp_path):
    """``unbroken(name, campaign, count)``: its first tries break no promise."""

    def run(name, campaign, count):
        told = tally.run(name, campaign, tmp_path, count=count)
        assert not told.broken, "\n".join(told.broken.values())
        assert told.done == count
        return told

    return run
