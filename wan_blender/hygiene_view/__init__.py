# SPDX-License-Identifier: GPL-3.0-or-later
"""The matrix view in the Image Editor, live while the blur map is painted.

The Image Editor shows an ordinary image, the blur map, and Blender's own brushes paint it: black
leaves the frame alone, white blurs by hygiene.blur.MAX_RADIUS pixels. Over it
panels/hygiene_overlay.py draws what the map makes of the frame. A timer looks whether the map has
changed; the analysis runs in a thread, on arrays only, so painting never waits for it.

    frame_view.py  the open start frame: sinks, map, and what follows from them
    blur_map.py    the map of a clip, and its way into a job
    questions.py   what the engine is asked about the frame
    thumbnails.py  pictures of the sinks
    state.py       what the panels show of it, the timer and the handlers
"""

from .blur_map import require_map, save_map, without_hygiene
from .frame_view import View, close_view, open_view, require_view, view
from .questions import REPORT, write_picture
from .state import follow_map, register, unregister

__all__ = [
    "REPORT", "View", "close_view", "follow_map", "open_view", "register", "require_map",
    "require_view", "save_map", "unregister", "view", "without_hygiene", "write_picture",
]  # fmt: skip
