# SPDX-License-Identifier: GPL-3.0-or-later
"""The masked denoise loop and who takes its steps."""
