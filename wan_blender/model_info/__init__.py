# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Wan model is without its weights: kind, folder, names. No torch, no bpy."""
