# SPDX-License-Identifier: GPL-3.0-or-later
"""Motion and crawl on clips whose motion is known, reports, and pictures from files."""

import argparse
import csv
import json
import struct

import cv2
import numpy as np
import pytest

from tools.hygiene_set.patches import soft_noise
from tools.hygiene_set.rooms import ROOMS
from wan_blender.core.answers.typed import to_json
from wan_blender.core.errors import (
    LengthMismatch,
    NothingSelected,
    SizeMismatch,
    UnsupportedClip,
    UserError,
)
from wan_blender.engine import __main__ as engine
from wan_blender.engine.cli import hygiene
from wan_blender.engine.frames.files import read_png
from wan_blender.engine.hygiene import pictures
from wan_blender.engine.hygiene.measure import batch, frequencies, motion

H, W = 120, 160


def world(seed: int = 0) -> np.ndarray:
    """A large textured picture to move a window over."""
    rng = np.random.default_rng(seed)
    plane = 0.5 + 0.08 * soft_noise(rng, 300, 400, 6) + 0.05 * soft_noise(rng, 300, 400, 1.5)
    return np.repeat(plane[..., None], 3, 2).clip(0, 1).astype(np.float32)


def pan(
    speed: tuple[float, float],
    count: int = 6,
    picture: np.ndarray | None = None,
    corner: tuple[int, int] = (80, 80),
) -> np.ndarray:
    """A window that slides by (dx, dy) pixels a frame: the picture moves the other way."""
    picture, frames = world() if picture is None else picture, []
    for index in range(count):
        x, y = (c + s * index for c, s in zip(corner, speed, strict=True))
        shift = np.float32([[1, 0, -x], [0, 1, -y]])
        frames.append(cv2.warpAffine(picture, shift, (W, H), flags=cv2.INTER_CUBIC))
    return np.stack(frames).clip(0, 1)


def twiddle(frames: np.ndarray, amount: float, seed: int = 1) -> np.ndarray:
    """Fine detail that changes anew in every frame, on a patch."""
    rng = np.random.default_rng(seed)
    out = frames.copy()
    for frame in out:
        frame[30:90, 40:120] += amount * soft_noise(rng, 60, 80, 0.7)[..., None]
    return out.clip(0, 1)


@pytest.mark.parametrize("speed", [(0, 0), (1, 0), (2.5, -1), (-4, 3)])
def test_motion_of_a_pan_is_its_speed(speed):
    found = motion.measure(pan(speed)).motion
    assert found == pytest.approx(np.hypot(*speed), abs=0.15 + 0.05 * np.hypot(*speed))


def test_a_still_clip_neither_moves_nor_crawls():
    found = motion.measure(np.repeat(pan((0, 0), 1), 4, 0))
    assert found.motion < 0.01
    assert found.moving == 0
    assert found.crawl == 0


@pytest.mark.parametrize("speed", [(0, 0), (2, 0), (1.5, 1.0)])
def test_crawl_rises_with_twiddling_and_not_with_motion(speed):
    frames = pan(speed)
    levels = [motion.measure(twiddle(frames, a)).crawl if a else motion.measure(frames).crawl
              for a in (0, 0.02, 0.04)]  # fmt: skip
    assert levels[1] > 1.5 * levels[0]
    assert levels[2] > 1.5 * levels[1]


@pytest.mark.parametrize("speed", [(1, 0), (0.5, 0.5), (2.5, -1)])
def test_rigid_motion_of_fine_detail_is_hardly_any_crawl(speed):
    """The same twiddling reads the same at any speed, so freed motion is no crawl."""
    kitchen = {"picture": ROOMS["kitchen"]().rgb, "corner": (340, 180)}
    still, moving = (pan(s, 4, **kitchen) for s in ((0, 0), speed))
    crawl = motion.measure(twiddle(still, 0.02)).crawl
    assert motion.measure(moving).crawl < 0.4 * crawl
    assert motion.measure(twiddle(moving, 0.02)).crawl == pytest.approx(crawl, rel=0.1)


def test_twiddling_hardly_counts_as_motion():
    still = pan((0, 0))
    assert motion.measure(twiddle(still, 0.04)).motion < 0.2


def test_crawl_is_in_8_bit_levels():
    """Noise of deviation s in two frames differs by s * sqrt(2), less what lies below 8 pixels."""
    rng = np.random.default_rng(0)
    still = np.repeat(pan((0, 0), 1), 6, 0)
    noisy = still + rng.normal(size=(6, H, W, 1)).astype(np.float32) * 3 / 255
    assert motion.measure(noisy.clip(0, 1)).crawl == pytest.approx(3 * np.sqrt(2), rel=0.15)


def test_first_frame_fidelity_of_an_equal_frame_is_perfect():
    frames = pan((1, 0))
    found = motion.measure(frames, frames[0])
    assert found.first_psnr == float("inf")
    assert found.first_ssim == pytest.approx(1)
    blurred = cv2.GaussianBlur(frames[0], (0, 0), 1.5)
    worse = motion.measure(frames, blurred)
    assert worse.first_psnr < 40
    assert worse.first_ssim < 0.98


