# SPDX-License-Identifier: GPL-3.0-or-later
"""Model masks: each layout against the tensors of the official code."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from tests.engine.folders import make_job, noise_plate
from tests.engine.tiny import golden
from wan_blender.core import errors
from wan_blender.core import job as jobs
from wan_blender.core.job_pictures import REFERENCES, pictures
from wan_blender.core.mask_settings import ModelMask
from wan_blender.engine import nano
from wan_blender.engine.check import check
from wan_blender.engine.conditioning import Scene, require, vace
from wan_blender.engine.conditioning.image import GivenFrames, known_cells, known_channels
from wan_blender.engine.conditioning.per_token import PerToken
from wan_blender.engine.conditioning.vace import Vace, mask_channels, sampled_frames
from wan_blender.engine.frames.files import ShotFrames, read_png, write_png
from wan_blender.engine.frames.region import whole_frame
from wan_blender.engine.models.bundle import open_model
from wan_blender.engine.sample.loop import MaskedSource, denoise, make_noise
from wan_blender.engine.sample.release import make_law
from wan_blender.engine.sample.stage_loop import with_references
from wan_blender.masks.grid import grow_time
from wan_blender.model_info.traits import Traits


@pytest.mark.parametrize(
    "case",
    sorted(k.rsplit(".", 1)[0] for k in golden("vace_mask_channels") if k.endswith("_channels")),
)
def test_vace_mask_channels_equal_the_official_code(case):
    g = golden("vace_mask_channels")
    expected = g[f"{case}.mask_channels"].float()
    shot, references = case.rsplit(".refs", 1)
    references = int(references)
    mask = g[f"{shot}.mask"][0].float()  # 0 and 1 are stored as bytes
    picked = mask[sampled_frames(len(mask), expected.shape[1] - references)]
    assert torch.equal(mask_channels(picked, references), expected)


def test_vace_samples_the_frames_that_nearest_exact_does():
    for t in range(1, 260):
        frames = 4 * t - 3
        index = torch.arange(frames, dtype=torch.float32)[None, None]
        expected = torch.nn.functional.interpolate(index, size=t, mode="nearest-exact")
        assert sampled_frames(frames, t) == expected[0, 0].int().tolist()


@pytest.mark.parametrize(
    ("case", "frames", "given"),
    [
        ("T17.known0", 17, [0]),
        ("T17.known0_16", 17, [0, 16]),
        ("T33.known0_7", 33, list(range(8))),
    ],
)
def test_image_mask_channels_equal_the_official_code(case, frames, given):
    expected = golden("i2v_mask_channels")[case]
    known = np.zeros((frames, expected.shape[2] * 8, expected.shape[3] * 8), np.float32)
    known[given] = 1
    cells = torch.from_numpy(np.stack([known_cells(frame) for frame in known]))
    assert torch.equal(known_channels(cells), expected)


def test_cell_is_given_only_when_all_its_pixels_are():
    known = np.ones((16, 16), np.float32)
    known[3, 9] = 0
    assert known_cells(known).tolist() == [[1, 0], [1, 1]]


def _scene(tmp_path, mask, plate=None, **settings):
    plate = noise_plate(*mask.shape) if plate is None else plate
    make_job(tmp_path, plate, mask)
    job = jobs.read(tmp_path)
    region = whole_frame(len(mask), *mask.shape[1:])
    return Scene(ShotFrames(tmp_path, job), region, ModelMask(**settings))


def _frame_mask(frames, masked):
    mask = np.zeros((frames, 32, 48), np.uint16)
    mask[masked] = 65535
    return mask


I2V = Traits("i2v", 36, 16, 8, 2, False, True, True, 512, None, 832 * 480, 81)
FLF2V, INPAINTS = replace(I2V, kind="flf2v"), replace(I2V, known="pixels")


def test_image_model_takes_the_first_unmasked_frame_as_given(tmp_path):
    given = GivenFrames(_scene(tmp_path, _frame_mask(9, slice(1, 9))), I2V, "model")
    assert [float(given.known(i).mean()) for i in range(9)] == [1] + [0] * 8
    assert (given.picture(3) == 0).all()
    np.testing.assert_allclose(given.picture(0), given.scene.picture(0))


def test_image_model_takes_the_first_k_frames(tmp_path):
    scene = _scene(tmp_path, _frame_mask(9, slice(5, 9)), start_frames=5)
    given = GivenFrames(scene, I2V, "model")
    assert [float(given.known(i).mean()) for i in range(9)] == [1] * 5 + [0] * 4


def test_zero_start_frames_are_all_up_to_the_first_masked_one(tmp_path):
    mask = _frame_mask(9, [4, 5, 7])
    given = GivenFrames(_scene(tmp_path, mask, start_frames=0), I2V, "model")
    assert [float(given.known(i).mean()) for i in range(9)] == [1] * 4 + [0] * 5


@pytest.mark.parametrize(
    ("settings", "traits", "notes"),
    [
        (
            {},
            I2V,
            [
                "Unmasked, but not shown to model: frames 2-4, 7-9. "
                "model_mask.start_frames 0 shows it all up to the first masked one."
            ],
        ),
        (
            {"start_frames": 0},
            I2V,
            ["Unmasked, but not shown to model: frames 7-9."],
        ),
        (
            {"start_frames": 5},
            FLF2V,
            [
                "model_mask.start_frames is 5; masked and not given: frame 5.",
                "Unmasked, but not shown to model: frames 7-8.",
            ],
        ),
        ({"start_frames": 0}, INPAINTS, []),
        (
            {"start_frames": 5},
            INPAINTS,
            ["model_mask.start_frames does nothing: model is given all unmasked pixels."],
        ),
    ],
)
def test_frames_that_an_image_model_is_not_shown_are_told(tmp_path, settings, traits, notes):
    scene = _scene(tmp_path, _frame_mask(9, [4, 5]), **settings)
    assert require("model", traits, scene) == notes


def test_first_last_frame_model_takes_both_ends(tmp_path):
    given = GivenFrames(_scene(tmp_path, _frame_mask(7, slice(1, 6))), FLF2V, "model")
    known = [float(given.known(i).mean()) for i in range(9)]  # 7 frames are padded to 9
    assert known == [1, 0, 0, 0, 0, 0, 1, 1, 1]


def test_masked_start_frame_is_refused_and_a_given_one_replaces_it(tmp_path):
    scene = _scene(tmp_path, _frame_mask(5, slice(0, 5)))
    with pytest.raises(errors.WrongModel, match="start frame, but frame 0 is masked on 100%"):
        GivenFrames(scene, I2V, "model")
    write_png(tmp_path / "start.png", np.full((32, 48, 3), 200, np.uint8))
    given = GivenFrames(scene, I2V, "model")
    assert given.known(0).all()
    np.testing.assert_allclose(given.picture(0), 200 / 127.5 - 1, atol=1e-6)


def test_inpainting_layout_gives_every_unmasked_pixel(tmp_path):
    mask = np.zeros((5, 32, 48), np.uint16)
    mask[:, 8:16, 8:24] = 65535
    given = GivenFrames(_scene(tmp_path / "model", mask), INPAINTS, "model")
    assert (given.known(2) == (mask[2] == 0)).all()
    assert (given.picture(2)[mask[2] > 0] == 0).all()
    asked = GivenFrames(_scene(tmp_path / "asked", mask, known="pixels"), I2V, "model")
    assert (asked.known(2) == given.known(2)).all()
    with pytest.raises(errors.WrongModel, match="start frame"):
        GivenFrames(_scene(tmp_path / "frames", mask, known="frames"), INPAINTS, "model")


@pytest.mark.parametrize("shape", ["same", "hard", "box", "own"])
def test_shapes_of_the_model_mask(tmp_path, shape):
    mask = np.zeros((1, 32, 48), np.uint16)
    mask[0, 8:16, 8:16] = 65535
    mask[0, 20:24, 20:40] = 20000  # below one half
    if shape == "own":
        (tmp_path / "model_mask").mkdir(parents=True)
        write_png(tmp_path / "model_mask" / "000000.png", np.full((32, 48), 65535, np.uint16))
    seen = _scene(tmp_path, mask, shape=shape).mask(0)
    values = {"same": (1, 20000 / 65535, 0), "hard": (1, 0, 0), "box": (1, 0, 0), "own": (1, 1, 1)}
    got = seen[10, 10], seen[22, 30], seen[30, 2]
    np.testing.assert_allclose(got, values[shape], atol=1e-6)


@pytest.mark.parametrize(("before", "after"), [(0, 0), (2, 5), (-1, -2), (3, -2), (-1, 1), (40, 0)])
def test_model_mask_grows_in_time_by_itself(tmp_path, before, after):
    mask = _frame_mask(18, [3, 4, 5, 6, 12])
    mask[5, :16] = 30000
    scene = _scene(tmp_path, mask, grow_before=before, grow_after=after)
    seen = np.stack([scene.mask(i)[:32] for i in range(18)])
    expected = grow_time((mask / 65535).astype(np.float32), before, after)
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    again = np.stack([scene.mask(i)[:32] for i in reversed(range(18))])[::-1]
    assert (again == seen).all()


def test_vace_is_told_to_generate_the_frames_its_mask_grows_by(tmp_path):
    scene = _scene(tmp_path, _frame_mask(17, slice(0, 5)), grow_after=8)
    context = Vace(open_model("", "cpu", "float32"), scene).context
    assert context[0, 32:].amax((0, 2, 3)).tolist() == [1, 1, 1, 1, 0]


def test_vace_splits_at_one_half_and_keeps_the_soft_mask(tmp_path):
    mask = np.zeros((5, 32, 48), np.uint16)
    mask[:, :16], mask[:, 16:] = 60000, 30000
    scene = _scene(tmp_path, mask)
    context = Vace(open_model("", "cpu", "float32"), scene).context
    assert context.shape == (1, 96, 2, 4, 6)
    np.testing.assert_allclose(context[0, 32:, :, :2].numpy(), 60000 / 65535, atol=1e-6)
    np.testing.assert_allclose(context[0, 32:, :, 2:].numpy(), 30000 / 65535, atol=1e-6)


def test_models_are_shown_a_mask_that_leaves_the_canvas_in_the_padding_too(tmp_path):
    """The padding repeats the picture's last row; kept there, what the mask covers would stay."""
    mask = np.zeros((5, 36, 56), np.uint16)
    mask[:, 20:, 16:32] = 65535
    scene = _scene(tmp_path, mask)
    shown = scene.mask(0)
    assert shown.shape == (48, 64)
    assert (shown[20:, 16:32] == 1).all()
    assert shown.sum() == 28 * 16
    context = Vace(open_model("", "cpu", "float32"), scene).context
    assert (context[0, 32:, :, 3:, 2:4] == 1).all()
    assert (context[0, 32:, :, :, 4:] == 0).all()


