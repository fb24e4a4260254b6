# SPDX-License-Identifier: GPL-3.0-or-later
"""Batch... writes what is selected, and Results shows how a batch goes that runs elsewhere."""

import json
import time

import pytest

from tests.blender.drawn import Drawn


@pytest.fixture
def saved(addon, scene, tmp_path):
    addon.ops.wm.save_as_mainfile(filepath=str(tmp_path / "one.blend"))
    return addon.context.scene


def test_selected_strips_become_a_manifest_that_can_be_exported(addon, saved, part, tmp_path):
    saved.wan.prompt.text = 'a "red" kite'
    saved.wan.sampling.seed = 5
    strips = saved.sequence_editor.strips
    second = strips.new_effect(name="second", type="COLOR", channel=5, frame_start=1,
                               **({"length": 3} if addon.app.version >= (5, 2, 0)
                                  else {"frame_end": 4}))  # fmt: skip
    for strip in strips:
        strip.select = strip.name in ("plate", "second", "matte")
    assert second.select
    before = saved.as_pointer(), [strip.name for strip in strips]
    assert addon.ops.wan.write_batch(filepath=str(tmp_path / "b"), takes=2) == {"FINISHED"}
    assert (saved.as_pointer(), [strip.name for strip in strips]) == before
    plan = part("farm.manifest").read_manifest(tmp_path / "b.toml")
    assert [shot.strip for shot in plan.shots] == ["second", "plate"]
    assert [cell.settings["sampling.seed"] for cell in plan.cells] == [5, 6, 5, 6]
    assert plan.cells[0].settings["prompt.text"] == 'a "red" kite'
    assert plan.blend(plan.shots[0]) == tmp_path / "one.blend"


def test_batch_needs_a_saved_file_and_a_strip(addon, scene, part, tmp_path):
    assert not addon.ops.wan.write_batch.poll()
    addon.ops.wm.save_as_mainfile(filepath=str(tmp_path / "one.blend"))
    for strip in addon.context.scene.sequence_editor.strips:
        strip.select = False
    assert not addon.ops.wan.write_batch.poll()


def make(folder, name, *events):
    (folder / name).mkdir(parents=True)
    (folder / name / "job.json").write_text("{}")
    lines = [json.dumps({"event": event, **more}) for event, more in events]
    (folder / name / "state.jsonl").write_text("\n".join(lines))


def finish(folder):
    (folder / "result").mkdir()
    (folder / "result" / "report.json").write_text("{}")


def seen(watch, until):
    """The view once ``until`` holds of it; the thread looks by itself."""
    deadline = time.monotonic() + 60
    while not (watch.view and until(watch.view)):
        assert time.monotonic() < deadline, watch.error
        time.sleep(0.01)
    return watch.view


def test_results_show_how_a_batch_goes(addon, scene, part, tmp_path, monkeypatch):
    watching, board = part("host.batch_watch"), part("farm.board")
    monkeypatch.setattr(watching, "PAUSE_S", 0.01)
    b = tmp_path / "b"
    make(b, "a")
    make(b, "c", ("failed", {"code": "EmptyMask", "message": "The mask is empty.", "hint": ""}))
    assert addon.ops.wan.follow_batch(directory=str(b)) == {"FINISHED"}
    watch = part("host.state").host().batch
    view = seen(watch, lambda view: True)
    assert view.counts == {"waiting": 1, "failed": 1}
    texts = Drawn(part("panels.results").WAN_PT_results).texts
    assert "The mask is empty." in texts
    assert "No engine is running it" in texts
    with part("farm.driver").hold_batch(b):
        board.write_board(b, board.Board((board.EngineLine("gpu7", "denoising", "a", 0.5),), 65))
        seen(watch, lambda view: view.board)
        texts = Drawn(part("panels.results").WAN_PT_results).texts
        assert "gpu7" in texts
        assert "Denoising: a" in texts
        assert "About 1:05 left" in texts
    finish(b / "a")
    assert seen(watch, lambda view: view.counts.get("done")).done == 0.5
    addon.ops.wan.leave_batch()
    assert not watch.running
    assert part("host.state").host().batch is None


def test_folder_that_is_no_batch_is_told(addon, scene, part, tmp_path, monkeypatch):
    monkeypatch.setattr(part("host.batch_watch"), "PAUSE_S", 0.01)
    with pytest.raises(RuntimeError, match="There is no folder"):
        addon.ops.wan.follow_batch(directory=str(tmp_path / "nowhere"))
    addon.ops.wan.follow_batch(directory=str(tmp_path))
    watch = part("host.state").host().batch
    while watch.error is None:
        time.sleep(0.01)
    assert "holds no jobs" in str(watch.error)
    make(tmp_path, "a")
    seen(watch, lambda view: view.counts == {"waiting": 1})
    assert watch.error is None


def test_jobs_are_listed_by_the_page_what_needs_a_look_first(addon, scene, part, tmp_path):
    b = tmp_path / "b"
    for number in range(25):
        make(b, f"{number:02d}")
    (b / "24" / "state.jsonl").write_text('{"event": "failed"}')
    addon.ops.wan.follow_batch(directory=str(b))
    watch = part("host.state").host().batch
    seen(watch, lambda view: True)
    pages = []
    for _ in range(3):
        pages += [status.folder.name for status in watch.listed]
        addon.ops.wan.turn_batch_page(pages=1)
    assert (pages[0], watch.pages, watch.page) == ("24", 3, 2)
    assert sorted(pages) == [f"{number:02d}" for number in range(25)]
