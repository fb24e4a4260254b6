# SPDX-License-Identifier: GPL-3.0-or-later
"""Frequency hygiene in the engine: what conditions the run, reports, and what it did to motion.

    treatment.py  what the model sees at each part of the run
    automatic.py  pictures without a blur map: just enough by measure
    pictures.py   start frames and blur maps from files
    faces.py      faces in a picture
    measure/      two pictures or two takes side by side: numbers, plots, contact sheets

The analysis itself is shared with Blender: wan_blender.hygiene, numpy only. No torch here.
"""