@pytest.mark.parametrize(("time", "shown"), [("groups", [0, 1, 0]), ("frames", [0, 0, 0])])
def test_vace_is_shown_a_flash_on_every_frame_of_its_group(tmp_path, time, shown):
    """The released sampling reads frames 1, 4 and 7 of nine; the flash is on frame 2."""
    scene = _scene(tmp_path, _frame_mask(9, 2), time=time)
    context = Vace(open_model("", "cpu", "float32"), scene).context
    assert context[0, 32:].amax((0, 2, 3)).tolist() == shown


def test_vace_references_stand_before_the_clip(tmp_path):
    (tmp_path / "references").mkdir(parents=True)
    for i in range(2):
        picture = np.full((20, 20, 4), 255, np.uint8)
        write_png(tmp_path / "references" / f"{i}.png", picture)
    condition = Vace(open_model("", "cpu", "float32"), _scene(tmp_path, _frame_mask(5, slice(5))))
    assert condition.prefix == 2
    assert condition.context.shape[2] == 2 + 2
    assert (condition.context[:, 16:, :2] == 0).all()
    assert (condition.context[:, 32:, 2:] == 1).all()


def test_run_of_less_strength_starts_from_the_references(tmp_path):
    (tmp_path / "references").mkdir(parents=True)
    write_png(tmp_path / "references" / "0.png", np.full((32, 48, 3), 230, np.uint8))
    condition = Vace(open_model("", "cpu", "float32"), _scene(tmp_path, _frame_mask(5, slice(5))))
    z = torch.zeros(1, 16, 2, 4, 6)
    source = with_references(
        MaskedSource(z, make_noise(z.shape, 1), torch.ones(1, 1, 2, 4, 6)), condition, 3
    )
    reference = condition.context[:, :16, :1]
    assert reference.abs().mean() > 0.1
    assert torch.equal(source.z, torch.cat([reference, z], 2))
    assert source.noise.shape == source.z.shape
    assert source.noise[:, :, 0].std() == pytest.approx(1, abs=0.15)
    assert source.mask.shape == (1, 1, 3, 4, 6)
    assert (source.mask == 1).all()


