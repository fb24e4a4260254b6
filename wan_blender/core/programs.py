# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs on the PATH, none from the folder that this process was started in. stdlib only."""

from __future__ import annotations

import os
import shutil


def find_program(name: str, places: str | None = None) -> str | None:
    """The full path of ``name`` in ``places``, else on the PATH; None where it is not there.

    Windows looks in the current folder first, and so does every system whose PATH has an empty or
    relative entry: what is found there may have come with a project.
    """
    path = os.environ.get("PATH", os.defpath) if places is None else places
    full = [entry for entry in path.split(os.pathsep) if os.path.isabs(entry)]
    found = shutil.which(name, path=os.pathsep.join(full)) if full else None
    return found if found and os.path.isabs(found) else None
