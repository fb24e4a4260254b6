# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a batch is, as others see it: only while it is driven, and whatever lies in the file."""

import json
import os

import pytest

from wan_blender.farm.board import BOARD, Board, BoardWriter, EngineLine, read_board, write_board
from wan_blender.farm.driver import hold_batch

SHOWN = Board((EngineLine("engine 1", "denoising", "a-s3", 0.25),), 12.5)


def test_board_is_seen_while_the_batch_is_driven_and_not_after(tmp_path):
    with hold_batch(tmp_path):
        with BoardWriter(tmp_path, lambda: SHOWN):
            while (seen := read_board(tmp_path)) is None:
                pass
            assert seen == SHOWN
        assert not (tmp_path / BOARD).exists()
    write_board(tmp_path, SHOWN)  # of a driver that was killed
    assert read_board(tmp_path) is None


@pytest.mark.parametrize(
    "spoilt",
    ["", "[]", "{", '{"engines": 3, "left_s": 1}', '{"engines": [[]], "left_s": 1}',
     '{"engines": [{}], "left_s": 1}', '{"engines": [], "left_s": "soon"}', "[" * 100_000],
)  # fmt: skip
def test_file_that_is_no_board_is_none(tmp_path, spoilt):
    (tmp_path / BOARD).write_text(spoilt)
    with hold_batch(tmp_path):
        assert read_board(tmp_path) is None


def test_foreign_board_is_read_within_bounds(tmp_path):
    line = {"name": "x" * 400, "state": "y", "job": 7, "fraction": 1e9}
    (tmp_path / BOARD).write_text(json.dumps({"engines": [line] * 2000, "left_s": 1}))
    with hold_batch(tmp_path):
        board = read_board(tmp_path)
    assert (len(board.engines), len(board.engines[0].name)) == (1000, 300)
    assert board.engines[0].fraction == 1
    (tmp_path / BOARD).unlink()
    os.mkfifo(tmp_path / BOARD)
    with hold_batch(tmp_path):
        assert read_board(tmp_path) is None
