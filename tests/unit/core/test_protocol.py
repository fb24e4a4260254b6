# SPDX-License-Identifier: GPL-3.0-or-later
import pytest

from wan_blender.core import errors, protocol
from wan_blender.core.answers.report import Report


@pytest.mark.parametrize(
    "message",
    [
        protocol.Run("/tmp/ä b\nc"),
        protocol.Cancel("x"),
        protocol.Shutdown(),
        protocol.Hello(1, "0.1", "3.11", 42),
        protocol.Ready("2.13", "cpu"),
        protocol.FreeMemory(),
        protocol.MemoryFreed(0.5),
        protocol.Progress("x", "denoising", 3, 20, 0.5, 12.0),
        protocol.Done("x", "x/result", Report(7, loras_skipped={"a": ("b",)})),
        protocol.Failed("x", {"code": "EmptyMask", "message": "m", "hint": "h"}),
    ],
)
def test_message_survives_one_line(message):
    line = protocol.encode(message)
    assert "\n" not in line
    assert protocol.decode(line) == message


@pytest.mark.parametrize(
    "line", ["", "hello", "[]", "{}", '{"kind": "Nope"}', '{"kind": "Run"}', '{"kind":"Run","j":1}']
)
def test_other_lines_are_protocol_errors(line):
    with pytest.raises(errors.ProtocolError):
        protocol.decode(line)


def test_errors_keep_their_kind_across_the_pipe():
    error = errors.from_dict(errors.EmptyMask("m", "h").to_dict())
    assert isinstance(error, errors.EmptyMask)
    assert (error.message, error.hint, error.exit_code) == ("m", "h", 2)


def test_full_disk_and_read_only_are_told_apart_from_bugs():
    full = errors.from_os_error(OSError(28, "No space left on device", "/x"), "writing")
    assert isinstance(full, errors.DiskFull)
    assert "/x" in str(full)
    assert not isinstance(errors.from_os_error(OSError(5, "I/O error"), "w"), errors.DiskFull)
