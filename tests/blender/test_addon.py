# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension comes and goes without a trace, and shows every setting of the job."""

import os
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

MODULE = "bl_ext.user_default.wan_blender"
REPO = Path(__file__).parents[2]


def traces(bpy) -> dict[str, object]:
    """All that an add-on could leave behind."""
    handlers = bpy.app.handlers
    menus = (bpy.types.SEQUENCER_MT_strip, bpy.types.SEQUENCER_MT_context_menu)
    names = [n for n in dir(handlers) if isinstance(getattr(handlers, n), list)]
    return {
        "path": list(sys.path),
        "environment": dict(os.environ),
        "handlers": {name: list(getattr(handlers, name)) for name in names},
        "classes": {c.__name__ for c in bpy.types.bpy_struct.__subclasses__()}
        | {n for n in dir(bpy.types) if "WAN" in n.upper()},
        "operators": [n for n in dir(bpy.ops.wan) if not n.startswith("_")],
        "scene": hasattr(bpy.types.Scene, "wan"),
        "menus": [len(menu._dyn_ui_initialize()) for menu in menus],
        "threads": {t.name for t in threading.enumerate()},
    }


def test_enable_and_disable_leave_no_trace(bpy_module):
    import addon_utils

    bpy = bpy_module
    bpy.ops.wm.read_factory_settings(use_empty=True)
    addon_utils.enable(MODULE)
    addon_utils.disable(MODULE)  # what Blender itself sets up on first use is there now
    before = traces(bpy)
    for _ in range(3):
        addon_utils.enable(MODULE)
        assert hasattr(bpy.types.Scene, "wan")
        addon_utils.disable(MODULE)
    assert traces(bpy) == before
    assert not before["scene"]
    assert not before["operators"]


class Space:
    """Stands in for an editor's type and keeps its draw handlers, which Blender does not list."""

    def __init__(self):
        self.handlers = []

    def draw_handler_add(self, *handler):
        self.handlers.append(handler)
        return handler

    def draw_handler_remove(self, handler, region):
        self.handlers.remove(handler)


def test_disable_takes_draw_handlers_away(addon, part, monkeypatch):
    """Without a window none are added, so the overlays are made to believe in one."""
    import addon_utils

    spaces = {"SpaceImageEditor": Space(), "SpaceSequenceEditor": Space()}
    window = SimpleNamespace(app=SimpleNamespace(background=False), types=SimpleNamespace(**spaces))
    for name in ("panels.matrix_overlay", "panels.mask_overlay"):
        monkeypatch.setattr(part(name), "bpy", window)
        part(name).register()
    assert [len(space.handlers) for space in spaces.values()] == [1, 1]
    addon_utils.disable(MODULE)
    assert [space.handlers for space in spaces.values()] == [[], []]


def test_disable_stops_the_only_timer(addon, part):
    import addon_utils

    timers, tick = addon.app.timers, part("host.pump").tick
    sources = (REPO / "wan_blender").rglob("*.py")
    assert sum(path.read_text().count("timers.register(") for path in sources) == 1
    timers.register(tick, first_interval=1000, persistent=True)  # without a window nobody does
    addon_utils.disable(MODULE)
    assert not timers.is_registered(tick)


def test_import_of_entry_loads_nothing():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import main; print(sorted(sys.modules))"
    output = subprocess.check_output(
        [sys.executable, "-c", code.replace("main", REPO.name), str(REPO.parent)], text=True
    )
    assert "'bpy'" not in output
    assert "'torch'" not in output
    assert "'numpy'" not in output


def test_manifest_fits_the_tree():
    manifest = tomllib.loads((REPO / "blender_manifest.toml").read_text())
    assert manifest["id"] == "wan_blender"
    assert manifest["blender_version_min"] == "4.5.0"
    assert set(manifest["permissions"]) == {"files", "network"}


def test_every_setting_of_a_job_is_a_property_with_name_and_description(addon, part):
    scene, schema = addon.context.scene, part("core.schema")
    for group, cls in part("host.properties").groups():
        rna = getattr(scene.wan, group).bl_rna.properties
        for name, rules in schema.settings(cls):
            assert rna[name].name
            assert rna[name].description == rules["about"].rstrip(".")
            assert not rna[name].is_animatable


def test_properties_carry_defaults_limits_and_units(addon):
    rna = addon.context.scene.wan.sampling.bl_rna.properties
    assert (rna["steps"].default, rna["steps"].hard_min, rna["steps"].hard_max) == (20, 1, 1000)
    assert rna["steps"].soft_max == 80
    assert rna["strength"].subtype == "FACTOR"
    assert addon.context.scene.wan.output.bl_rna.properties["feather_px"].subtype == "PIXEL"
    assert addon.context.scene.wan.output.bl_rna.properties["feather_px"].name == "Feather"


