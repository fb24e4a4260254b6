# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark for a card, at a few tokens: it runs through, keeps to its time, and says what it
leaves out."""

import sys
import time
import zipfile

import pytest
import torch

from benchmarks.gpu.__main__ import _SECTIONS, main
from benchmarks.gpu.bench import Bench, Skipped
from benchmarks.gpu.models import call_gb, model_gb, slab_gb
from benchmarks.gpu.wheels import missing, unpack
from benchmarks.shapes import SCALED_14B, WAN_14B, plan_run, random_model, square_mask

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="it would measure the card")


@pytest.fixture(autouse=True)
def _same_noise():
    """Weights are drawn from torch's own generator, which other tests seed as well."""
    with torch.random.fork_rng(devices=[]):
        yield


def test_every_section_fills_the_table(tmp_path, capsys):
    assert main(["--tiny", "--out", str(tmp_path / "table.md")]) == 0
    page = (tmp_path / "table.md").read_text()
    assert page in capsys.readouterr().out
    rows = [line.split(" | ") for line in page.splitlines()[4:]]
    results = {row[0].removeprefix("| "): row[1] for row in rows}
    for what in (
        "tiny: dense call", "tiny large 720p: rows, M/N 1.00",
        "tiny: run of 8 steps, fast, M/N 0.25",
        "tiny: our dense loop / diffusers WanPipeline", "tiny: attention native",
        "VAE decode, region of a 10 % mask / whole", "peak of tiny large, over rows, predicted",
        "tiny: fp8 weights / plain, rows",
    ):  # fmt: skip
        assert results[what][0].isdigit(), (what, results)
    failed = [what for what, said in results.items() if said == "not possible"]
    assert all("attention" in what for what in failed)
    skipped = {what for what, said in results.items() if said == "skipped"}
    assert skipped == {
        "fp8 product / bf16 product", "tiny large: streamed blocks", "tiny: compiled blocks"
    }  # fmt: skip


def test_without_time_every_measurement_says_so(capsys):
    assert main(["--tiny", "--minutes", "0"]) == 0
    rows = capsys.readouterr().out.split("|---|---|---|\n")[1].strip().splitlines()
    assert len(rows) >= len(_SECTIONS)
    assert not [row for row in rows if "| skipped | " not in row]


def test_machine_without_a_card_is_told_of_tiny(capsys):
    assert main([]) == 1
    assert "--tiny" in capsys.readouterr().err


def test_what_fails_becomes_a_row_and_the_table_goes_on():
    bench = Bench(torch.device("cpu"))
    with bench.item("a"):
        raise RuntimeError("CUDA out of memory.\nTried to allocate")
    with bench.item("b"):
        raise Skipped("There is no time.")
    assert [row[:2] for row in bench.rows] == [("a", "not possible"), ("b", "skipped")]
    assert "CUDA out of memory" in bench.rows[0][2]
    with pytest.raises(KeyError), bench.item("c"):
        raise KeyError("a mistake of ours")


def test_measurement_ends_with_its_sections_time():
    bench, calls = Bench(torch.device("cpu")), []
    bench.deadline = time.monotonic() - 1
    bench.seconds(lambda: calls.append(1), 50, 5)
    assert len(calls) == 1
    bench.deadline = float("inf")
    bench.seconds(lambda: calls.append(1), 5, 2)
    assert len(calls) == 1 + 7


def test_wheels_are_taken_only_for_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("torch", "wan_test_wheel"):
        with zipfile.ZipFile(tmp_path / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/__init__.py", "VALUE = 3\n")
    found = missing(tmp_path)
    assert [path.name for path in found] == ["wan_test_wheel-1.0-py3-none-any.whl"]
    unpack(found, tmp_path / "unpacked")
    assert __import__("wan_test_wheel").VALUE == 3
    assert missing(tmp_path) == []


def test_sizes_are_those_of_the_models():
    """reference figures of Wan 14B at 832x480 and 81 frames: 1678 TFLOP with the prompt's own keys
    and values, 28.6 GB of weights, 26.8 GB of keys and values."""
    assert WAN_14B.tokens == 32760
    assert WAN_14B.teraflops() == pytest.approx(1678, rel=0.01)
    assert model_gb(WAN_14B, torch.bfloat16) == pytest.approx(28.6, rel=0.05)
    assert slab_gb(WAN_14B, torch.bfloat16) == pytest.approx(26.8, rel=0.01)
    assert call_gb(WAN_14B, torch.bfloat16) > 3
    parameters = sum(p.numel() for p in random_model(SCALED_14B).parameters())
    assert parameters * 4 / 1e9 == pytest.approx(model_gb(SCALED_14B, torch.float32), rel=0.3)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25, 0.5, 1.0])
def test_mask_takes_its_share_and_a_ring_as_large_as_at_full_size(share):
    for shape in (SCALED_14B, WAN_14B):
        assert square_mask(shape.latents, share).mean() == pytest.approx(share, abs=0.02)
    small, large = (plan_run(s, "fast", share, 40) for s in (SCALED_14B, WAN_14B))
    assert max(small.rows) / small.tokens == pytest.approx(max(large.rows) / large.tokens, abs=0.03)
