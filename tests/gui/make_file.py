# SPDX-License-Identifier: GPL-3.0-or-later
"""Run in a background Blender: the demo's project, set up for a short run.

blender --background --factory-startup --python make_file.py -- FOLDER      with the demo's film
"""

import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parents[2]))

from tools.demo import project

folder = Path(sys.argv[sys.argv.index("--") + 1])
project.build(folder)
scene = bpy.context.scene
scene.wan.prompt.text = "a red ball"
scene.wan.sampling.steps = 4
bpy.context.workspace.sequencer_scene = scene
bpy.ops.wm.save_as_mainfile(filepath=str(folder / "shot.blend"))