def test_scene_settings_go_to_a_job_and_back(addon, part):
    scene, properties, schema = addon.context.scene, part("host.properties"), part("core.schema")
    default = schema.to_dict(properties.read(scene))
    assert default == schema.to_dict(part("core.settings").Job(shot=part("core.settings").Shot()))
    scene.wan.prompt.text = "a red kite, ünïcode"
    scene.wan.sampling.guidance = 0.3
    scene.wan.sampling.sigmas = "1, 0.5, 0"
    scene.wan.sampling.solver = "dpmpp_2m"
    addon.ops.wan.add_item(path="loras")
    scene.wan.loras[0].file, scene.wan.loras[0].weight = "/a/lora.safetensors", 0.7
    addon.ops.wan.add_item(path="stages")
    addon.ops.wan.add_item(path="stages[0].loras")
    scene.wan.stages[0].loras[0].file = "/a/other.safetensors"
    addon.ops.wan.add_item(path="prompt.sections")
    scene.wan.prompt.sections[0].text = "first, a kite"
    changed = properties.read(scene)
    assert changed.prompt.text == "a red kite, ünïcode"
    assert changed.sampling.guidance == 0.3
    assert changed.sampling.sigmas == [1.0, 0.5, 0.0]
    assert (changed.loras[0].file, changed.loras[0].weight) == ("/a/lora.safetensors", 0.7)
    assert changed.stages[0].loras[0].file == "/a/other.safetensors"
    assert changed.prompt.sections == ["first, a kite"]
    other = addon.data.scenes.new("Other")
    properties.write(other, changed)
    assert properties.read(other) == changed


def test_item_is_removed_from_its_own_list(addon):
    wan = addon.context.scene.wan
    for _ in range(2):
        addon.ops.wan.add_item(path="loras")
    wan.loras[1].weight = 0.5
    addon.ops.wan.remove_item(path="loras", index=0)
    assert [lora.weight for lora in wan.loras] == [0.5]
    with pytest.raises(RuntimeError, match="no list 'nothing'"):
        addon.ops.wan.add_item(path="nothing")


def test_sampling_preset_brings_back_all_but_the_seed(addon):
    sampling = addon.context.scene.wan.sampling
    sampling.steps, sampling.solver, sampling.seed = 4, "lcm", 5
    addon.ops.wan.add_sampling_preset(name="Quick")
    sampling.steps, sampling.solver, sampling.seed = 30, "euler", 6
    path = addon.utils.preset_find("Quick", "wan/sampling")
    addon.ops.script.execute_preset(filepath=path, menu_idname="WAN_MT_sampling_presets")
    assert (sampling.steps, sampling.solver, sampling.seed) == (4, "lcm", 6)


def test_list_that_is_no_list_of_numbers_names_the_setting(addon, part):
    addon.context.scene.wan.sampling.sigmas = "1, nought"
    with pytest.raises(part("core.errors").InvalidJob, match=r"sampling\.sigmas is '1, nought'"):
        part("host.properties").read(addon.context.scene)


def test_settings_are_saved_with_the_scene_and_a_run_is_not(addon, tmp_path):
    scene = addon.context.scene
    scene.wan.prompt.text = "kept"
    path = str(tmp_path / "file with spaces ü.blend")
    addon.ops.wm.save_as_mainfile(filepath=path)
    addon.ops.wm.read_homefile(use_empty=True)
    addon.ops.wm.open_mainfile(filepath=path)
    assert addon.context.scene.wan.prompt.text == "kept"
    assert not hasattr(addon.context.window_manager, "wan")


def test_operators_have_tooltips_and_undo_only_where_they_edit(addon, part):
    editing = {
        "add_hygiene_matte",
        "add_item",
        "add_matte",
        "draw_matte",
        "clear_hygiene",  # treat_hygiene makes its step when it is done
        "limit_frames",
        "setup_task",
        "use_model",
        "use_model_defaults",
        "use_stages",
        "fix_schedule",
        "add_lora",
        "move_item",
        "remove_item",
        "remove_matte",
        "open_hygiene_view",
        "place_result",
        "place_in_compositor",
        "run_again",
    }
    classes = part("operators").CLASSES
    assert len({cls.bl_idname for cls in classes}) == len(classes) >= 51
    for cls in classes:
        name = cls.bl_idname.removeprefix("wan.")
        assert cls.__doc__, name
        assert not cls.__doc__.rstrip().endswith("."), name
        assert cls.__name__ == f"WAN_OT_{name}"
        assert cls.__module__.startswith(part("operators").__name__)
        assert ("UNDO" in cls.bl_options) == (name in editing), name


def test_tab_is_empty_while_the_sequencer_has_no_scene(addon, part):
    panel = part("panels.shot").WAN_PT_shot
    if addon.app.version < (5, 0):
        assert panel.poll(addon.context)  # the sequencer's scene is the window's
        return
    workspace = addon.context.workspace
    for scene in (None, addon.context.scene):
        workspace.sequencer_scene = scene
        assert panel.poll(addon.context) == (scene is not None)


def test_panels_stand_in_the_tab_and_import_no_operators(addon, part):
    panels = [c for c in part("panels").CLASSES if issubclass(c, addon.types.Panel)]
    classes = [c for c in panels if "presets" not in c.__name__]
    assert {c.bl_category for c in classes} == {"Wan"}
    assert {c.bl_space_type for c in classes} == {"SEQUENCE_EDITOR", "IMAGE_EDITOR"}
    groups = {name for name, _ in part("host.properties").groups()}
    assert {f"WAN_PT_{g}" for g in groups} <= {c.__name__ for c in classes}
