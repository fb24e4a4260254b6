# SPDX-License-Identifier: GPL-3.0-or-later
"""Mattes from pictures: what a click means, and where it goes. OpenCV; torch for SAM alone."""
