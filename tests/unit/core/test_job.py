# SPDX-License-Identifier: GPL-3.0-or-later
import json

import pytest

from wan_blender.core import errors, schema
from wan_blender.core import job as jobs
from wan_blender.core.frame_ranges import frames_in
from wan_blender.core.settings import Job, Shot


def _job():
    return Job(Shot("Clip é", "Scene", 64, 48, 24000, 1001, 10, 5, 2, 8))


def test_job_survives_writing_and_reading(tmp_path):
    job = _job()
    job.prompt.text = "ein rotes Bällchen"
    job.sampling.sigmas = [1.0, 0.5, 0.0]
    assert jobs.read(jobs.create(tmp_path / "a b é", job)) == job


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampling": {"steps": -3}}, "job.json.sampling.steps is -3; expected 1 to 1000."),
        ({"sampling": {"steps": "20"}}, "job.json.sampling.steps is '20'; expected an integer"),
        ({"sampling": {"stepps": 3}}, "job.json.sampling has no field 'stepps'. Did you mean"),
        ({"sampling": {"shift": float("nan")}}, "job.json.sampling.shift is nan"),
        ({"sampling": {"steps": True}}, "job.json.sampling.steps is True"),
        ({"sampling": {"solver": "eular"}}, "expected one of: euler"),
        ({"sampling": {"sigmas": [1, "x"]}}, "job.json.sampling.sigmas[1] is 'x'"),
        ({"sampling": []}, "job.json.sampling is []; expected an object"),
        ({"output": {"full_frames": 1}}, "job.json.output.full_frames is 1"),
        ({"prompt": {"text": None}}, "job.json.prompt.text is None; expected text"),
        ({"shot": None}, "job.json.shot is None; expected an object"),
        ({"sampling": {"solver": ["euler"]}}, "solver is ['euler']; expected one of: euler"),
        ({"sampling": {"solver": {}}}, "job.json.sampling.solver is {}; expected one of: euler"),
        ({"sampling": {"steps": 10**400}}, "expected 1 to 1000."),
        ({"sampling": {"shift": -(10**400)}}, "expected 0.01 to 100."),
        ({"sampling": {"sigmas": [10**400]}}, "job.json.sampling.sigmas[0] is 1000"),
        ({"sampling": {"sigmas": [float("inf")]}}, "job.json.sampling.sigmas[0] is inf"),
        ({"sampling": {"sigmas": [1.5, 0]}}, "sampling.sigmas[0] is 1.5; expected 0 to 1."),
        ({"model_mask": {"strengths": [1, -5]}}, "strengths[1] is -5; expected 0 to 2."),
        ({"prompt": {"text": "a \ud83d"}}, r"text is 'a \ud83d'; character 3 is not Unicode"),
        ({"prompt": {"sections": ["\udc80"]}}, "job.json.prompt.sections[0] is"),
        ({"model": {"\udc80": 1}}, r"job.json.model has no field '\udc80'"),
        ({"prompt": {"text": [[[[[[[["x"]]]]]]]]}}, "prompt.text is [[["),
        ({"schema": 99}, "schema version 99; this version reads 1"),
        ({"schema": None}, "schema version None"),
    ],
)
def test_nonsense_in_job_json_is_named(tmp_path, change, message):
    jobs.create(tmp_path, _job())
    data = json.loads((tmp_path / "job.json").read_text())
    for key, value in change.items():
        if isinstance(value, dict):
            data[key].update(value)
        else:
            data[key] = value
    (tmp_path / "job.json").write_text(json.dumps(data))
    with pytest.raises(errors.InvalidJob) as caught:
        jobs.read(tmp_path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '"x"', "{}", '{"schema": 1}', "[" * 100_000, "9" * 5000],
    ids=lambda content: content[:16],
)
def test_broken_job_json_is_an_error(tmp_path, content):
    (tmp_path / "job.json").write_text(content)
    with pytest.raises(errors.InvalidJob):
        jobs.read(tmp_path)


def test_folder_without_job_json_says_so(tmp_path):
    with pytest.raises(errors.InvalidJob, match="is not a job folder"):
        jobs.read(tmp_path)


def _frames(folder, plate, mask):
    for name, count in (("plate", plate), ("mask", mask)):
        (folder / name).mkdir()
        for i in range(count):
            (folder / name / jobs.frame_name(i)).touch()


def test_one_mask_frame_serves_every_frame(tmp_path):
    _frames(tmp_path, 5, 1)
    plate, mask = jobs.frame_files(tmp_path, _job())
    assert len(plate) == len(mask) == 5


