# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators on one job share."""

from __future__ import annotations

from pathlib import Path

from bpy.props import StringProperty

from ..core.errors import BadRequest
from ..core.result import find_result, verify
from ..host import pump
from ..host.jobs import LocalJob, read_folder


class OnJob:
    """Mixin: the operator works on the job in ``folder``."""

    folder: StringProperty(
        name="Job Folder",
        description="Folder of the job",
        subtype="DIR_PATH",
        options={"SKIP_SAVE", "HIDDEN"},
    )

    def local_job(self) -> LocalJob:
        """Raises BadRequest when the session does not know the job."""
        local = pump.session().find(Path(self.folder))
        if local is None:
            raise BadRequest(f"There is no job {self.folder!r} on the list.", "It has ended.")
        return local

    def finished_job(self) -> tuple[LocalJob, Path]:
        """The job, listed or not, and its result folder. Raises BadRequest, InvalidJob,
        DamagedResult."""
        folder = Path(self.folder)
        result = find_result(folder)
        if result is None:
            raise BadRequest(f"{folder} holds no finished result.", "Run the job again.")
        verify(result)
        return pump.session().find(folder) or read_folder(folder), result
