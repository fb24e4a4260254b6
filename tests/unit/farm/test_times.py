# SPDX-License-Identifier: GPL-3.0-or-later
"""What tells jobs apart, and how long they take by what earlier ones took."""

import json

import pytest

from wan_blender.core import job as jobs
from wan_blender.core import settings
from wan_blender.core.answers.report import Report
from wan_blender.farm.times import Times, guess_cost, name_model, read_times


def test_model_name_and_cost_tell_jobs_apart():
    def job(**values):
        made = settings.Job(settings.Shot(width=100, height=100, frame_count=10))
        for name, value in values.items():
            group, _, key = name.partition("__")
            setattr(getattr(made, group), key, value)
        return made

    assert name_model(job()) == name_model(job(sampling__seed=3, prompt__text="x"))
    assert name_model(job()) != name_model(job(model__path="nano/i2v"))
    assert name_model(job()) != name_model(job(model__dtype="float16"))
    assert guess_cost(job(sampling__steps=40)) == pytest.approx(2 * guess_cost(job()))
    assert guess_cost(job(sampling__guidance=1)) == pytest.approx(guess_cost(job()) / 2)


def report(**seconds):
    return Report(seconds=seconds)


def test_times_are_learned_from_reports_and_empty_ones_teach_nothing():
    times = Times()
    assert (times.seconds("", 4.0), times.load_s(), times.rate()) == (None, None, None)
    times.learn("", 2.0, report(loading=7, denoising=4, decoding=2))
    times.learn("", 2.0, report())
    assert times.seconds("", 4.0) == 12
    assert times.seconds("never seen", 4.0) is None
    assert (times.load_s(), times.load_s("never seen"), times.rate()) == (7, None, 3)


def test_times_of_a_folder_are_those_of_its_finished_jobs(tmp_path):
    made = settings.Job(settings.Shot(width=100, height=100, frame_count=10))
    for number, seconds in enumerate((1.0, 3.0, 50.0, None)):
        folder = jobs.create(tmp_path / str(number), made)
        if seconds:
            (folder / "result").mkdir()
            told = {"seconds": {"denoising": seconds}}
            (folder / "result" / "report.json").write_text(json.dumps(told))
    (tmp_path / "2" / "job.json").write_text("{")
    times = read_times(sorted(tmp_path.iterdir()))
    assert times.seconds(name_model(made), guess_cost(made)) == pytest.approx(2.0)
