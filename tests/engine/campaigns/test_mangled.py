# SPDX-License-Identifier: GPL-3.0-or-later
"""The short form of 3,000 mangled files, and that it would see what it looks for."""

import time

import pytest

from campaigns import mangled


def test_few_mangled_files_end_in_a_sentence(unbroken):
    told = unbroken("mangled", mangled, 27)
    assert len({kind.rpartition(" ")[0] for kind in told.kinds}) == 9


def test_bug_is_told_from_a_sentence():
    with pytest.raises(ZeroDivisionError):
        mangled._told(lambda: 1 / 0)
    assert "ZeroDivisionError" in mangled._apart(lambda: mangled._told(lambda: 1 / 0))[0]


def test_endless_and_large_reading_is_seen(monkeypatch):
    monkeypatch.setattr(mangled, "WAIT_S", 1)
    assert "left alone" in mangled._apart(lambda: time.sleep(60) or "")[0]
    assert mangled._apart(lambda: str(len(b"x" * 300_000_000)))[2] > 0.25
