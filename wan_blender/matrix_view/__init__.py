# SPDX-License-Identifier: GPL-3.0-or-later
"""The matrix view in the Image Editor, live while the blur map is painted.

The Image Editor shows an ordinary image, the blur map, and Blender's own brushes paint it: black
leaves the frame alone, white blurs by hygiene.blur.MAX_RADIUS pixels. Over it
panels/matrix_overlay.py draws what the map makes of the frame. A task looks whether the map has
changed; the analysis runs in a thread, on arrays only, so painting never waits for it.

    view.py        the open start frame: sinks, map, and what follows from them
    part.py        which part of the canvas is shown, and at which size
    sinks.py       the sinks as the panel lists them
    matte.py       mattes that say where to blur, on this frame
    questions.py   what the engine is asked about the frame
    thumbnails.py  pictures of the sinks
    picture.py     the frame or image on view
    state.py       what the panels show of it, the task and the handlers
"""

from .matte import read_matte
from .questions import REPORT, write_picture
from .state import follow_map, register, show_map, unregister
from .view import View, close_view, last_score, open_view, require_view, view

__all__ = [
    "REPORT", "View", "close_view", "follow_map", "last_score", "open_view", "read_matte",
    "register", "require_view", "show_map", "unregister", "view", "write_picture",
]  # fmt: skip
