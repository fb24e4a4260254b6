# SPDX-License-Identifier: GPL-3.0-or-later
"""Timings as ratios; see README.md."""
