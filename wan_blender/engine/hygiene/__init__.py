# SPDX-License-Identifier: GPL-3.0-or-later
"""Frequency hygiene in the engine: what conditions the run, reports, and what it did to motion.

    treatment.py  what the model sees at each part of the run
    automatic.py  pictures without a blur map: just enough by measure
    pictures.py   start frames and blur maps from files
    faces.py      faces in a picture
    report.py     two pictures side by side: numbers and a plot
    batch.py      a folder of pictures: CSV and contact sheet
    motion.py     motion, crawl and first-frame fidelity of clips; many pairs in numbers
    takes.py      two takes of one job, with hygiene and without
    command.py    the subcommand of the engine's command line

The analysis itself is shared with Blender: wan_blender.hygiene, numpy only. No torch here.
"""