def test_a_clip_of_one_frame_and_a_start_of_another_size_are_refused():
    with pytest.raises(LengthMismatch, match="1"):
        motion.measure(pan((0, 0), 1))
    with pytest.raises(SizeMismatch, match="160 x 120"):
        motion.measure(pan((0, 0), 2), np.zeros((8, 8, 3), np.float32))


def test_summary_tells_a_real_change_from_none():
    rng = np.random.default_rng(0)
    pairs = [
        {"without": {"motion": 1.0, "crawl": 2.0},
         "with": {}, "change": {"motion": 0.5 + 0.1 * rng.normal(), "crawl": rng.normal()}}
        for _ in range(50)
    ]  # fmt: skip
    found = motion.summarise(pairs)
    assert found["motion"]["low"] > 0.4
    assert found["motion"]["rose"] == 50
    assert found["crawl"]["low"] < 0 < found["crawl"]["high"]


def test_compare_sees_the_blur_in_the_fine_bands_only():
    picture = ROOMS["kitchen"]().rgb
    data = frequencies.compare(picture, cv2.GaussianBlur(picture, (0, 0), 1.0))
    ratio = data.band_ratio
    assert list(ratio) == sorted(ratio)
    assert ratio[0] < 0.4
    assert ratio[3] > 0.9
    assert data.score_change < 0
    json.dumps(to_json(data))


def test_plot_shows_both_pictures_and_their_bars():
    picture = ROOMS["kitchen"]().rgb
    sheet = frequencies.draw(picture, cv2.GaussianBlur(picture, (0, 0), 1.0), ("one", "two"))
    assert sheet.dtype == np.uint8
    assert sheet.shape[0] == 820
    bars = [
        (sheet[600:] == color).all(-1).sum() for color in (frequencies._FIRST, frequencies._SECOND)
    ]
    assert bars[0] > bars[1] > 1000


def test_names_are_drawn_without_question_marks():
    drawn = []
    for text in ("Küche 日", "Kuche _"):
        drawn.append(np.zeros((40, 200, 3), np.uint8))
        frequencies.draw_text(drawn[-1], text, 8, 20, (255, 255, 255))
    np.testing.assert_array_equal(*drawn)
    assert drawn[0].any()


def test_batch_writes_a_line_for_each_image_and_survives_a_broken_one(tmp_path):
    pictures.write_picture(tmp_path / "in" / "busy.png", ROOMS["kitchen"]().rgb)
    pictures.write_picture(tmp_path / "in" / "grün calm.png", np.full((90, 160, 3), 0.5))
    (tmp_path / "in" / "broken.png").write_bytes(b"not an image")
    batch.run(tmp_path / "in", tmp_path / "out", (416, 240), lambda text: None)
    with open(tmp_path / "out" / "hygiene.csv", encoding="utf-8") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert float(rows["busy.png"]["score"]) > 30
    assert rows["grün calm.png"]["light"] == "green"
    assert "12 bytes" in rows["broken.png"]["error"]
    assert cv2.imread(str(tmp_path / "out" / "contact.png")).shape[1] == 1280


def test_batch_beside_its_images_judges_neither_folders_nor_its_own_sheet(tmp_path, monkeypatch):
    for name in ("a.png", "b.png"):
        pictures.write_picture(tmp_path / name, np.full((9, 16, 3), 0.5))
    (tmp_path / "folder.png").mkdir()
    read = pictures.reader.read_bytes

    def fail(path, *limits, **options):
        if path.name == "b.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *limits, **options)

    monkeypatch.setattr(pictures.reader, "read_bytes", fail)
    for _ in range(2):
        rows = batch.run(tmp_path, tmp_path, (64, 36), lambda text: None)
        assert [(row["number"], row["file"]) for row in rows] == [(1, "a.png"), (2, "b.png")]
        assert "Permission denied" in rows[1]["error"]


def test_batch_of_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(NothingSelected, match="no images"):
        batch.run(tmp_path, tmp_path / "out", (64, 64))


@pytest.mark.parametrize("name", ["gray8", "gray16", "rgba16", "tiny", "float"])
def test_pictures_of_every_sort_are_read(tmp_path, name):
    image = {
        "gray8": np.full((20, 30), 128, np.uint8),
        "gray16": np.full((20, 30), 32896, np.uint16),
        "rgba16": np.full((20, 30, 4), (32896, 32896, 32896, 65535), np.uint16),
        "tiny": np.full((1, 1, 3), 128, np.uint8),
        "float": np.full((20, 30, 3), 128 / 255, np.float32),
    }[name]  # fmt: skip
    path = tmp_path / f"ünder {name}.{'tiff' if name == 'float' else 'png'}"
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    picture = pictures.read_picture(path, (64, 32))
    assert picture.shape == (32, 64, 3)
    np.testing.assert_allclose(picture, 128 / 255, atol=2e-3)


