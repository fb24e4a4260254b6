# SPDX-License-Identifier: GPL-3.0-or-later
"""Wan models in every shape people have them: found, identified, loaded, staged, made to fit."""
