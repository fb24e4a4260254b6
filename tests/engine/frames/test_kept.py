# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames that are kept and read ahead, and the encoder of what is written."""

import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from wan_blender.engine.frames.files import encode_png, read_png, write_png
from wan_blender.engine.frames.kept import AHEAD, GrayFrame, KeptFrames, ahead

RNG = np.random.default_rng(0)
FRAME = np.zeros(100, np.uint8)


def counting():
    calls, lock = [], threading.Lock()

    def read(index):
        with lock:
            calls.append(index)
        return FRAME + index

    return calls, read


def test_each_frame_is_read_once_where_there_is_room():
    calls, read = counting()
    frames = KeptFrames(read, 12, room=10_000)
    with ThreadPoolExecutor(4) as pool:
        asked = [*range(12), *reversed(range(12)), 5, 5, 0]
        for index, frame in zip(asked, pool.map(frames.__getitem__, asked), strict=True):
            assert (frame == index).all()
    assert sorted(calls) == list(range(12))


def test_what_has_no_room_is_read_at_each_pass():
    calls, read = counting()
    frames = KeptFrames(read, 10, room=4 * FRAME.nbytes)
    for _ in range(3):
        for index in range(10):
            assert (frames[index] == index).all()
    assert sorted(calls) == sorted([*range(4), *(3 * list(range(4, 10)))])


def test_frames_are_read_before_they_are_asked_for():
    wanted = threading.Event()

    def read(index):
        if index == AHEAD:
            wanted.set()
        return FRAME

    frames = KeptFrames(read, 10, room=0)
    frames[0]
    assert wanted.wait(20)


def test_frame_that_cannot_be_read_is_told_when_it_is_asked_for():
    faults = [OSError("gone")]

    def read(index):
        if index == 1 and faults:
            raise faults[0]
        return FRAME

    frames = KeptFrames(read, 3, room=1000)
    frames[0]
    with pytest.raises(OSError, match="gone"):
        frames[1]
    faults.clear()
    assert frames[1] is FRAME


@pytest.mark.parametrize("seed", range(20))
def test_part_of_a_gray_frame_is_that_part(seed):
    rng = np.random.default_rng(seed)
    frame = np.zeros((20, 30), np.uint16)
    y, x = rng.integers(0, 20), rng.integers(0, 30)
    frame[y : y + rng.integers(0, 9), x : x + rng.integers(0, 9)] = rng.integers(0, 65536)
    (top, bottom), (left, right) = np.sort(rng.integers(0, 21, 2)), np.sort(rng.integers(0, 31, 2))
    for part in (np.s_[top:bottom, left:right], np.s_[:, :]):
        np.testing.assert_array_equal(GrayFrame.of(frame).part(part), frame[part])


def test_items_are_made_while_the_one_before_is_worked_with():
    made = [threading.Event() for _ in range(4)]

    def items():
        for number, event in enumerate(made):
            event.set()
            yield number

    seen = []
    for number in ahead(items()):
        seen.append(number)
        assert number == 3 or made[number + 1].wait(20)
    assert seen == [0, 1, 2, 3]


def test_error_on_the_way_ahead_is_raised():
    def items():
        yield 1
        raise ValueError("no more")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="no more"):
        next(found)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (5, 7, 3), (1, 9, 4), (33, 17, 4)])
def test_png_is_what_was_written(tmp_path, shape, dtype):
    for frame in (
        RNG.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True),
        np.zeros(shape, dtype),
        np.full(shape, np.iinfo(dtype).max, dtype),
    ):
        write_png(tmp_path / "frame.png", frame)
        read = read_png(tmp_path / "frame.png")
        assert read.dtype == dtype
        np.testing.assert_array_equal(read, frame)


def test_png_of_part_of_an_array_is_that_part():
    frame = RNG.integers(0, 65536, (20, 30, 3), np.uint16)
    part = frame[3:9, 4:20]
    read = cv2.imdecode(np.frombuffer(encode_png(part), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read[..., ::-1], part)
