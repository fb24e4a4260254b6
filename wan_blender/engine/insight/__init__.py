# SPDX-License-Identifier: GPL-3.0-or-later
"""What the model decided, measured: instruments that change no pixel.

settledness.py  whether each region's fine detail sticks to its surface, from frame to frame
detail.py       fine detail between two frames, region by region
jumps.py        frames at which something becomes another thing
returns.py      whether a thing that comes back is still the same
decisions.py    what was decided when: signals that are collected while a run is sampled
diagnosis.py    from those signals to words
attention.py    what attention is spent on, by layer and stage
result.py       what a job asks for, and what of it goes into its result
"""
