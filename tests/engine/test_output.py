# SPDX-License-Identifier: GPL-3.0-or-later
"""From latents to files: each frame once, on no more of the canvas than has to be."""

from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest
import torch

from tests.engine.folders import make_job, moving_square, noise_plate
from tests.engine.untrained import write_untrained
from wan_blender.core import job as jobs
from wan_blender.engine import output
from wan_blender.engine.frames import files
from wan_blender.engine.frames import vae as codec
from wan_blender.engine.frames.files import read_png
from wan_blender.engine.pipeline import generate
from wan_blender.engine.watch import Watch

FRAMES = 9


@pytest.fixture
def reads(monkeypatch):
    """How often each file was decoded, by its path's last two parts."""
    counted = Counter()
    real = files.read_png

    def counting(path):
        counted["/".join(path.parts[-2:])] += 1
        return real(path)

    monkeypatch.setattr(files, "read_png", counting)
    return counted


def job(folder, mask=None, **settings):
    plate = noise_plate(FRAMES, 64, 96)
    mask = moving_square(FRAMES, 64, 96, 20) if mask is None else mask
    settings = {"sampling__steps": 1, "region__mode": "whole"} | settings
    return make_job(folder, plate, mask, **settings)


def test_every_frame_is_decoded_once(tmp_path, monkeypatch, reads):
    """Plate and masks by all that asks for them, and each file of the result by what measures."""
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path / "tensors"))
    matches = {"output__colour_match": True, "output__grain_match": True}
    folder = job(tmp_path / "job", output__full_frames=True, model_mask__time="groups", **matches)
    generate(folder, Watch(folder))
    names = [jobs.frame_name(index) for index in range(FRAMES)]
    kinds = ("plate", "mask", "patch", "frames")
    assert reads == Counter(f"{kind}/{name}" for kind in kinds for name in names)


@pytest.mark.parametrize("settings", [
    {}, {"output__feather_px": 6.0}, {"output__matte": "footprint"}, {"mask__gray": "opacity"},
    {"mask__reduction": "min"}, {"mask__grow_px": 9},
], ids=str)  # fmt: skip
def test_part_of_the_canvas_gives_what_all_of_it_gives(tmp_path, monkeypatch, settings):
    def frames(name):
        folder = job(tmp_path / name, output__full_frames=True, **settings)
        report = generate(folder, Watch(folder))
        paths = sorted(folder.glob("result/*/*.png"))
        return [read_png(path) for path in paths], report.seam

    part, seam = frames("part")
    whole = (slice(0, 64), slice(0, 96))
    monkeypatch.setattr(output, "_work_part", lambda plan, decoded: whole)
    all_of_it, same = frames("whole")
    assert len(part) == len(all_of_it) == 2 * FRAMES
    for one, other in zip(part, all_of_it, strict=True):
        np.testing.assert_array_equal(one, other)
    assert asdict(seam) == pytest.approx(asdict(same), abs=1e-4)


@pytest.mark.parametrize(("chosen", "latents"), [("1", 1), ("2-5", 2), ("9", 3), ("", 3)])
def test_decode_stops_after_the_last_latent_that_is_needed(tmp_path, monkeypatch, chosen, latents):
    seen = []
    real = codec.decode

    def counted(vae, z, box, tile, count):
        for chunk in real(vae, z, box, tile, count):
            seen.append(len(chunk))
            yield chunk

    monkeypatch.setattr(codec, "decode", counted)
    folder = job(tmp_path, mask__frames=chosen, output__full_frames=True)
    report = generate(folder, Watch(folder))
    assert len(seen) == latents
    assert report.max_diff_outside == 0
    assert len(list(folder.glob("result/frames/*.png"))) == FRAMES


def test_first_latents_decode_as_they_do_in_the_whole_clip(tmp_path):
    from wan_blender.engine.models.bundle import open_model

    vae = open_model(write_untrained(tmp_path / "model", "t2v"), "cpu").vae
    latents = torch.randn(1, 16, 4, 4, 6)
    with torch.no_grad():
        whole = list(codec.decode(vae, latents))
        first = list(codec.decode(vae, latents, count=2))
    assert [len(chunk) for chunk in first] == [1, 4]
    for one, other in zip(first, whole, strict=False):
        np.testing.assert_array_equal(one, other)


def test_cancel_ends_the_threads(tmp_path):
    from wan_blender.core.errors import Cancelled

    class Impatient(Watch):
        def step(self, done):
            if self._phase == "decoding" and done == 2:
                raise Cancelled
            super().step(done)

    folder = job(tmp_path)
    with pytest.raises(Cancelled):
        generate(folder, Impatient(folder))
    assert not (folder / "result").exists()
    assert not (folder / "result.part").exists()


def test_matched_patch_leaves_the_plate_alone_and_reads_each_frame_once(
    tmp_path, monkeypatch, reads
):
    """A mask that comes and goes: cuts in time as well as edges."""
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path / "tensors"))
    mask = moving_square(FRAMES, 64, 96, 20)
    mask[:3] = mask[7:] = 0
    written = {}
    for name, settings in {
        "off": {},
        "on": {"output__harmonise": 1.0, "output__match_cuts": "blend"},
    }.items():
        folder = job(tmp_path / name, mask, **settings)
        report = generate(folder, Watch(folder))
        assert report.max_diff_outside == 0
        shown = [read_png(p) for p in sorted((folder / "result" / "patch").glob("*.png"))]
        written[name] = np.stack(shown)
    assert (written["off"][..., 3] == written["on"][..., 3]).all()
    assert (written["off"][..., :3] != written["on"][..., :3]).any()
    assert reads["plate/000000.png"] == 2  # once a run
