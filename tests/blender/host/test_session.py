# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs from submit to strip in real bpy, with a real child process as the engine."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.blender.drawn import Drawn


@pytest.fixture
def session(part, stub_engine, tmp_path):
    part("host.preferences").get().jobs = str(tmp_path / "jobs")
    return part("host.state").host().session


def generate(addon, prompt: str = "a ball"):
    addon.context.scene.wan.prompt.text = prompt
    return addon.ops.wan.generate(strip="plate")


def pump(session, condition, limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, [(j.name, j.phase, j.error) for j in session.jobs]
        session.tick()
        time.sleep(0.01)


def failed_job(addon, session, prompt: str = "fail"):
    """A complete job folder whose run failed; the prompt on disk is then made harmless."""
    with pytest.raises(RuntimeError):
        generate(addon, prompt)
    return session.jobs[-1]


def rewrite_prompt(local, old: str, new: str) -> None:
    path = local.folder / "job.json"
    path.write_text(path.read_text().replace(f'"text": "{old}"', f'"text": "{new}"'))


def result_strips(scene) -> list:
    return [s for s in scene.sequence_editor.strips_all if s.type == "IMAGE"]


def test_generate_places_a_strip_over_exactly_the_plate(addon, scene, session, part):
    assert generate(addon) == {"FINISHED"}
    (strip,) = result_strips(scene)
    assert strip.channel > scene.sequence_editor.strips["plate"].channel
    compat = part("timeline.compat")
    assert (compat.start(strip), compat.length(strip)) == (11, 6)
    assert strip.name.startswith("a ball [0]")
    (local,) = session.jobs
    assert local.phase.value == "done"
    assert local.placed
    assert local.report.schema == 1


def test_generate_leaves_engine_warm_for_the_next_job(addon, scene, session):
    generate(addon)
    pid = session.engine.pid
    generate(addon, "another")
    assert session.engine.pid == pid
    assert len(result_strips(scene)) == 2


def test_failure_of_the_engine_reaches_report_panel_and_disk(addon, scene, session):
    with pytest.raises(RuntimeError, match=r"Needs 80 GB. Buy."):
        generate(addon, "fail")
    (local,) = session.jobs
    assert local.phase.value == "failed"
    assert session.error.code == "OutOfMemory"
    assert not result_strips(scene)
    assert (local.folder / "job.json").exists()


def test_killed_engine_is_named_and_the_job_runs_again(addon, scene, session):
    with pytest.raises(RuntimeError, match=r"(?s)signal 9.*about to fall"):
        generate(addon, "die")
    (local,) = session.jobs
    rewrite_prompt(local, "die", "survive")
    assert addon.ops.wan.run_job(folder=str(local.folder)) == {"FINISHED"}
    assert len(result_strips(scene)) == 1
    assert session.error is None


def test_missing_engine_says_what_to_do_and_makes_nothing(
    addon, scene, session, tmp_path, monkeypatch
):
    monkeypatch.setenv("WAN_ENGINE_PYTHON", str(tmp_path / "nowhere"))
    with pytest.raises(RuntimeError, match=r"nowhere.*cannot be run"):
        generate(addon)
    assert not session.jobs
    assert not (tmp_path / "jobs").exists()
    assert session.engine_state.value == "missing"


def test_log_that_cannot_be_written_is_not_a_missing_engine(addon, scene, session, tmp_path):
    session.log = tmp_path / "engine.log"
    session.log.mkdir()
    with pytest.raises(
        RuntimeError, match=r"engine.log\) while opening the engine's log.*Free some"
    ):
        generate(addon)
    assert session.engine_state.value == "stopped"
    session.log.rmdir()
    assert generate(addon) == {"FINISHED"}


def test_engine_that_cannot_start_fails_the_job_once(addon, scene, session, monkeypatch):
    monkeypatch.setenv("STUB_ENGINE", "broken")
    with pytest.raises(RuntimeError, match=r"cannot run .*No module named 'torch'.*Install Engine"):
        generate(addon)
    assert session.engine_state.value == "missing"
    assert session.jobs[0].phase.value == "failed"


def test_empty_mask_leaves_no_folder_behind(addon, scene, session, tmp_path):
    addon.data.masks["Square"].layers[0].alpha = 0.0
    with pytest.raises(RuntimeError, match=r"empty|nothing"):
        generate(addon)
    assert not session.jobs
    deadline = time.monotonic() + 5
    while list((tmp_path / "jobs").glob("*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not list((tmp_path / "jobs").glob("*"))


def test_no_mask_says_how_to_make_one(addon, scene, session):
    scene.sequence_editor.strips.remove(scene.sequence_editor.strips["matte"])
    with pytest.raises(RuntimeError, match="No mask lies over strip 'plate'"):
        generate(addon)


def test_job_folder_that_is_a_file_is_an_os_message(addon, scene, session, part, tmp_path):
    (tmp_path / "file").write_text("")
    part("host.preferences").get().jobs = str(tmp_path / "file")
    with pytest.raises(RuntimeError, match="creating the job folder"):
        generate(addon)
    assert not session.jobs


def test_cancel_ends_a_running_job_and_leaves_nothing_half_done(addon, scene, session):
    local = failed_job(addon, session)
    rewrite_prompt(local, "fail", "slow")
    local = session.run_folder(local.folder)
    pump(session, lambda: local.progress and local.progress.step > 1)
    assert addon.ops.wan.cancel(folder=str(local.folder)) == {"FINISHED"}
    assert local.cancelling
    pump(session, lambda: not local.active)
    assert local.phase.value == "cancelled"
    assert session.error is None
    assert local not in session.jobs
    assert not (local.folder / "result").exists()
    assert session.engine_state.value == "ready"


def test_cancelled_job_runs_again(addon, scene, session):
    test_cancel_ends_a_running_job_and_leaves_nothing_half_done(addon, scene, session)
    (folder,) = (p.parent for p in Path(session_jobs(addon)).glob("*/job.json"))
    (folder / "job.json").write_text((folder / "job.json").read_text().replace("slow", "calm"))
    assert (folder / "cancel").exists()
    addon.ops.wan.run_job(folder=str(folder))
    assert not (folder / "cancel").exists()
    assert len(result_strips(scene)) == 1


def session_jobs(addon) -> str:
    return addon.context.preferences.addons["bl_ext.user_default.wan_blender"].preferences.jobs


def test_second_job_waits_and_can_be_dropped(addon, scene, session):
    first, second = failed_job(addon, session), failed_job(addon, session)
    rewrite_prompt(first, "fail", "slow")
    first, second = session.run_folder(first.folder), session.run_folder(second.folder)
    pump(session, lambda: first.phase.value == "running")
    assert second.phase.value == "queued"
    session.cancel(second)
    assert second.phase.value == "cancelled"
    assert first.active


def finished_elsewhere(addon, session, disturb):
    """A job that runs while ``disturb()`` changes the file under it."""
    local = failed_job(addon, session)
    rewrite_prompt(local, "fail", "fine")
    local = session.run_folder(local.folder)
    disturb()
    pump(session, lambda: not local.active and not local.wants_placing)
    return local


def test_result_of_a_file_that_was_left_stays_to_be_placed(addon, scene, session, part, tmp_path):
    addon.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    local = finished_elsewhere(addon, session, lambda: addon.ops.wm.read_homefile(use_empty=True))
    assert local.phase.value == "done"
    assert not local.placed
    assert "not in this file any more" in str(session.error)
    here = addon.context.scene
    assert here.sequence_editor is None or not here.sequence_editor.strips
    here.frame_current = 5
    assert addon.ops.wan.place_result(folder=str(local.folder), here=True) == {"FINISHED"}
    (strip,) = result_strips(here)
    assert part("timeline.compat").start(strip) == 5
    assert local.placed


def test_result_of_a_deleted_plate_stays_to_be_placed(addon, scene, session):
    strips = scene.sequence_editor.strips
    local = finished_elsewhere(addon, session, lambda: strips.remove(strips["plate"]))
    assert not local.placed
    assert not result_strips(scene)
    with pytest.raises(RuntimeError, match="not in this file any more"):
        addon.ops.wan.place_result(folder=str(local.folder))


def test_result_of_a_deleted_scene_does_not_land_in_another(addon, scene, session):
    def disturb():
        other = addon.data.scenes.new("Other")
        other.sequence_editor_create()
        addon.data.scenes.remove(addon.data.scenes[scene_name])

    scene_name = scene.name
    local = finished_elsewhere(addon, session, disturb)
    assert not local.placed
    assert not result_strips(addon.data.scenes["Other"])


def test_result_finds_its_shot_after_save_and_reload(addon, scene, session, tmp_path):
    path = str(tmp_path / "ü file.blend")
    addon.ops.wm.save_as_mainfile(filepath=path)

    def disturb():
        addon.ops.wm.save_mainfile()
        addon.ops.wm.open_mainfile(filepath=path)

    local = finished_elsewhere(addon, session, disturb)
    assert local.placed
    assert len(result_strips(addon.context.scene)) == 1


def test_earlier_results_are_found_once(addon, scene, session, part, tmp_path):
    placed = failed_job(addon, session)
    rewrite_prompt(placed, "fail", "fine")
    addon.ops.wan.run_job(folder=str(placed.folder))
    open_end = finished_elsewhere(
        addon, session, lambda: scene.sequence_editor.strips.remove(
            scene.sequence_editor.strips["plate"]
        )
    )  # fmt: skip
    session.jobs.clear()  # as after a restart
    addon.ops.wan.find_results()
    addon.ops.wan.find_results()
    assert [local.folder for local in session.jobs] == [open_end.folder]
    assert session.jobs[0].phase.value == "done"
    addon.ops.wan.dismiss_job(folder=str(open_end.folder))
    addon.ops.wan.find_results()
    assert not session.jobs


def test_result_placed_in_a_file_that_was_not_saved_is_found_again(
    addon, scene, session, part, tmp_path
):
    blend = str(tmp_path / "a b.blend")
    addon.ops.wm.save_as_mainfile(filepath=blend)
    generate(addon)
    addon.ops.wan.find_results()
    assert session.jobs[0].placed
    addon.ops.wm.open_mainfile(filepath=blend)  # as after a crash
    session.jobs.clear()
    addon.ops.wan.find_results()
    (found,) = session.jobs
    assert not found.placed
    assert part("timeline.place").find_place(found.placement) == addon.context.scene
    addon.ops.wan.place_result(folder=str(found.folder))
    assert len(result_strips(addon.context.scene)) == 1
    session.jobs.clear()
    addon.ops.wan.find_results()
    assert not session.jobs


def test_result_of_a_file_that_was_not_saved_yet_is_found_once_it_is(
    addon, scene, session, part, tmp_path, monkeypatch
):
    preferences = part("host.preferences")
    preferences.get().jobs = ""
    monkeypatch.setattr(preferences, "data_folder", lambda: tmp_path / "data")
    failed_job(addon, session)
    assert session.jobs[0].folder.parent == tmp_path / "data" / "jobs"
    addon.ops.wm.save_as_mainfile(filepath=str(tmp_path / "cut.blend"))
    failed_job(addon, session)
    assert session.jobs[1].folder.parent == tmp_path / "wan_jobs"
    folders = {local.folder for local in session.jobs}
    session.jobs.clear()
    addon.ops.wan.find_results()
    assert {local.folder for local in session.jobs} == folders


def test_job_of_another_blender_is_neither_found_nor_run(addon, scene, session, part):
    local = failed_job(addon, session)
    rewrite_prompt(local, "fail", "slow")
    (local.folder / "state.jsonl").unlink()  # so far it was only exported
    session.jobs.clear()
    code = f"import fcntl, time; f = open({str(local.folder / 'lock')!r}, 'a'); fcntl.flock(f, 2)"
    other = subprocess.Popen(
        [sys.executable, "-c", f"{code}; print('held', flush=True); time.sleep(600)"],
        stdout=subprocess.PIPE,
    )
    with other:
        try:
            assert other.stdout.readline() == b"held\n"
            addon.ops.wan.find_results()
            assert not session.jobs
            with pytest.raises(RuntimeError, match=r"works on the job in .*Wait for its end"):
                addon.ops.wan.run_job(folder=str(local.folder))
        finally:
            other.kill()
    addon.ops.wan.find_results()
    assert [j.folder for j in session.jobs] == [local.folder]


def test_interrupted_job_is_found_and_runs(addon, scene, session):
    local = failed_job(addon, session)
    rewrite_prompt(local, "fail", "slow")
    local = session.run_folder(local.folder)
    pump(session, lambda: local.progress)
    session.engine.kill()  # and Blender with it, as far as this folder knows
    session.jobs.clear()
    addon.ops.wan.find_results()
    (found,) = session.jobs
    assert found.phase.value == "failed"
    assert "interrupted" in str(found.error)


def test_disabling_the_addon_ends_the_engine_and_keeps_the_job(addon, scene, session):
    import addon_utils

    local = failed_job(addon, session)
    rewrite_prompt(local, "fail", "slow")
    local = session.run_folder(local.folder)
    pump(session, lambda: local.progress)
    pid = session.engine.pid
    addon_utils.disable("bl_ext.user_default.wan_blender")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert (local.folder / "job.json").exists()
    addon_utils.enable("bl_ext.user_default.wan_blender", default_set=True)


def test_stopping_the_engine_fails_its_jobs_and_frees_it(addon, scene, session):
    local = failed_job(addon, session)
    rewrite_prompt(local, "fail", "slow")
    local = session.run_folder(local.folder)
    pump(session, lambda: local.progress)
    addon.ops.wan.stop_engine()
    assert local.phase.value == "failed"
    assert "stopped" in str(local.error)
    assert session.engine_state.value == "stopped"


def test_engine_lets_go_of_what_it_holds_when_it_is_asked_to(addon, scene, session):
    with pytest.raises(RuntimeError, match="poll"):
        addon.ops.wan.free_memory()
    generate(addon)
    addon.ops.wan.free_memory()
    pump(session, lambda: session.engine.memory_gb == 0.25)
    assert session.engine_state.value == "ready"


def test_engine_is_told_before_each_job_how_much_it_may_keep(
    addon, scene, session, part, monkeypatch
):
    sent, process = [], part("process.engine").EngineProcess
    send = process.send
    monkeypatch.setattr(process, "send", lambda *told: (sent.append(told[1]), send(*told)))
    preferences = part("host.preferences").get()
    for gigabytes in (7.5, 0.0):
        preferences.cache_gb = gigabytes
        generate(addon)
    preferences.property_unset("cache_gb")
    assert [told.gigabytes for told in sent if hasattr(told, "gigabytes")] == [7.5, 0.0]
    kinds = [type(told).__name__ for told in sent if type(told).__name__ in ("LimitCache", "Run")]
    assert kinds == ["LimitCache", "Run"] * 2


def test_engine_that_was_installed_since_takes_the_next_job(
    addon, scene, session, part, monkeypatch, stub_engine
):
    generate(addon)
    before = session.engine
    session.start_engine()
    assert session.engine is before
    newer = stub_engine.with_name("newer")
    newer.write_bytes(stub_engine.read_bytes())
    newer.chmod(0o755)
    monkeypatch.setenv("WAN_ENGINE_PYTHON", str(newer))
    generate(addon)
    assert session.engine.python == newer
    assert len(result_strips(scene)) == 2
    assert before.state.value == "stopped"


def test_engine_killed_while_idle_is_seen_and_replaced(addon, scene, session):
    generate(addon)
    os.kill(session.engine.pid, signal.SIGKILL)
    pump(session, lambda: session.engine_state.value == "failed")
    assert session.error.code == "EngineDied"
    generate(addon)
    assert len(result_strips(scene)) == 2
    assert session.error is None


def test_nonsense_folders_give_one_message_each(addon, scene, session, tmp_path):
    with pytest.raises(RuntimeError, match="not a job folder"):
        addon.ops.wan.run_job(folder=str(tmp_path))
    local = failed_job(addon, session)
    (local.folder / "job.json").write_text('{"schema": 1, "shot": {"width": "wide"}}')
    with pytest.raises(RuntimeError, match=r"shot\.width is 'wide'"):
        addon.ops.wan.run_job(folder=str(local.folder))
    (local.folder / "job.json").write_text('{"schema": 99}')
    with pytest.raises(RuntimeError, match="schema version 99"):
        addon.ops.wan.run_job(folder=str(local.folder))


def test_spoilt_folders_do_not_hide_the_others(addon, scene, session):
    jobs = [failed_job(addon, session) for _ in range(3)]
    written = (jobs[0].folder / "job.json").read_text()
    (jobs[0].folder / "job.json").write_text(written.replace('"euler"', '["euler"]'))
    (jobs[1].folder / "origin.json").write_text("[" * 100_000)
    session.jobs.clear()
    addon.ops.wan.find_results()
    assert [local.folder for local in session.jobs] == [jobs[2].folder]
    with pytest.raises(RuntimeError, match=r"sampling.solver is \['euler'\]"):
        addon.ops.wan.run_job(folder=str(jobs[0].folder))


def test_recipe_of_a_strip_runs_again_with_its_own_settings(addon, scene, session, part):
    scene.wan.sampling.seed = 7
    scene.wan.sampling.guidance = 2.5
    choice = part("timeline.mattes").MatteChoice("mask:Square", "luma", "add")
    part("host.properties").choose_mattes(scene, "plate", [choice])
    generate(addon, "a ball")
    (strip,) = result_strips(scene)
    scene.wan.sampling.seed, scene.wan.sampling.guidance = 1, 5.0
    scene.wan.prompt.text = "something else"
    scene.wan.mattes.clear()
    scene.sequence_editor.active_strip = strip
    assert addon.ops.wan.run_again() == {"FINISHED"}
    assert (scene.wan.sampling.seed, scene.wan.sampling.guidance) == (7, 2.5)
    assert scene.wan.prompt.text == "a ball"
    assert [item.matte for item in scene.wan.mattes] == ["mask:Square"]
    first, second = session.jobs
    assert second.settings == first.settings
    assert second.recipe == first.recipe


def test_run_again_is_not_offered_on_other_strips(addon, scene, session):
    scene.sequence_editor.active_strip = scene.sequence_editor.strips["plate"]
    assert not addon.ops.wan.run_again.poll()


def test_compositor_of_the_jobs_own_scene_takes_the_result(addon, scene, session, part):
    generate(addon)
    (local,) = session.jobs
    addon.context.window.scene = other = addon.data.scenes.new("Other")
    folder = str(local.folder)
    assert addon.ops.wan.place_in_compositor(folder=folder) == {"FINISHED"}
    tree = part("timeline.compat").node_tree
    assert (tree(other), tree(scene) is not None) == (None, True)
    scene.sequence_editor.strips.remove(scene.sequence_editor.strips["plate"])
    addon.ops.wan.place_in_compositor(folder=folder)
    assert tree(other) is not None


def test_project_folder_can_be_moved_with_its_results(addon, scene, session, part, tmp_path):
    part("host.preferences").get().jobs = ""
    project = tmp_path / "project"
    project.mkdir()
    addon.ops.wm.save_as_mainfile(filepath=str(project / "cut.blend"))
    scene.sequence_editor.strips["plate"].select = True
    generate(addon)
    (strip,) = result_strips(scene)
    assert strip.directory.startswith("//wan_jobs/")
    assert not strip.select
    addon.ops.wm.save_mainfile()
    moved = project.rename(tmp_path / "moved")
    addon.ops.wm.open_mainfile(filepath=str(moved / "cut.blend"))
    (strip,) = result_strips(addon.context.scene)
    folder = Path(addon.path.abspath(strip.directory))
    assert folder.is_relative_to(moved)
    assert all((folder / element.filename).is_file() for element in strip.elements)


def fill_channels(addon, scene):
    for channel in range(4, 129):
        scene.sequence_editor.strips.new_mask(
            name=f"full {channel}",
            mask=addon.data.masks["Square"],
            channel=channel,
            frame_start=11,
        )


def test_full_channels_are_said_before_anything_is_exported(addon, scene, session):
    fill_channels(addon, scene)
    with pytest.raises(RuntimeError, match=r"All channels from \d+ to 128 are taken"):
        generate(addon)
    assert not session.jobs


def test_channels_that_fill_while_it_runs_keep_the_result_and_say_so(addon, scene, session):
    local = finished_elsewhere(addon, session, lambda: fill_channels(addon, scene))
    assert local.phase.value == "done"
    assert not local.placed
    assert "are taken" in str(local.error)


def test_undo_and_redo_while_it_runs_do_not_lose_the_result(addon, scene, session):
    addon.ops.ed.undo_push(message="before")
    scene.frame_end = 99
    addon.ops.ed.undo_push(message="after")

    def disturb():
        addon.ops.ed.undo()
        assert addon.context.scene.frame_end != 99
        addon.ops.ed.redo()
        addon.ops.ed.undo()

    local = finished_elsewhere(addon, session, disturb)
    assert local.placed
    assert len(result_strips(addon.context.scene)) == 1


def test_full_disk_leaves_no_job_folder(addon, scene, session, part, small_disk):
    disk = small_disk(4)  # room for a folder, not for its origin
    part("host.preferences").get().jobs = str(disk)
    with pytest.raises(RuntimeError, match=r"disk is full.*Free some space"):
        generate(addon)
    assert list(disk.iterdir()) == []
    assert not session.jobs


def test_read_only_job_folder_says_where_to_choose_another(addon, scene, session, part, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):  # root may write everywhere but in the kernel's own folders
        locked = Path("/sys")
    part("host.preferences").get().jobs = str(locked / "jobs")
    with pytest.raises(RuntimeError, match=r"jobs.*Choose a job folder you may write to"):
        generate(addon)
    assert not session.jobs


def test_bug_in_the_pump_fails_the_job_once_and_keeps_ticking(
    addon, scene, session, part, tmp_path, capsys
):
    pump = part("host.pump")
    local = failed_job(addon, session)
    local = session.run_folder(local.folder)
    local.phase, local.exporter = part("host.jobs").Phase.EXPORTING, "no exporter"
    pump.tick()
    assert local.phase.value == "failed"
    assert "AttributeError" in str(session.error)
    assert "Traceback" in capsys.readouterr().err
    pump.tick()
    assert not capsys.readouterr().err


def test_generate_panel_says_how_the_engine_is_in_each_state(addon, scene, session, part):
    generate_panel, process = part("panels.generate"), part("process.engine")
    assert set(generate_panel.ENGINE) == set(process.EngineState)
    for state, (sentence, operator, text) in generate_panel.ENGINE.items():
        session.engine = SimpleNamespace(
            state=state, ready=None, memory_gb=0.0, alive=False, stop=lambda grace_s: None
        )
        drawn = Drawn(generate_panel.WAN_PT_generate)
        assert sentence in drawn.texts
        assert drawn.operators[text].idname == operator
        offered = [each.idname for each in drawn.operators.values()]
        assert ("wan.free_memory" in offered) == (state.value == "ready")


def test_panels_draw_a_job_in_every_phase(addon, scene, session, part):
    panels = part("panels")
    plate = scene.sequence_editor.strips["plate"]
    for strip in scene.sequence_editor.strips:
        strip.select = False
    assert any(text.startswith("No strip is") for text in Drawn(panels.WAN_PT_shot).texts)
    plate.select = True
    assert {"plate", "matte"} <= set(Drawn(panels.WAN_PT_shot).texts)
    plate["wan_recipe"] = "{damaged"
    assert "wan.run_again" not in Drawn(panels.WAN_PT_shot).operators
    local = failed_job(addon, session)
    drawn = Drawn(panels.WAN_PT_generate)
    assert {"Needs 80 GB.", "Buy.", local.name, "Not finished"} <= set(drawn.texts)
    assert drawn.operators["Run"].folder == str(local.folder)
    rewrite_prompt(local, "fail", "slow")
    local = session.run_folder(local.folder)
    assert "Waiting for the engine" in Drawn(panels.WAN_PT_generate).texts
    pump(session, lambda: local.progress)
    drawn = Drawn(panels.WAN_PT_generate)
    assert any(text.startswith("Denoising") for text in drawn.texts)
    assert any(text.startswith("About 0:30") for text in drawn.texts)
    assert "Engine is working (cpu, 0.0 GB)" in drawn.texts
    assert "wan.cancel" in drawn.operators
    session.cancel(local)
    assert "Stopping after this step" in Drawn(panels.WAN_PT_generate).texts


def test_result_without_its_place_is_offered_at_the_playhead(addon, scene, session, part):
    strips, panels = scene.sequence_editor.strips, part("panels")
    local = finished_elsewhere(addon, session, lambda: strips.remove(strips["plate"]))
    for panel in (panels.WAN_PT_generate, panels.WAN_PT_results):
        place = Drawn(panel).operators["Place at Playhead"]
        assert (place.folder, place.here) == (str(local.folder), True)
    assert "Choose Place at Playhead" in str(session.error)
    addon.ops.wan.place_result(folder=place.folder, here=place.here)
    assert "Place at Playhead" not in Drawn(panels.WAN_PT_generate).operators


def test_interrupted_job_is_told_when_the_tab_is_drawn(addon, scene, session, part):
    local = failed_job(addon, session)
    (local.folder / "state.jsonl").unlink()  # as if Blender had been killed
    generate(addon, "placed")
    gone = session.jobs[-1]
    session.jobs.clear()
    scene.sequence_editor.strips.remove(result_strips(scene)[0])
    generate_panel = part("panels").WAN_PT_generate
    Drawn(generate_panel)  # which begins to look, on a thread
    deadline = time.monotonic() + 20
    while not session.jobs and time.monotonic() < deadline:
        part("host.pump").tick()
    run = Drawn(generate_panel).operators["Run"]
    assert run.folder == str(local.folder)
    assert gone.folder not in {found.folder for found in session.jobs}
    addon.ops.wan.dismiss_job(folder=run.folder)
    assert "Run" not in Drawn(generate_panel).operators  # it was looked for once


def test_many_jobs_that_wait_do_not_fill_the_tab(addon, scene, session, part):
    for _ in range(5):
        failed_job(addon, session)
    drawn = Drawn(part("panels").WAN_PT_generate)
    assert drawn.texts.count("Not finished") == 3
    assert "2 more wait under Results" in drawn.texts
    assert Drawn(part("panels").WAN_PT_results).texts.count("fail [0]") == 5


def test_shot_of_8000_frames_is_exported_and_placed_whole(addon, scene, session, part):
    compat, count = part("timeline.compat"), 8000
    scene.render.resolution_x = scene.render.resolution_y = 16
    for strip in scene.sequence_editor.strips:
        compat.set_length(strip, count)
    assert generate(addon) == {"FINISHED"}
    (local,) = session.jobs
    names = [f"{index:06d}.png" for index in range(count)]
    for folder in ("plate", "mask"):
        assert sorted(file.name for file in (local.folder / folder).iterdir()) == names
    (strip,) = result_strips(scene)
    assert (compat.start(strip), compat.length(strip)) == (11, count)
    assert [element.filename for element in strip.elements] == names
    shutil.rmtree(local.folder)  # a hundred megabytes of blocks
