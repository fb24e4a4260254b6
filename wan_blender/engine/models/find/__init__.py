# SPDX-License-Identifier: GPL-3.0-or-later
"""Models on this machine and on servers: found, identified, downloaded, assembled."""
