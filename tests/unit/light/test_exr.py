# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of half floats: what is written is read, by us and by OpenCV; the rest is not believed."""

import contextlib
import os
import struct

import numpy as np
import pytest

from wan_blender.light import exr

ALL = np.arange(65536, dtype=np.uint16).view(np.float16).reshape(256, 256)


@pytest.mark.parametrize("shape", [(1, 1), (5, 17), (33, 7), (48, 64)])
@pytest.mark.parametrize("channels", ["RGB", "ABGR", "V"])
def test_written_halves_are_read_bit_for_bit(tmp_path, shape, channels):
    rng = np.random.default_rng(0)
    planes = {name: rng.standard_normal(shape).astype(np.float16) for name in channels}
    exr.write(tmp_path / "x.exr", planes)
    found = exr.read(tmp_path / "x.exr")
    assert sorted(found) == sorted(channels)
    for name, plane in planes.items():
        np.testing.assert_array_equal(found[name].view(np.uint16), plane.view(np.uint16))
    assert exr.is_whole(tmp_path / "x.exr")


def test_every_half_survives_with_nan_and_infinity():
    found = exr.decode(exr.encode({"R": ALL}))["R"]
    np.testing.assert_array_equal(found.view(np.uint16), ALL.view(np.uint16))


@pytest.mark.parametrize("smooth", [True, False])
def test_opencv_reads_and_writes_the_same(monkeypatch, smooth):
    monkeypatch.setitem(os.environ, "OPENCV_IO_ENABLE_OPENEXR", "1")
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    picture = np.zeros((37, 50, 4), np.float16) if smooth else rng.random((37, 50, 4), np.float32)
    picture = picture.astype(np.float16)
    data = exr.encode(dict(zip("BGRA", np.moveaxis(picture, 2, 0), strict=True)))
    theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(theirs, picture.astype(np.float32))
    for compression in (cv2.IMWRITE_EXR_COMPRESSION_NO, cv2.IMWRITE_EXR_COMPRESSION_ZIPS,
                        cv2.IMWRITE_EXR_COMPRESSION_ZIP):  # fmt: skip
        how = [cv2.IMWRITE_EXR_TYPE, cv2.IMWRITE_EXR_TYPE_HALF]
        how += [cv2.IMWRITE_EXR_COMPRESSION, compression]
        _, data = cv2.imencode(".exr", picture.astype(np.float32), how)
        found = exr.decode(data.tobytes())
        for number, name in enumerate("BGRA"):
            np.testing.assert_array_equal(found[name], picture[..., number])


def test_cut_and_damaged_files_say_what_they_are(tmp_path):
    rng = np.random.default_rng(0)
    data = exr.encode({name: rng.random((20, 9)).astype(np.float16) for name in "RGB"})
    path = tmp_path / "x.exr"
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        assert not exr.is_whole(path)
        with pytest.raises(ValueError, match="OpenEXR"):
            exr.read(path)
    for at in range(len(data)):
        bad = bytearray(data)
        bad[at] ^= 0xFF
        with contextlib.suppress(ValueError):  # and nothing else is raised
            exr.decode(bytes(bad))


def test_sizes_are_checked_before_memory_is_taken():
    data = exr.encode({"R": np.zeros((4, 4), np.float16)})
    place = data.index(b"dataWindow\0box2i\0") + len(b"dataWindow\0box2i\0") + 4
    huge = data[:place] + struct.pack("<4i", 0, 0, 65535, 65535) + data[place + 16 :]
    with pytest.raises(ValueError, match="cut short"):
        exr.decode(huge)