@pytest.mark.parametrize("suffix", [".exr", ".hdr"])
def test_light_in_float_files_is_read_as_it_is_shown(tmp_path, suffix):
    """Linear 0.2158605 is 128 of 255 in sRGB; what is brighter than white is white."""
    light = np.full((20, 30, 3), 0.2158605, np.float32)
    light[:, 15:] = 7.0
    path = tmp_path / f"ünder{suffix}"
    path.write_bytes(cv2.imencode(suffix, light)[1].tobytes())
    picture = pictures.read_picture(path)
    np.testing.assert_allclose(picture[:, :15], 128 / 255, atol=4e-3)
    np.testing.assert_array_equal(picture[:, 15:], 1)


def test_alpha_of_an_exr_is_taken_off_its_colour(tmp_path):
    light = np.full((4, 4, 4), (0.2158605, 0.2158605, 0.2158605, 1), np.float32)
    light[:2] *= 0.5
    light[3] = 0
    (tmp_path / "a.exr").write_bytes(cv2.imencode(".exr", light)[1].tobytes())
    rgb = pictures.read_picture(tmp_path / "a.exr")[:, 0, 0]
    expected = [0.5 * 128 / 255 + 0.25] * 2 + [128 / 255, 0.5]  # over mid gray
    np.testing.assert_allclose(rgb, expected, atol=4e-3)


@pytest.mark.parametrize("name", ["huge.bmp", "half.exr", "folder.png"])
def test_what_cannot_be_decoded_is_refused_by_name(tmp_path, name):
    path = tmp_path / name
    if name == "folder.png":
        path.mkdir()
    elif name == "huge.bmp":
        header = struct.pack("<IiiHHIIiiII", 40, 100_000, 100_000, 1, 24, 0, 0, 0, 0, 0, 0)
        path.write_bytes(b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + header + bytes(100))
    else:
        light = np.random.default_rng(0).random((64, 64, 3)).astype(np.float32)
        path.write_bytes(cv2.imencode(".exr", light)[1].tobytes()[:300])
    with pytest.raises(UnsupportedClip, match=name):
        pictures.read_picture(path)
    with pytest.raises(UserError, match=name):
        read_png(path)


def test_channels_are_read_in_rgb_order(tmp_path):
    rgb = np.zeros((4, 4, 3))
    rgb[..., 0] = 1
    pictures.write_picture(tmp_path / "red.png", rgb)
    np.testing.assert_array_equal(pictures.read_picture(tmp_path / "red.png"), rgb)


def test_fit_crops_the_middle_to_the_aspect():
    wide = np.zeros((10, 40, 3), np.float32)
    wide[:, 15:25] = 1
    np.testing.assert_allclose(pictures.fit(wide, 10, 10), 1)


def test_no_start_frame_is_a_clear_error(tmp_path):
    with pytest.raises(UnsupportedClip, match="no picture at"):
        pictures.read_picture(tmp_path / "none.png")


def call(capsys, *arguments: object) -> dict:
    parser = argparse.ArgumentParser()
    hygiene.add_arguments(parser)
    hygiene.run(parser.parse_args([str(a) for a in arguments]))
    return json.loads(capsys.readouterr().out)


def test_command_treats_a_picture_and_its_map_gives_the_same_frame(tmp_path, capsys):
    pictures.write_picture(tmp_path / "a.png", ROOMS["kitchen"]().rgb)
    listed = call(capsys, "sinks", tmp_path / "a.png")["sinks"]
    done = call(capsys, "treat", tmp_path / "a.png", tmp_path / "b.png", "--sinks", "0,1",
                "--radius", tmp_path / "r.png")  # fmt: skip
    assert [r["kind"] for r in done["regions"]] == [s["kind"] for s in listed[:2]]
    assert done["score"][1] < done["score"][0]
    compared = call(capsys, "compare", tmp_path / "a.png", tmp_path / "b.png",
                    "--plot", tmp_path / "p.png")  # fmt: skip
    assert compared["score_change"] < 0
    assert (tmp_path / "p.png").is_file()


@pytest.mark.parametrize(
    "wrong",
    [
        ["--size", "100000x100000", "faces", "a.png"],
        ["treat", "a.png", "b.png", "--seed", "-1"],
        ["treat", "a.png", "b.jpg"],
        ["compare", "a.png", "b.png", "--plot", "plot"],
    ],
)
def test_options_that_cannot_be_followed_are_refused_before_anything_is_read(wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        engine.main(["hygiene", *wrong])
    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_errors_are_told_in_json_as_blender_reads_them(tmp_path, capsys):
    (tmp_path / "text.png").write_text("hi")
    assert engine.main(["hygiene", "faces", str(tmp_path / "text.png")]) == 2
    error = json.loads(capsys.readouterr().err.splitlines()[-1])["error"]
    assert error["code"] == "UnsupportedClip"
    assert "text.png" in error["message"]


def test_folder_in_the_way_of_a_picture_is_named(tmp_path, capsys):
    pictures.write_picture(tmp_path / "a.png", np.full((36, 64, 3), 0.5))
    (tmp_path / "b.png").mkdir()
    arguments = ["--size", "64x36", "matrix", str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert engine.main(["hygiene", *arguments]) == 2
    error = json.loads(capsys.readouterr().err.splitlines()[-1])["error"]
    assert "b.png" in error["message"]
    assert error["hint"] == "A folder is where a file is to be: move it away."
