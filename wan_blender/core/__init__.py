# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job is and how processes speak about it. Standard library only."""
