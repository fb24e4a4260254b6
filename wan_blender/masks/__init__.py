# SPDX-License-Identifier: GPL-3.0-or-later
"""Pixel masks to latent masks, crop, notes. numpy only: the same in overlay and engine."""
