# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures and latents: files, region, matte, seams, VAE."""
