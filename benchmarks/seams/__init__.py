# SPDX-License-Identifier: GPL-3.0-or-later
"""How visible the edges of a patch are, in space and in time: `make seam-report`."""
