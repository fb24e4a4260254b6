# SPDX-License-Identifier: GPL-3.0-or-later
"""Clips whose truth is known, to hold the instruments of engine/insight against."""
