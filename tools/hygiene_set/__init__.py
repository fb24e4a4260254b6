# SPDX-License-Identifier: GPL-3.0-or-later
"""A labelled set drawn in code: known attention sinks and uniform textures on calm pictures.

patches.py   what is drawn: sinks and decoys, each a colour patch with its alpha
scenes.py    single labelled pictures for measuring, and rooms to look at
"""
