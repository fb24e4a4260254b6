# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine: torch, no bpy. Run it as ``python -m wan_blender.engine``."""

import os

os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")  # OpenCV asks when it is first imported
