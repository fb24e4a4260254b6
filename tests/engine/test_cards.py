# SPDX-License-Identifier: GPL-3.0-or-later
"""The card that each job of a batch wants: a property of the job, whatever machine is asked."""

import json
from dataclasses import replace

from wan_blender.core import job as jobs
from wan_blender.core.settings import Job, Prompt, Shot
from wan_blender.engine.__main__ import main
from wan_blender.engine.cards import CARDS_GB, needs_of, smallest_card
from wan_blender.engine.models.memory import Sizes


def make(folder, width=64, height=48, frames=5, prompt="", **settings):
    job = Job(Shot(width=width, height=height, frame_count=frames), Prompt(prompt))
    for name, value in settings.items():
        group, _, field = name.partition("__")
        setattr(getattr(job, group), field, value)
    return jobs.create(folder, job)


# A 14B expert in bfloat16 with its text encoder, at 81 frames of 832x480, roughly.
LARGE = Sizes(transformer=28.6, blocks=40, text_encoder=11.4, vae=0.26, call=2.6, encode=3.0,
              decode=6.0, tiled_decode=2.0, quantised=14.6)  # fmt: skip


def test_card_holds_the_run_whole_and_less_never_wants_more():
    assert smallest_card(LARGE) == 32
    assert smallest_card(replace(LARGE, transformer=27.0, call=6.0)) == 40
    assert smallest_card(replace(LARGE, transformer=500.0)) == CARDS_GB[-1]
    wanted = [smallest_card(replace(LARGE, transformer=size)) for size in (1, 5, 12, 20, 28, 60)]
    assert wanted == sorted(wanted)
    assert wanted[0] < 12  # its text encoder may run on the processor


def test_words_and_seeds_do_not_matter(tmp_path):
    folders = [make(tmp_path / "one"), make(tmp_path / "two", prompt="a kite", sampling__seed=7)]
    assert needs_of(folders) == {"one": CARDS_GB[0], "two": CARDS_GB[0]}


def test_jobs_that_cannot_be_told_are_left_out(tmp_path, capsys):
    make(tmp_path / "good")
    make(tmp_path / "elsewhere", model__path="/srv/models/wan")
    (make(tmp_path / "broken") / "job.json").write_text("{")
    assert main(["forecast", "--batch", str(tmp_path)]) == 0
    assert set(json.loads(capsys.readouterr().out)["needs_gb"]) == {"good"}
    assert main(["forecast"]) == 2
