# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine: torch, no bpy. Run it as ``python -m wan_blender.engine``."""
