# SPDX-License-Identifier: GPL-3.0-or-later
"""Hygiene in a whole run with the bundled model: only what the model is shown changes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.engine.folders import make_job, noise_plate
from tests.engine.untrained import write_untrained
from wan_blender.core import job as jobs
from wan_blender.core.errors import InvalidJob, WrongModel
from wan_blender.core.job_pictures import END, PICTURES, START
from wan_blender.engine import encode, pipeline
from wan_blender.engine.frames.files import read_png, write_png
from wan_blender.engine.frames.region import Region
from wan_blender.engine.hygiene.pictures import read_treatment, write_picture, write_radius
from wan_blender.engine.watch import Watch
from wan_blender.hygiene.blur import MAX_RADIUS
from wan_blender.masks.grid import Grid

FRAMES, H, W = 5, 48, 64
MASK = np.zeros((FRAMES, H, W), np.uint16)
MASK[:, 12:36, 16:48] = 65535


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path_factory.getbasetemp() / "tensors"))


def run(folder, with_map=True, **settings) -> np.ndarray:
    """The full frames (T, H, W, 3) of a run with these hygiene settings."""
    plate = noise_plate(FRAMES, H, W)
    named = {f"hygiene__{name}": value for name, value in settings.items()}
    make_job(folder, plate, MASK, output__full_frames=True, sampling__steps=4, **named)
    if with_map:
        write_radius(folder / jobs.RADIUS, np.full((H, W), 1.5, np.float32))
    report = pipeline.generate(folder, Watch(folder))
    assert report.max_diff_outside == 0
    assert report.max_latent_diff_kept == 0
    frames = [read_png(folder / "result" / "frames" / jobs.frame_name(i)) for i in range(FRAMES)]
    np.testing.assert_array_equal(np.stack(frames)[MASK == 0], plate[MASK == 0])
    return np.stack(frames)


def test_report_says_how_the_start_frame_was_treated(tmp_path):
    run(tmp_path, mode="both", start=0.0, end=0.5)
    said = json.loads((tmp_path / "result" / "report.json").read_text())["hygiene"]
    assert (said["mode"], said["low_passed_steps"]) == ("both", [1, 2])
    assert (said["blurred"], said["largest_radius"]) == (1.0, pytest.approx(1.5, abs=1e-3))
    assert said["score_blurred"] <= said["score"]


@pytest.mark.parametrize("scale", [0.5, 1, 2])
def test_radii_count_pixels_of_the_map_whatever_size_the_model_sees(tmp_path, scale):
    """The same picture at another size is blurred by as much of it."""
    make_job(tmp_path, noise_plate(FRAMES, H, W), MASK, hygiene__mode="soft")
    size = round(H * scale), round(W * scale)
    write_radius(tmp_path / jobs.RADIUS, np.full(size, 1.2, np.float32))
    for seen in (1, 2):
        region = Region(0, 0, W, H, Grid(FRAMES, seen * H, seen * W, 8, 2))
        treatment = read_treatment(tmp_path, jobs.read(tmp_path), region, "vace")
        radius = min(1.2 * seen / scale, MAX_RADIUS)
        np.testing.assert_allclose(treatment.radius(0), radius, atol=1e-3)


def test_mode_off_ignores_the_map(tmp_path):
    plain = run(tmp_path / "a", with_map=False)
    np.testing.assert_array_equal(run(tmp_path / "b"), plain)


@pytest.mark.parametrize("mode", ["soft", "scheduled", "both"])
def test_each_mode_changes_what_is_generated_and_nothing_outside(tmp_path, mode):
    assert (run(tmp_path / "a") != run(tmp_path / "b", mode=mode)).any()


def test_schedule_that_never_begins_changes_nothing(tmp_path):
    plain = run(tmp_path / "a")
    never = run(tmp_path / "b", mode="scheduled", start=0.5, end=0.5)
    np.testing.assert_array_equal(never, plain)


def test_model_is_shown_the_low_passed_picture_in_its_steps_only(tmp_path, monkeypatch):
    seen = []
    make = encode.make_condition

    def watched(bundle, scene):
        seen.append(np.abs(np.diff(scene.picture(0), axis=1)).mean())
        return make(bundle, scene)

    monkeypatch.setattr(encode, "make_condition", watched)
    run(tmp_path, mode="scheduled", start=0.0, end=0.5)
    assert len(seen) == 2  # one condition for each phase, not for each step
    assert seen[0] < 0.5 * seen[1]


def test_soft_without_a_map_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InvalidJob, match=jobs.RADIUS):
        run(tmp_path, with_map=False, mode="soft")
    assert not (tmp_path / "result").exists()


def striped(height: int = H, width: int = W) -> np.ndarray:
    """A calm picture with a small block of stripes, which is a sink."""
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[16:32, 16:40:4] = 240
    picture[16:32, 18:40:4] = 15
    return picture


@pytest.fixture
def scenes(monkeypatch):
    """What each condition of a run looks at, in order of the phases."""
    seen, make = [], encode.make_condition

    def watched(bundle, scene):
        seen.append(scene)
        return make(bundle, scene)

    monkeypatch.setattr(encode, "make_condition", watched)
    return seen


def detail(picture: np.ndarray) -> float:
    return float(np.abs(np.diff(picture, axis=1)).mean())


@pytest.mark.parametrize(("kind", "with_map"), [("i2v", True), ("vace", True), ("vace", False)])
def test_end_frame_and_references_are_treated_by_measure(tmp_path, scenes, kind, with_map):
    folder = tmp_path / "job"
    make_job(
        folder, noise_plate(FRAMES, H, W), np.full((FRAMES, H, W), 65535, np.uint16),
        model__path=str(write_untrained(tmp_path / kind, kind)), sampling__steps=4,
        hygiene__mode="both", hygiene__end=0.5,
    )  # fmt: skip
    if with_map:
        write_radius(folder / jobs.RADIUS, np.full((H, W), 1.0, np.float32))
    names = {"i2v": [END], "vace": ["references 1", "references 2"]}[kind]
    if kind == "i2v":
        write_png(folder / "start.png", striped())
        write_png(folder / "end.png", striped())
    else:
        (folder / "references").mkdir()
        for name in ("a.png", "b.png"):
            write_png(folder / "references" / name, striped())

    def pictures(scene) -> list[np.ndarray]:
        return [scene.given(END)] if kind == "i2v" else scene.references()

    report = pipeline.generate(folder, Watch(folder))
    said = report.hygiene.by_measure
    assert list(said) == names
    assert all(one.score_blurred < one.score for one in said.values())
    low, soft = scenes
    plain = [detail(picture) for picture in pictures(replace(soft, look=None))]
    softened = [detail(picture) for picture in pictures(soft)]
    assert all(0.2 * a < b < 0.9 * a for a, b in zip(plain, softened, strict=True))
    lowest = [detail(picture) for picture in pictures(low)]
    assert all(b < 0.5 * a for a, b in zip(plain, lowest, strict=True))


def test_blur_follows_a_matte_through_all_frames_that_vace_is_shown(tmp_path, scenes):
    make_job(
        tmp_path, noise_plate(FRAMES, H, W), MASK, hygiene__mode="soft", hygiene__matte_blur_px=1.5,
        sampling__steps=1,
    )  # fmt: skip
    for index in range(FRAMES):
        radius = np.zeros((H, W), np.float32)
        radius[:, 8 * index : 8 * index + 16] = 1.5
        write_picture(tmp_path / jobs.BLUR_MATTE / jobs.frame_name(index), radius / 1.5)
    report = pipeline.generate(tmp_path, Watch(tmp_path))
    assert report.hygiene.largest_radius == pytest.approx(1.5, abs=1e-3)
    assert "follows a matte" in report.hygiene.notes[0]
    (soft,) = scenes
    plain = replace(soft, look=None)
    for index in range(FRAMES):
        changed = (soft.picture(index) != plain.picture(index)).any(-1)
        files = tmp_path / jobs.BLUR_MATTE / jobs.frame_name(index)
        np.testing.assert_array_equal(changed, soft.region.crop_padded(read_png(files)) > 0)


def five_b(tmp_path, name: str, **settings) -> tuple[np.ndarray, dict]:
    """Frames and report of a run of an untrained 5B model; frame 0 is given."""
    model, folder = tmp_path / "ti2v", tmp_path / name
    if not model.exists():
        write_untrained(model, "ti2v")
    plate = noise_plate(FRAMES, 64, 64)
    mask = np.full((FRAMES, 64, 64), 65535, np.uint16)
    mask[0] = 0
    named = {f"hygiene__{key}": value for key, value in settings.items()}
    make_job(
        folder, plate, mask, model__path=str(model), sampling__steps=2, output__full_frames=True,
        **named,
    )  # fmt: skip
    write_radius(folder / jobs.RADIUS, np.full((64, 64), 2.0, np.float32))
    report = pipeline.generate(folder, Watch(folder))
    files = [folder / "result" / "frames" / jobs.frame_name(i) for i in range(FRAMES)]
    np.testing.assert_array_equal(read_png(files[0]), plate[0])
    assert report.max_latent_diff_kept == 0
    return np.stack([read_png(file) for file in files]), report


@pytest.mark.parametrize("mode", ["soft", "scheduled", "both"])
def test_5b_model_is_shown_the_treated_start_and_delivers_the_original(tmp_path, mode):
    plain, report = five_b(tmp_path, "off")
    assert report.hygiene is None
    treated, report = five_b(tmp_path, mode, mode=mode, end=0.5)
    assert report.hygiene.mode == mode
    assert (treated[1:] != plain[1:]).any()


def test_5b_model_with_a_schedule_that_never_begins_changes_nothing(tmp_path):
    plain, _ = five_b(tmp_path, "off")
    same, report = five_b(tmp_path, "never", mode="scheduled", end=0.0)
    np.testing.assert_array_equal(same, plain)
    assert len(report.hygiene.notes) == 1


def animate(tmp_path, start: np.ndarray, **settings) -> tuple[np.ndarray, np.ndarray, dict]:
    """First and second frame, and the report, of an image-to-video run from start.png."""
    model = write_untrained(tmp_path / "i2v", "i2v")
    folder = tmp_path / "job"
    make_job(
        folder, noise_plate(FRAMES, H, W), np.full((FRAMES, H, W), 65535, np.uint16),
        model__path=str(model), hygiene__mode="both", output__full_frames=True,
        sampling__steps=2, **settings,
    )  # fmt: skip
    write_png(folder / PICTURES[START], start)
    write_radius(folder / jobs.RADIUS, np.full((H, W), 1.5, np.float32))
    report = pipeline.generate(folder, Watch(folder))
    first, second = (read_png(folder / "result/frames" / jobs.frame_name(i)) for i in (0, 1))
    return first, second, report


@pytest.mark.parametrize("deliver", [True, False])
def test_start_frame_of_image_to_video_is_delivered_bit_for_bit(tmp_path, deliver):
    start = noise_plate(1, H, W)[0][::-1]
    first, second, report = animate(tmp_path, start, hygiene__deliver_original=deliver)
    assert (first == start).all() == deliver
    assert (second != start).any()
    assert report.hygiene.notes == ()


def test_start_frame_of_another_size_is_delivered_resized_and_that_is_said(tmp_path):
    start = np.repeat(np.repeat(noise_plate(1, H, W)[0], 2, 0), 2, 1)
    first, _, report = animate(tmp_path, start)
    assert np.abs(first.astype(int) - start[::2, ::2]).max() <= 1
    assert f"{2 * W} x {2 * H}" in report.hygiene.notes[0]


def test_start_frame_of_more_bits_is_delivered_rounded_and_that_is_said(tmp_path):
    start = noise_plate(1, H, W, np.uint16)[0]
    first, _, report = animate(tmp_path, start)
    assert np.abs(first.astype(float) - start / 257).max() <= 0.5
    assert "16 bits" in report.hygiene.notes[0]


@pytest.mark.parametrize("start", ["gray", "alpha", "one pixel", "8k"])
def test_start_frames_of_every_sort_are_run(tmp_path, start):
    pictures = {
        "gray": np.full((H, W), 90, np.uint8),
        "alpha": np.dstack([noise_plate(1, H, W)[0], np.full((H, W), 255, np.uint8)]),
        "one pixel": np.full((1, 1, 3), 90, np.uint8),
        "8k": np.full((4320, 7680, 3), 90, np.uint8),
    }
    picture = pictures[start]
    first, _, report = animate(tmp_path, picture)
    colour = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, 2)
    if picture.shape[:2] == (H, W):
        np.testing.assert_array_equal(first, colour[..., :3])
        assert report.hygiene.notes == ()
    else:
        assert np.abs(first.astype(int) - 90).max() <= 1
        assert "resized" in report.hygiene.notes[0]


def test_no_start_frame_is_a_clear_error(tmp_path):
    model = write_untrained(tmp_path / "i2v", "i2v")
    make_job(
        tmp_path / "job", noise_plate(FRAMES, H, W), np.full((FRAMES, H, W), 65535, np.uint16),
        model__path=str(model), hygiene__mode="scheduled",
    )  # fmt: skip
    with pytest.raises(WrongModel, match="start"):
        pipeline.generate(tmp_path / "job", Watch(tmp_path / "job"))
