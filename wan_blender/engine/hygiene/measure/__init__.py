# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether softening a start frame helped: motion, crawl, pairs of takes."""
