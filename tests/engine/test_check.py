# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run would refuse, check refuses with the same words."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save

from tests.engine.folders import make_job, moving_square, noise_plate
from tests.engine.untrained import write_untrained
from wan_blender.core import errors
from wan_blender.core import job as jobs
from wan_blender.core.frame_ranges import frames_in
from wan_blender.core.settings import Job, Shot
from wan_blender.engine.__main__ import main
from wan_blender.engine.check import check
from wan_blender.engine.frames.files import read_png, write_png
from wan_blender.engine.models.bundle import open_model
from wan_blender.engine.models.files.gguf_files import read_gguf
from wan_blender.engine.models.files.tensor_files import component_files, read_header
from wan_blender.engine.pipeline import generate
from wan_blender.engine.watch import Watch


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_untrained(tmp_path_factory.mktemp("models") / "t2v", "t2v")


@pytest.fixture
def job(model, tmp_path, monkeypatch):
    """A job whose prompts are in the cache already, on a copy of the model."""
    monkeypatch.setenv("WAN_BLENDER_CACHE", str(tmp_path / "tensors"))
    shutil.copytree(model, tmp_path / "model")
    folder = make_job(
        tmp_path / "job", noise_plate(5, 32, 48), moving_square(5, 32, 48, 12),
        model__path=str(tmp_path / "model"), sampling__steps=1,
    )  # fmt: skip
    generate(folder, Watch(folder))
    return folder


def _set(folder, **groups):
    data = json.loads((folder / "job.json").read_text())
    for name, value in groups.items():
        data[name] = data[name] | value if isinstance(value, dict) else value
    (folder / "job.json").write_text(json.dumps(data))


def _add_lora(folder, width, more=b""):
    state = {"blocks.0.self_attn.q.lora_down.weight": torch.zeros(2, width),
             "blocks.0.self_attn.q.lora_up.weight": torch.zeros(width, 2)}  # fmt: skip
    path = folder.parent / "l.safetensors"
    path.write_bytes(save(state) + more)
    _set(folder, loras=[{"file": str(path)}])


def _cut_plate(folder):
    path = folder / "plate" / "000002.png"
    path.write_bytes(path.read_bytes()[:-20])


def _draw_plate(folder, *shape, dtype=np.uint8):
    write_png(folder / "plate" / "000002.png", np.zeros(shape, dtype))


def _cut_tokenizer(folder):
    path = folder.parent / "model" / "tokenizer" / "tokenizer.json"
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda f: shutil.rmtree(f.parent / "model" / "tokenizer"), "WeightsMissing", "tokenizer"),
        (_cut_tokenizer, "WeightsMissing", "tokenizer"),
        (lambda f: _set(f, loras=[{"file": "/no/style.safetensors"}]), "WeightsMissing", "/no/st"),
        (lambda f: _set(f, stages=[{"loras": [{"file": "~/no.pt"}]}]), "UnsafeWeights", "no.pt"),
        (lambda f: _add_lora(f, 96), "WrongModel", "another model.*96, 96.*64, 64"),
        (lambda f: _add_lora(f, 64, bytes(9)), "WeightsMissing", "not a usable safetensors"),
        (lambda f: _set(f, model={"device": "cuda"}), "BadRequest", "'cuda'.*\"auto\""),
        (lambda f: _set(f, model={"device": "mps"}), "BadRequest", "'mps'.*\"auto\""),
        (lambda f: _set(f, model={"path": "x" * 5000}), "WeightsMissing", "xxx"),
        (lambda f: _set(f, mask={"frames": "9" * 5000}), "InvalidJob", "mask.frames"),
        (lambda f: _set(f, stages=[{"model": "nano/vace", "steps": 1}]), "WrongModel", "_class"),
        (lambda f: (f / "plate" / "000002.png").write_bytes(b""), "InvalidJob", "2.png.* 0 bytes"),
        (_cut_plate, "InvalidJob", "000002.png is not a PNG file, or it is cut short"),
        (lambda f: _draw_plate(f, 20, 30, 3), "SizeMismatch", "000002.png is 30x20.*48x32"),
        (lambda f: _draw_plate(f, 32, 48, 3, dtype=np.uint16), "InvalidJob", "16 bits.*is 8"),
        (lambda f: _set(f, shot={"bit_depth": 12}), "InvalidJob", "8 bits.*shot.bit_depth is 12"),
    ],
    ids=["no tokenizer", "half", "LoRA", "stage's LoRA", "wide LoRA", "LoRA and more",
         "cuda", "mps", "path", "frames", "kind", "empty plate", "cut plate", "small plate",
         "deep plate", "depth"],
)  # fmt: skip
def test_check_and_run_refuse_alike(job, monkeypatch, capsys, spoil, error, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    spoil(job)
    for refuse in (lambda: check(job), lambda: generate(job, Watch(job))):
        with pytest.raises(getattr(errors, error), match=words):
            refuse()
    assert main(["check", str(job)]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "groups",
    [
        {"loras": [{"file": "/no.safetensors", "weight": 0}]},
        {"loras": [{"file": "/no.safetensors", "expert": "high"}], "stages": [{"expert": "low"}]},
        {"sampling": {"strength": 0.1}, "stages": [
            {"end": 0.9, "model": "/nope", "loras": [{"file": "/no.safetensors"}]}, {},
        ]},
    ],
    ids=["strength 0", "other expert", "stage not reached"],
)  # fmt: skip
def test_what_the_run_does_not_read_may_be_absent(job, groups):
    _set(job, **groups)
    check(job)
    assert generate(job, Watch(job)).schedule


@pytest.mark.parametrize(
    "refuse",
    [
        lambda place: jobs.read(place),
        lambda place: jobs.read(place / "file"),
        lambda place: jobs.create(place / "file" / "job", Job(Shot())),
        lambda place: jobs.create(place / "file", Job(Shot())),
        lambda place: frames_in("900-", 1, 5),
        lambda place: open_model(place / "nowhere"),
        lambda place: component_files(place / "nowhere"),
        lambda place: read_header(place / "a.safetensors"),
        lambda place: read_gguf(place / "a.gguf"),
        lambda place: read_png(place),
    ],
)  # fmt: skip
def test_wrong_path_is_a_bad_request_with_a_hint(tmp_path, refuse):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.BadRequest) as caught:
        refuse(tmp_path)
    assert caught.value.hint


def test_job_may_be_named_by_its_json(job, capsys):
    assert main(["check", str(job / "job.json")]) == 0
    assert json.loads(capsys.readouterr().out)["mask"]["frames"] == 5