def test_vace_takes_the_masks_of_a_long_shot_one_latent_at_a_time(tmp_path, monkeypatch):
    """All at once they are as large as the latents of the whole shot."""
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 65536, (41, 32, 48)).astype(np.uint16)
    scene = _scene(tmp_path, mask)
    latents = []

    def counted(mask):
        latents.append(mask.shape[0])
        return mask_channels(mask)

    monkeypatch.setattr(vace, "mask_channels", counted)
    context = Vace(open_model("", "cpu", "float32"), scene).context
    assert latents == [1] * 11
    groups = [[0], *(range(i, i + 4) for i in range(1, 41, 4))]
    largest = np.stack([np.max([scene.mask(i) for i in group], axis=0) for group in groups])
    assert torch.equal(context[0, 32:], mask_channels(torch.from_numpy(largest)))


def test_vace_strength_zero_is_no_control_and_wrong_counts_are_refused(tmp_path):
    bundle = open_model("", "cpu", "float32")
    scene = _scene(tmp_path, _frame_mask(5, slice(5)), strength=0.0)
    condition = Vace(bundle, scene)
    x = make_noise((1, 16, 2, 4, 6), 0)
    text = bundle.encode_text(["a red ball"])
    model = bundle.transformer(1.0)
    with torch.no_grad():
        inputs = condition.inputs(x, 0.5, range(2))
        off = model(**inputs, encoder_hidden_states=text, return_dict=False)[0]
        inputs["control_hidden_states"] = inputs["control_hidden_states"] + 1
        other = model(**inputs, encoder_hidden_states=text, return_dict=False)[0]
    assert torch.equal(off, other)
    with pytest.raises(errors.InvalidJob, match=r"strengths has 3 numbers; the shot has 2 latent"):
        Vace(bundle, _scene(tmp_path, _frame_mask(5, slice(5)), strengths=[1.0, 1.0, 1.0]))


