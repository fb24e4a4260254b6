# SPDX-License-Identifier: GPL-3.0-or-later
"""Property tests try the same examples in every run, so that a change fails for what it did.

HYPOTHESIS_PROFILE=default looks for new ones.
"""

import os

from hypothesis import settings

settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
