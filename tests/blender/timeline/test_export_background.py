# SPDX-License-Identifier: GPL-3.0-or-later
"""Export in a second Blender: the same frames from whatever file is open, and nothing left."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.blender import media
from wan_blender.core import job
from wan_blender.core.errors import EmptyMask, EngineDied
from wan_blender.core.settings import Job, Prompt, Shot
from wan_blender.timeline import compat
from wan_blender.timeline.background import BackgroundExport
from wan_blender.timeline.shot import read_shot

REPO = Path(__file__).parents[3]
PATIENCE_S = 120


def finish(export):
    """Poll to the end; the fractions seen."""
    seen, deadline = [], time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        finished, fraction = export.poll()
        seen.append(fraction)
        if finished:
            return seen
        time.sleep(0.02)
    raise AssertionError("the export did not end")


def run(timeline, strip):
    """Export in the background; (Shot, plate frames, mask frames)."""
    job = timeline.folder / "a job ü"
    export, before = BackgroundExport(), timeline.snapshot()
    export.start(read_shot(timeline.scene, strip), job)
    finish(export)
    shot = export.result()
    assert timeline.snapshot() == before
    assert sorted(path.name for path in job.iterdir()) == ["mask", "plate"]
    plate = [media.read_png(path) for path in sorted((job / "plate").iterdir())]
    mask = [media.read_png(path) for path in sorted((job / "mask").iterdir())]
    return shot, plate, mask


def add_plate(timeline, count=3):
    strip = timeline.add_image(media.write_sequence(timeline.folder / "s", count))
    timeline.add_mask(length=count)
    return strip


def test_unsaved_file_with_unsaved_changes_is_exported(timeline, bpy):
    strip = add_plate(timeline)
    shot, plate, mask = run(timeline, strip)
    assert (bpy.data.filepath, shot.strip, shot.frame_count) == ("", "plate", 3)
    for index, frame in enumerate(plate):
        np.testing.assert_array_equal(frame, media.frame(index))
        assert mask[index].min() == 65535


def test_relative_paths_still_lead_to_the_media(timeline, bpy):
    blend = timeline.folder / "deep" / "er" / "film.blend"
    blend.parent.mkdir(parents=True)
    strip = add_plate(timeline)
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    strip.directory = "//../../s/"
    shot, plate, _ = run(timeline, strip)
    assert (bpy.data.filepath, strip.directory) == (str(blend), "//../../s/")
    np.testing.assert_array_equal(plate[2], media.frame(2))
    assert shot.bit_depth == 8


def test_linked_scene_and_mask_are_exported(timeline, bpy):
    """A library in another folder, with paths relative to itself."""
    library = timeline.folder / "lib" / "lib.blend"
    media.write_png(library.parent / "inner.png", media.frame(7))
    other = bpy.data.scenes.new("Other")
    other.render.resolution_x, other.render.resolution_y = 64, 48
    inner = other.sequence_editor_create().strips.new_image("i", "//inner.png", 1, 1)
    inner.directory = "//"
    other.frame_end = 5
    other.use_fake_user = timeline.make_mask().use_fake_user = True
    bpy.ops.wm.save_as_mainfile(filepath=str(library), relative_remap=False)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    timeline.scene = scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = 64, 48
    scene.sequence_editor_create()
    bpy.ops.wm.save_as_mainfile(filepath=str(timeline.folder / "film.blend"))
    with bpy.data.libraries.load(str(library), link=True, relative=True) as (_, wanted):
        wanted.scenes, wanted.masks = ["Other"], ["Mask"]
    strip = timeline.strips.new_scene("plate", bpy.data.scenes["Other", "//lib/lib.blend"], 1, 1)
    strip.scene_input = "SEQUENCER"
    compat.set_length(strip, 1)
    timeline.strips.new_mask("matte", bpy.data.masks[0], 3, 1)
    _, plate, mask = run(timeline, strip)
    np.testing.assert_array_equal(plate[0][..., :3], media.frame(7))
    assert mask[0].min() == 65535


def test_packed_data_is_exported(timeline, bpy):
    fonts = Path(bpy.utils.system_resource("DATAFILES")) / "fonts"
    copy = timeline.folder / "font.woff2"
    copy.write_bytes(next(fonts.glob("*Mono*")).read_bytes())
    font = bpy.data.fonts.load(str(copy))
    font.pack()
    copy.unlink()
    strip = timeline.add_effect("TEXT")
    strip.text, strip.font, strip.font_size = "Wan", font, 20
    timeline.add_mask(length=4)
    _, wanted, _ = timeline.export(strip)
    _, plate, _ = run(timeline, strip)
    assert wanted[0][..., 3].max() == 255
    np.testing.assert_array_equal(plate[0], wanted[0])


def test_fraction_rises_to_the_end(timeline):
    strip = add_plate(timeline, 60)
    export = BackgroundExport()
    export.start(read_shot(timeline.scene, strip), timeline.folder / "job")
    seen = finish(export)
    export.result()
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert len(set(seen)) > 4


def test_childs_error_is_raised_as_it_was(timeline):
    strip = add_plate(timeline)
    timeline.strips["matte"].blend_alpha = 0
    export = BackgroundExport()
    export.start(read_shot(timeline.scene, strip), timeline.folder / "job")
    finish(export)
    with pytest.raises(EmptyMask, match="empty on all 3 frames"):
        export.result()
    assert list((timeline.folder / "job").iterdir()) == []


def test_cancel_ends_the_child_and_removes_everything(timeline):
    strip = add_plate(timeline, 100)
    export = BackgroundExport()
    export.start(read_shot(timeline.scene, strip), timeline.folder / "job")
    while export.poll()[1] == 0:
        time.sleep(0.02)
    pid = export._child.pid
    export.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert list((timeline.folder / "job").iterdir()) == []


def test_killed_child_is_an_error_with_its_last_words(timeline):
    strip = add_plate(timeline, 100)
    export = BackgroundExport()
    export.start(read_shot(timeline.scene, strip), timeline.folder / "job")
    while export.poll()[1] == 0:
        time.sleep(0.02)
    export._child.kill()
    finish(export)
    with pytest.raises(EngineDied, match="code -9"):
        export.result()
    assert not (timeline.folder / "job" / "export").exists()


def test_child_leaves_a_job_that_can_run_without_this_blender(timeline):
    strip = add_plate(timeline)
    folder = timeline.folder / "jöb"
    export = BackgroundExport()
    settings = Job(Shot(), Prompt("a kite"))
    export.start(read_shot(timeline.scene, strip), folder, settings=settings)
    while not (folder / "job.json").exists():
        assert not export.poll()[0]
        time.sleep(0.02)
    written = job.read(folder)
    assert len(job.frame_files(folder, written)[0]) == 3
    finish(export)
    assert not (folder / "export").exists()
    assert written.shot == export.result()
    assert written.prompt.text == "a kite"


HOST = """
import sys, time
sys.path.insert(0, {repo!r})
import bpy
from pathlib import Path
from wan_blender.timeline.background import BackgroundExport
from wan_blender.timeline.shot import read_shot
bpy.ops.wm.open_mainfile(filepath={blend!r})
export = BackgroundExport()
export.start(read_shot(bpy.context.scene, "plate"), Path({job!r}))
while export.poll()[1] == 0:
    time.sleep(0.02)
