#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Blender with a window, on a Linux machine that has neither: Debian's package in a folder.

    python3 tools/blender_window make              build it (root, network, minutes; once)
    python3 tools/blender_window run PROGRAM ...   run a program in it, e.g. blender --version
    python3 tools/blender_window show PROGRAM ...  the same with an X screen and window manager

``show`` gives the program a screen that xdotool can click and ImageMagick's ``import`` can
photograph; OpenGL is drawn by the processor. The repository and /tmp have their usual paths in
there. Variables:

    BLENDER_WINDOW_ROOT   where it is built; ~/.cache/blender-window by default
    BLENDER_WINDOW_HOME   the user's home in there, kept between runs
    BLENDER_WINDOW_BIND   more folders to see under their own paths, colon separated
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
ROOT = Path(os.environ.get("BLENDER_WINDOW_ROOT") or Path.home() / ".cache" / "blender-window")
HOME = Path(os.environ.get("BLENDER_WINDOW_HOME") or ROOT / "home" / "editor")
RELEASE = "sid"  # the only Debian with Blender 5.2
PACKAGES = (
    "blender", "xvfb", "xauth", "openbox", "xdotool", "imagemagick", "libgl1-mesa-dri",
    "libegl1", "python3-numpy", "python3-requests", "python3-zstandard", "ca-certificates",
)  # fmt: skip
# Blender's extension system imports these; Debian's package does not ask for them.
PYTHON_PACKAGES = ("cattrs", "attrs", "typing_extensions")
SCREEN = "1600x900x24"
HOST_TOOLS = {"debootstrap": "debootstrap", "bwrap": "bubblewrap", "xz": "xz-utils"}
FINISHED = ROOT / ".finished"


def make() -> None:
    """Build the root unless it is there. Leaves a log beside it."""
    if FINISHED.exists():
        return
    missing = [package for tool, package in HOST_TOOLS.items() if not shutil.which(tool)]
    log_path = ROOT.with_suffix(".log")
    ROOT.parent.mkdir(parents=True, exist_ok=True)
    with open(log_path, "w", encoding="utf-8") as log:

        def step(*command: str, **environment: str) -> None:
            print(*command[:3], "...", file=sys.stderr)
            ended = subprocess.run(
                command, stdout=log, stderr=log, env=os.environ | environment, check=False
            )
            if ended.returncode:
                sys.exit(f"{command[0]} failed with {ended.returncode}; see {log_path}")

        if missing:
            step("apt-get", "update")
            step("apt-get", "install", "-y", *missing, DEBIAN_FRONTEND="noninteractive")
        if ROOT.exists():
            shutil.rmtree(ROOT)
        step("debootstrap", "--variant=minbase", RELEASE, str(ROOT), debian_mirror())
        # A mirror that is a snapshot of some day says that it has expired.
        valid = ROOT / "etc/apt/apt.conf.d/99-any-day"
        valid.write_text('Acquire::Check-Valid-Until "false";\n')
        shutil.copy("/etc/resolv.conf", ROOT / "etc/resolv.conf")
        inside = ("chroot", str(ROOT), "apt-get")
        step(*inside, "update")
        step(
            *inside, "install", "-y", "--no-install-recommends", *PACKAGES,
            DEBIAN_FRONTEND="noninteractive",
        )  # fmt: skip
        target = ROOT / "usr/lib/python3/dist-packages"
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade")
        step(*pip, "--target", str(target), *PYTHON_PACKAGES)
    FINISHED.touch()


def debian_mirror() -> str:
    """The mirror this machine uses when it is a Debian, else the public one."""
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    if sources.exists():
        for line in sources.read_text().splitlines():
            if line.startswith("URIs:"):
                return line.split()[1]
    return "http://deb.debian.org/debian"


def sandbox() -> list[str]:
    """The command that runs what follows it inside the root."""
    if not FINISHED.exists():
        sys.exit("There is no Blender window yet; make one: python3 tools/blender_window make")
    HOME.mkdir(parents=True, exist_ok=True)
    seen = [str(REPO), "/tmp", str(HOME)]
    seen += os.environ.get("BLENDER_WINDOW_BIND", "").split(":")
    binds = [
        word
        for folder in dict.fromkeys(seen)
        if folder not in ("", "/", "/usr")
        for word in ("--bind", folder, folder)
    ]
    return [
        "bwrap", "--bind", str(ROOT), "/", "--dev", "/dev", "--proc", "/proc", *binds,
        "--setenv", "HOME", str(HOME), "--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin",
        "--setenv", "LIBGL_ALWAYS_SOFTWARE", "1", "--die-with-parent",
    ]  # fmt: skip


def main(arguments: list[str]) -> None:
    match arguments:
        case ["make"]:
            make()
        case ["run", *program] if program:
            command = [*sandbox(), *program]
            os.execvp(command[0], command)
        case ["show", *program] if program:
            screen = ["xvfb-run", "--auto-servernum", "--server-args", f"-screen 0 {SCREEN}"]
            managed = ["sh", "-c", 'openbox & sleep 1; exec "$@"', "show"]
            command = [*sandbox(), *screen, *managed, *program]
            os.execvp(command[0], command)
        case _:
            sys.exit(__doc__)


main(sys.argv[1:])
