# SPDX-License-Identifier: GPL-3.0-or-later
"""The short form of 60 kinds of hostile servers."""

from types import SimpleNamespace

from campaigns import servers


def test_few_servers_end_in_a_sentence(unbroken, monkeypatch):
    monkeypatch.setattr(servers, "PATIENCE_S", 2.0)
    chosen = [
        "list: HTML",
        "file: right size, wrong bytes",
        "file: drip",
        "path: '../out.json'",
        "list: body that drips",
    ]
    monkeypatch.setattr(servers, "KINDS", {kind: servers.KINDS[kind] for kind in chosen})
    short = SimpleNamespace(COUNT=len(chosen), attempts=servers.attempts)
    told = unbroken("servers", short, len(chosen))
    assert told.kinds["refused"] >= 2


def test_there_are_sixty_kinds():
    assert len(servers.KINDS) >= 60
