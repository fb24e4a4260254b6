# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes, checks and removes the engine\'s Python environment. Standard library only."""
