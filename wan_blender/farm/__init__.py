# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches: what is to be made, in which order, on which engines. stdlib, and Ray where it is asked
for."""
