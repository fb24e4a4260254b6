# SPDX-License-Identifier: GPL-3.0-or-later
"""A campaign is counted, goes on where it was stopped, and tries again what broke."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

from campaigns import table, tally


def campaign(fails=(), dies_at=-1, tried=None):
    tried = [] if tried is None else tried

    @contextmanager
    def attempts(work):
        def attempt(number, chance):
            tried.append((number, chance.random()))
            if number == dies_at:
                raise KeyboardInterrupt
            if number in fails:
                raise tally.Broken("a pixel changed")
            return tally.Outcome("done", {"seconds": number})

        yield attempt

    return SimpleNamespace(COUNT=10, PROMISE="all is well", MEANS="all", attempts=attempts)


def test_stopped_campaign_goes_on_with_the_same_tries(tmp_path, monkeypatch):
    monkeypatch.setattr(tally, "SAVE_S", 0)
    whole, first, second = [], [], []
    tally.run("a", campaign(tried=whole), tmp_path / "whole")
    try:
        tally.run("a", campaign(dies_at=6, tried=first), tmp_path / "parts")
    except KeyboardInterrupt:
        told = tally.run("a", campaign(tried=second), tmp_path / "parts")
    assert first[:6] + second == whole
    assert (told.done, told.kinds, told.worst) == (10, {"done": 10}, {"seconds": 9})


def test_what_broke_is_tried_again_and_told(tmp_path):
    told = tally.run("a", campaign(fails=(3, 4)), tmp_path)
    assert told.broken == dict.fromkeys(("3", "4"), "a pixel changed")
    assert "| 10 / 10 | 2 | 0 |" in table.row("a", campaign(), told)
    told = tally.run("a", campaign(fails=(4,)), tmp_path)
    assert (list(told.broken), told.mended, told.kinds) == (["4"], 1, {"done": 9})
    assert json.loads((tmp_path / "a.json").read_text())["mended"] == 1


def test_another_seed_begins_again(tmp_path):
    tally.run("a", campaign(), tmp_path, count=4)
    assert tally.load(tmp_path / "a.json", seed=0).done == 4
    assert tally.load(tmp_path / "a.json", seed=1).done == 0