print("child", export._child.pid, flush=True)
time.sleep(600)
"""


def test_child_ends_when_its_host_is_killed(timeline, bpy):
    add_plate(timeline, 200)
    blend, job = timeline.folder / "film.blend", timeline.folder / "job"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    script = HOST.format(repo=str(REPO), blend=str(blend), job=str(job))
    host = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    line = next(text for text in host.stdout if text.startswith("child"))
    host.kill()
    host.wait()
    host.stdout.close()
    pid, deadline = int(line.split()[1]), time.monotonic() + PATIENCE_S
    while is_alive(pid):
        assert time.monotonic() < deadline, "the child outlived its host"
        time.sleep(0.05)
    assert not job.exists()
    assert blend.exists()


def is_alive(pid):
    """Whether it runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_child_runs_no_code_from_where_blender_was_started(timeline, bpy, tmp_path, monkeypatch):
    strip = add_plate(timeline)
    here, mark = tmp_path / "project", tmp_path / "it ran"
    for folder in (here, here / "wan_jobs" / "job", here / "wan_jobs" / "job" / "export"):
        folder.mkdir(parents=True)
        for name in ("json", "numpy", "wan_blender", "shutil", "bpy", "sitecustomize"):
            (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write({name!r})\n")
    bpy.ops.wm.save_as_mainfile(filepath=str(here / "shot.blend"))
    monkeypatch.chdir(here)
    export = BackgroundExport()
    export.start(read_shot(timeline.scene, strip), here / "wan_jobs" / "job")
    finish(export)
    assert export.result().frame_count == 3
    assert not mark.exists()
