# SPDX-License-Identifier: GPL-3.0-or-later
"""Child processes under supervision, and the two ways to talk to the engine. stdlib only."""
