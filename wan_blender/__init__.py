# SPDX-License-Identifier: GPL-3.0-or-later
"""Masked Wan video generation inside Blender. Imports neither bpy nor torch."""

__version__ = "0.1.0"