def test_per_token_times_follow_the_largest_mask_of_each_token():
    class Bundle:
        class traits:
            patch = 2

    condition = PerToken(Bundle, SimpleNamespace(look=None))
    level = torch.zeros(1, 1, 2, 4, 4)
    level[0, 0, 1, :2, 2:] = 0.5
    times = condition.inputs(torch.zeros(1, 48, 2, 4, 4), level, range(2))["timestep"]
    assert times.tolist() == [[0, 0, 0, 0, 0, 500, 0, 0]]


def test_per_token_runs_show_kept_tokens_clean_and_end_exact():
    mask = torch.zeros(1, 1, 2, 4, 4)
    mask[0, 0, 1, :2, 2:] = 1
    mask[0, 0, 1, 2:, 2:] = 0.5
    z = torch.randn(1, 48, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    source = MaskedSource(z, make_noise(z.shape, 1), mask, clean_tokens=2)
    sigmas = [1.0, 0.6, 0.3, 0.0]
    seen = []

    def perfect(x, level, step):
        seen.append((x.clone(), level.clone()))
        return torch.where(level > 0, (x - z) / level.clamp_min(1e-9), 7.0)

    law = make_law("static", mask, sigmas, 1.0)
    x = denoise(perfect, source, sigmas, law).x
    torch.testing.assert_close(x, z, rtol=1e-4, atol=1e-4)
    kept = (mask == 0).expand_as(z)
    assert torch.equal(x[kept], z[kept])
    for (shown, level), sigma in zip(seen, sigmas):
        assert torch.equal(shown[kept], z[kept])
        assert sorted(set(level.flatten().tolist())) == pytest.approx([0, sigma / 2, sigma])


NANO = Path(nano.__file__).parent


def _asked_of(variant, folder, mask=None, **settings):
    mask = _frame_mask(5, slice(1, 5)) if mask is None else mask
    model = {"model__path": str(NANO / variant)}
    return make_job(folder, noise_plate(*mask.shape), mask, **model, **settings)


@pytest.mark.parametrize(
    ("variant", "settings", "words"),
    [
        ("i2v", {"model_mask__strength": 0.5}, "not made for VACE .* model_mask.strength"),
        ("i2v", {"model_mask__strengths": [1.0, 0.5]}, "not made for VACE .* model_mask.strengths"),
        (
            "i2v",
            {"model_mask__references": "ref.png"},
            "not made for VACE .* model_mask.references",
        ),
        (
            "vace",
            {"model_mask__start_image": "ref.png"},
            "not made for image-to-video .* model_mask.start_image",
        ),
        ("vace", {"model_mask__end_image": "nowhere.png"}, "nowhere.png'; there is no picture"),
        (
            "vace",
            {"model_mask__known": "pixels"},
            "not made for image-to-video .* model_mask.known",
        ),
        (
            "vace",
            {"model_mask__start_frames": 5},
            "not made for image-to-video .* model_mask.start_frames",
        ),
        ("vace", {"model_mask__strengths": [1.0]}, "has 1 numbers; the shot has 2"),
        ("vace", {"model_mask__shape": "own"}, "has 0 mask frames"),
    ],
)
def test_what_a_model_would_ignore_is_refused_before_it_is_loaded(
    tmp_path, variant, settings, words
):
    folder = _asked_of(variant, tmp_path / "job", **settings)
    write_png(folder / "ref.png", np.zeros((32, 48, 3), np.uint8))
    with pytest.raises(errors.WanError, match=words):
        check(folder)


def test_mask_settings_of_a_model_that_is_shown_no_mask_are_noted(tmp_path):
    scene = _scene(tmp_path, _frame_mask(5, slice(2, 5)), shape="box", grow_px=16, start_frames=0)
    words = "5B is shown no mask, so model_mask.shape, model_mask.grow_px does nothing."
    assert require("5B", replace(I2V, kind="ti2v", needs_image=False), scene) == [words]
    assert require("VACE", replace(I2V, kind="vace", needs_image=False), scene) == []
    assert require("Wan", I2V, scene) == []


def test_check_prints_what_the_model_is_not_told(tmp_path):
    folder = _asked_of("i2v", tmp_path / "job", _frame_mask(9, slice(2, 5)))
    notes = check(folder).mask.notes
    assert any(": frames 2, 6-9." in note for note in notes)


def test_check_refuses_a_shot_without_its_start_frame(tmp_path):
    whole = _frame_mask(5, slice(0, 5))
    with pytest.raises(errors.WrongModel, match="start frame, but frame 0 is masked on 100%"):
        check(_asked_of("i2v", tmp_path / "job", whole))
    folder = _asked_of("i2v", tmp_path / "given", whole, model_mask__start_image="ref.jpg")
    write_png(folder / "ref.jpg", np.zeros((32, 48, 3), np.uint8))  # a name says nothing
    assert check(folder).model.kind == "i2v"


def test_references_are_every_picture_of_their_folder(tmp_path):
    folder = _asked_of("vace", tmp_path / "job", model_mask__references="mine")
    (folder / "mine").mkdir()
    for name in ("b.JPG", "a.png", "c.txt"):
        write_png(folder / "mine" / name, np.zeros((32, 48, 3), np.uint8))
    settings = jobs.read(folder).model_mask
    named = [path.name for path in pictures(folder, settings, REFERENCES)]
    assert named == ["a.png", "b.JPG"]


def test_float_picture_is_refused_as_such(tmp_path):
    data = cv2.imencode(".tiff", np.zeros((32, 48), np.float32))[1]
    (tmp_path / "mask.png").write_bytes(data.tobytes())
    with pytest.raises(errors.InvalidJob, match="holds float32 values"):
        read_png(tmp_path / "mask.png")
