# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers survive JSON; those of other versions and other people are read by stated rules."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from wan_blender.core.answers.hygiene import TreatmentReport
from wan_blender.core.answers.insight import Return
from wan_blender.core.answers.report import Compute, Memory, Report, SeamReport, SeenSize, Spread
from wan_blender.core.answers.typed import entry, read, to_json

FULL = Report(
    1,
    {"sampling": {"seed": 3}},
    size=SeenSize((0, 0, 64, 48), (64, 48), 9, (3, 6, 8), 36, ((0, 2), (1, 3))),
    memory=Memory(2, 3.5, True, "2 of 3.5 GB", ("tiled decode",)),
    compute=Compute("fast", "fast", staleness=Spread(0.5, 1.0), passes={"full": 2}),
    hygiene=TreatmentReport("soft", low_passed_steps=(1, 4)),
    max_diff_outside=0,
    seam=SeamReport(1.01),
    loras_skipped={"a.safetensors": ("blocks.0",)},
    files={"patch/000000.png": (12, "ab")},
)


def test_report_survives_json():
    assert read(Report, json.loads(json.dumps(to_json(FULL))), "report") == FULL


def test_what_was_not_measured_is_not_written():
    told = to_json(FULL)
    assert "takes" not in told
    assert told["seam"] == {"gradient_ratio": 1.01}
    assert read(Report, {}, "report") == Report()


def test_fields_of_a_newer_version_are_ignored():
    newer = to_json(FULL) | {"mood": "good", "seam": {"gradient_ratio": 1.01, "smell": 2}}
    assert read(Report, newer, "report") == FULL


@pytest.mark.parametrize("seam", [3, [], {"gradient_ratio": "high"}, {"colour_step": math.nan}])
def test_a_part_that_does_not_fit_is_absent_and_the_rest_is_read(seam):
    assert read(Report, to_json(FULL) | {"seam": seam}, "r") == dataclasses.replace(FULL, seam=None)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], r"^it is \[\]; expected an object$"),
        ({"max_diff_outside": "0"}, "^it.max_diff_outside is '0'; expected a number"),
        ({"max_diff_outside": True}, "is True; expected a number"),
        ({"seconds": {"reading": None}}, r"it.seconds\['reading'\] is None; expected a number"),
        ({"seconds": {"reading": 10**400}}, "expected a number"),
        ({"files": {"x": [1]}}, r"it.files\['x'\] is \[1\]; expected a list of 2"),
        ({"files": {"x": [1.5, "ab"]}}, "is 1.5; expected a whole number"),
        ({"loras_skipped": {"x": [1]}}, r"it.loras_skipped\['x'\]\[0\] is 1; expected text"),
        ({"device": {"deep": [0] * 9999}}, r"^.{,120}expected text$"),
    ],
)
def test_what_does_not_fit_is_named(data, said):
    with pytest.raises(ValueError, match=said):
        read(Report, data, "it")


def test_a_field_without_a_default_is_required():
    with pytest.raises(ValueError, match="it has no 'frame'"):
        read(Return, {"before": 1}, "it")


def test_paths_are_written_as_text_and_read_as_paths():
    @dataclasses.dataclass
    class Found:
        path: Path = entry("Where it is")

    found = Found(Path("/a/b"))
    assert to_json(found) == {"path": str(found.path)}


def test_long_reports_are_read_without_text_for_each_place():
    """One entry for every frame of the longest timeline."""
    files = {f"patch/{i:06d}.png": [i, "ab"] for i in range(20_000)}
    assert len(read(Report, {"files": files}, "it").files) == 20_000
