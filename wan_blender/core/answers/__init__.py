# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine tells Blender and farms, declared once and read as attributes on both sides. What
it tells of models is in model_info/listing.py. stdlib only."""
