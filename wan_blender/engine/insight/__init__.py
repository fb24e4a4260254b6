# SPDX-License-Identifier: GPL-3.0-or-later
"""What the model decided, measured: instruments that change no pixel.

settledness.py  whether each region's fine detail sticks to its surface, from frame to frame
detail.py       fine detail between two frames, region by region
jumps.py        frames at which something becomes another thing
returns.py      whether a thing that comes back is still the same
result.py       settledness of a run's result
"""
