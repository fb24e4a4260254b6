# SPDX-License-Identifier: GPL-3.0-or-later
"""Frequency hygiene: see fine detail as a video model meets it, soften it lightly, keep the proof.

    bands.py      images as planes, generation size, the starlet bands
    matrix.py     the matrix view: what glows at generation size
    sinks.py      ranked regions of it
    blur.py       softening by a map of blur radii, and the radius found by closed loop
    treatment.py  the treatment as data, and the condition at each fraction of the run

numpy only, so the view that Blender draws while somebody paints and the numbers of the engine come
from the same functions.
"""
