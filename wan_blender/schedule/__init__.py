# SPDX-License-Identifier: GPL-3.0-or-later
"""Noise levels, stages, presets and advice. numpy only: the same code in panel and engine."""
