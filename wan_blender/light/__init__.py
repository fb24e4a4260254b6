# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures brighter than white: files, sRGB beyond 1, and the curve the model sees them by."""