def test_other_mask_length_says_both_numbers(tmp_path):
    _frames(tmp_path, 5, 3)
    with pytest.raises(errors.LengthMismatch, match=r"mask has 3 mask frames, the plate has 5"):
        jobs.frame_files(tmp_path, _job())


def test_missing_frame_is_named(tmp_path):
    _frames(tmp_path, 5, 5)
    (tmp_path / "mask" / "000002.png").unlink()
    with pytest.raises(errors.InvalidJob, match=r"000002.png is missing"):
        jobs.frame_files(tmp_path, _job())


def test_assign_reads_every_kind():
    job = _job()
    for path, raw in [
        ("sampling.steps", "7"),
        ("sampling.shift", "3.5"),
        ("sampling.solver", "unipc"),
        ("sampling.sigmas", "1,0.5,0"),
        ("output.full_frames", "true"),
        ("prompt.text", "a, b"),
    ]:
        schema.assign(job, path, raw)
    assert (job.sampling.steps, job.sampling.shift, job.sampling.solver) == (7, 3.5, "unipc")
    assert job.sampling.sigmas == [1.0, 0.5, 0.0]
    assert job.output.full_frames is True
    assert job.prompt.text == "a, b"


@pytest.mark.parametrize(
    ("path", "raw", "message"),
    [
        ("sampling.step", "7", "no setting 'sampling.step'. Did you mean 'sampling.steps'?"),
        ("sampling.steps", "x", "expected an integer"),
        ("sampling.steps", "9" * 5000, "expected an integer"),
        ("prompt.text", "\udc80", "not Unicode text"),
        ("loras", "[" * 100_000, "expected a list"),
        ("nothing.at.all", "1", "no setting 'nothing.at.all'"),
        ("samplin.steps", "1", "Did you mean 'sampling.steps'?"),
        ("sampling", "1", "no setting 'sampling'. It is a group of settings: sampling.seed, "),
        ("mask", "1", "It is a group of settings: mask.frames, "),
        ("output.full_frames", "maybe", "expected true or false"),
    ],
)
def test_assign_refuses_with_a_hint(path, raw, message):
    with pytest.raises(errors.InvalidJob) as caught:
        schema.assign(_job(), path, raw)
    assert message in str(caught.value)


def test_name_is_prompt_and_seed():
    job = _job()
    job.prompt.text, job.sampling.seed = "a  red\nball " + "x" * 60, 7
    assert job.name.startswith("a red ball xxx")
    assert job.name.endswith("[7]")
    assert len(job.name) < 50


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("30-32", {30, 31, 32}),
        ("38-", {38, 39, 40}),
        ("-22", {20, 21, 22}),
        ("25", {25}),
        ("25, 38..50", {25, 38, 39, 40}),
        ("0-20", {20}),
        ("-5..21", {20, 21}),
    ],
)
def test_frame_ranges_are_cut_to_the_shot(text, expected):
    assert frames_in(text, 20, 40) == expected


@pytest.mark.parametrize(
    "text",
    ["x", "1-2-3", "-", "1 2", "50-60", "9" * 5000, "1-" + "9" * 5000],
    ids=lambda text: text[:8],
)
def test_other_frame_ranges_are_refused(text):
    with pytest.raises(errors.InvalidJob, match=r"mask.frames"):
        frames_in(text, 20, 40)


def test_journal_goes_on_behind_a_torn_line(tmp_path):
    jobs.append_state(tmp_path, "created")
    with open(tmp_path / "state.jsonl", "ab") as journal:
        journal.write('{"time": 1, "event": "é'.encode()[:-1])  # the power went
    jobs.append_state(tmp_path, "failed", message="\udcff")
    jobs.append_state(tmp_path, "dismissed")
    assert len((tmp_path / "state.jsonl").read_bytes().splitlines()) == 4
    assert jobs.read_events(tmp_path) == ["created", "failed", "dismissed"]


@pytest.mark.parametrize("line", ["[", "[]", "7", "{}", '{"event": 5}', "[" * 100_000, ""])
def test_unreadable_line_of_a_journal_is_passed_over(tmp_path, line):
    jobs.append_state(tmp_path, "created")
    with open(tmp_path / "state.jsonl", "a") as journal:
        journal.write(line + "\n")
    jobs.append_state(tmp_path, "done")
    assert jobs.read_events(tmp_path) == ["created", "done"]


def test_folder_without_a_journal_has_no_events(tmp_path):
    assert jobs.read_events(tmp_path) == []
