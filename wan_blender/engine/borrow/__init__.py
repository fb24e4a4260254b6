# SPDX-License-Identifier: GPL-3.0-or-later
"""What other frames of a shot show behind the mask, taken from them before anything is invented.

    clip     frames as they are needed, and small copies to look at
    cuts     the survey of the shot: cameras from frame to frame, cuts, interlace
    camera   points and homographies
    motion   dense flow of the background, also behind the mask
    donors   which frames show what is hidden
    layers   where it lies in each of them
    choice   which donor and layer each pixel takes, and how sure that is
    colour   the donor's light made the frame's own
    fill     the pixels, read once, at the plate's size and depth
    notes    what is left, in words
    cast     shadows and reflections: a grown matte to propose

``shot.Borrower`` is the way in. No torch: numpy and OpenCV.
"""
