# SPDX-License-Identifier: GPL-3.0-or-later
"""One job folder, once: claimed, left alone where it is done, else run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..core import job as jobs
from ..core.answers.report import Report
from ..core.lock import Claim
from ..core.result import find_result, read_report
from ..farm.exports import check_frames
from .watch import Watch

if TYPE_CHECKING:
    from .models.held import Held


def run_once(
    folder: Path,
    watch: Watch,
    again: bool = False,
    forget_cancel: bool = False,
    held: Held | None = None,
) -> tuple[Report, bool]:
    """The report of the job in ``folder``, and whether it was made just now.

    Without ``again`` a job that has a result keeps it. That is checked inside the claim, so
    whoever waited for another process to finish the job does not run it a second time.
    ``forget_cancel`` drops a request to cancel that an earlier run was meant by. ``held`` has parts
    of models from earlier jobs. Raises a WanError, JobBusy among them.
    """
    from .pipeline import generate_claimed

    jobs.read(folder)  # a folder that holds no job is left as it is
    with Claim(folder) as watch.claim:
        if forget_cancel:
            jobs.clear_cancel(folder)
        if not again and (result := find_result(folder)):
            return read_report(result), False
        check_frames(folder, hashes=True)  # a copy to another disk may have been cut off
        return generate_claimed(folder, watch, held), True
