# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs without a window says."""

import time

from wan_blender.core.console import ProgressPrinter
from wan_blender.core.protocol import Progress


def test_silence_is_filled_with_the_last_line(capsys):
    printer = ProgressPrinter("x: ")
    with printer.heartbeat(0.02):
        time.sleep(0.05)  # nothing has been said yet
        printer(Progress("", "denoising", 3, 20, 0.25))
        seen = ""
        while seen.count("denoising 3/20") < 3:
            seen += capsys.readouterr().err
    assert set(seen.splitlines()) == {"x:  25.0% denoising 3/20"}
    time.sleep(0.05)
    assert capsys.readouterr().err == ""
