# SPDX-License-Identifier: GPL-3.0-or-later
"""What this Blender holds: settings, jobs, engine, models, timers. Draws nothing."""
