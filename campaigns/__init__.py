# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks, crashes and endless runs, tried by the thousand; see __main__.py."""
