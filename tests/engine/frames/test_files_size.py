# SPDX-License-Identifier: GPL-3.0-or-later
"""A picture whose header lies about its size is refused before it is decoded."""

import struct
import zlib

import pytest

from tests.engine.folders import make_job, moving_square, noise_plate
from wan_blender.core import job as jobs
from wan_blender.core.errors import SizeMismatch
from wan_blender.engine.frames import files


def test_mask_of_gigabytes_is_refused_by_its_header(tmp_path, monkeypatch):
    folder = make_job(tmp_path / "job", noise_plate(1, 32, 32), moving_square(1, 32, 32, 8))
    path = folder / jobs.MASK / "000000.png"
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 24, 40_000_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    monkeypatch.setattr(files, "read_png", lambda path: pytest.fail("it was decoded"))
    with pytest.raises(SizeMismatch, match="40000000"):
        files.ShotFrames(folder, jobs.read(folder)).mask(0)
