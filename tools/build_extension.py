# SPDX-License-Identifier: GPL-3.0-or-later
"""Validate and build the extension zip with Blender's own tool, without a Blender window.

python tools/build_extension.py OUTPUT_FOLDER        (in an environment that has bpy)
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    bpy = Path(find_spec("bpy").origin).parent
    tool = next(bpy.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py"))
    output = Path(sys.argv[1])
    output.mkdir(parents=True, exist_ok=True)
    for arguments in (
        ["validate", str(ROOT)],
        ["build", "--source-dir", str(ROOT), "--output-dir", str(output)],
    ):
        code = subprocess.run([sys.executable, str(tool), *arguments], check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
