# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs with a plate brighter than white: the model sees it by the curve; what is kept is exact."""

import numpy as np
import pytest

from tests.engine.folders import make_job, moving_square
from wan_blender.core import job as jobs
from wan_blender.core.errors import InvalidJob
from wan_blender.engine.check import check
from wan_blender.engine.contact_sheet import look_at
from wan_blender.engine.frames import vae as codec
from wan_blender.engine.frames.files import ShotFrames, read_frame, write_frame
from wan_blender.engine.pipeline import generate
from wan_blender.engine.watch import Watch
from wan_blender.light import exr
from wan_blender.light.tone import encode_srgb


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path_factory.getbasetemp() / "tensors"))


def bright_plate(channels: int = 3) -> np.ndarray:
    """(5, 32, 48, C) float16 linear light: from outside of Rec.709 up to 40 times white; the alpha
    is multiplied in, and one pixel shines where it is 0."""
    rng = np.random.default_rng(0)
    light = np.exp(rng.uniform(-6, np.log(40), (5, 32, 48, 3)))
    light[:, :3, :3, 0] = -0.1
    alpha = rng.choice([0, 0.5, 1], (5, 32, 48, 1)) if channels == 4 else np.ones((5, 32, 48, 1))
    light *= alpha
    light[:, 0, 0] = 5
    plate = np.concatenate([light, alpha], 3)[..., :channels].astype(np.float16)
    plate[0, 1, 1, 1] = 40
    return plate


def halves(path) -> np.ndarray:
    planes = exr.read(path)
    return np.dstack([planes[name] for name in "RGBA" if name in planes])


MASK = moving_square(5, 32, 48, 12)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("clear", ["fill", "keep", "replace"])
def test_outside_the_mask_every_half_is_the_plates(tmp_path, channels, clear):
    plate = bright_plate(channels)
    make_job(tmp_path, plate, MASK, output__full_frames=True, sampling__steps=1, shot__alpha=clear)
    report = generate(tmp_path, Watch(tmp_path))
    assert report.max_diff_outside == 0
    for index, wanted in enumerate(plate):
        outside = MASK[index] == 0
        name = f"{index:06d}.exr"
        frame = halves(tmp_path / "result" / "frames" / name)
        np.testing.assert_array_equal(frame[outside], wanted[outside])
        assert (frame[~outside] != wanted[~outside]).any(-1).mean() > 0.4
        patch = halves(tmp_path / "result" / "patch" / name)
        if channels == 4 and clear == "replace":
            np.testing.assert_array_equal(patch, frame)
        else:
            assert not patch[outside].any()  # no light of its own where nothing was made
    assert look_at(tmp_path) is not None


def test_model_that_gives_back_what_it_sees_gives_back_the_plate(tmp_path, monkeypatch):
    """Also inside the mask, highlights included: the curve is undone."""
    plate = np.clip(bright_plate(), 0, None)
    make_job(tmp_path, plate, MASK, output__feather_px=0.0, region__mode="whole", sampling__steps=1)
    shot = ShotFrames(tmp_path, jobs.read(tmp_path))
    seen = np.stack([shot.picture(index) for index in range(5)])
    assert -1 <= seen.min() < seen.max() <= 1
    monkeypatch.setattr(codec, "decode", lambda *_: iter([seen]))
    generate(tmp_path, Watch(tmp_path))
    for index, wanted in enumerate(plate):
        patch = halves(tmp_path / "result" / "patch" / f"{index:06d}.exr")
        inside = MASK[index] > 0
        np.testing.assert_allclose(patch[inside][:, :3], wanted[inside], rtol=2e-3)


def test_borrowed_highlights_are_as_bright_as_their_donors(tmp_path):
    rng = np.random.default_rng(0)
    plate = np.exp(rng.uniform(-3, np.log(40), (1, 64, 96, 3))).repeat(5, 0).astype(np.float16)
    mask = np.zeros((5, 64, 96), np.uint16)
    for index in range(5):
        mask[index, 20:40, 8 + 16 * index : 24 + 16 * index] = 65535
    make_job(tmp_path, plate, mask, fill__borrow="only", output__feather_px=0.0)
    assert generate(tmp_path, Watch(tmp_path)).max_diff_outside == 0
    patch = halves(tmp_path / "result" / "patch" / "000002.exr")
    used = patch[..., 3] == 1
    assert used.mean() > 0.02
    np.testing.assert_allclose(patch[used][:, :3], plate[2][used], rtol=0.01)


@pytest.mark.parametrize("alpha", [False, True])
def test_frames_are_read_as_they_were_written(tmp_path, alpha):
    plate = bright_plate(4 if alpha else 3)[0]
    planes = dict(zip("RGBA", np.moveaxis(plate, 2, 0)))
    exr.write(tmp_path / "a.exr", planes)
    frame = read_frame(tmp_path / "a.exr")
    write_frame(tmp_path / "b.exr", frame)
    np.testing.assert_array_equal(halves(tmp_path / "b.exr"), plate)
    assert frame[1, 1, 1] == encode_srgb(np.float32(40)) / (plate[1, 1, 3] if alpha else 1) or alpha


def broken(data: bytes) -> bytes:
    return data[: len(data) // 2]


def tiled(data: bytes) -> bytes:
    return data[:5] + bytes([data[5] | 2]) + data[6:]


@pytest.mark.parametrize(
    ("change", "told"), [(broken, "cut short"), (tiled, "tiles"), (lambda _: b"", "not an OpenEXR")]
)
def test_broken_plate_files_are_named_by_check(tmp_path, change, told):
    make_job(tmp_path, bright_plate(), MASK)
    path = tmp_path / "plate" / "000003.exr"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InvalidJob, match=f"000003.exr is.*{told}"):
        check(tmp_path)


def test_plate_without_numbers_is_black_and_finite(tmp_path):
    plate = bright_plate()
    plate[2, 20, 10] = np.nan
    plate[2, 20, 11] = np.inf
    planes = dict(zip("RGB", np.moveaxis(plate[2], 2, 0), strict=True))
    exr.write(tmp_path / "a.exr", planes)
    frame = read_frame(tmp_path / "a.exr")
    assert (frame[20, 10] == 0).all()
    assert np.isfinite(frame).all()
