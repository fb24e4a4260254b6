# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a batch from folders in every state, and the page that loads nothing."""

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from wan_blender.core import job as jobs
from wan_blender.core.errors import BadRequest
from wan_blender.core.lock import Claim
from wan_blender.farm.exports import CellNote
from wan_blender.farm.report import Look, write_report
from wan_blender.farm.status import list_jobs, read_status

NASTY = '=HYPERLINK("x")<script>alert(1)</script>'
DONE = {
    "max_diff_outside": 0, "seam": {"gradient_ratio": 0.5, "colour_step": 0.1, "visible": 0.4},
    "cuts": [{"frame": 3, "moved": 0.06, "own": 0.05}, {"frame": 9, "moved": 0.09, "own": 0.05}],
    "seconds": {"reading": 1.0, "denoising": 2.5}, "model": {"name": NASTY},
}  # fmt: skip


def make(folder, varied=None, events=(), report=None):
    folder.mkdir(parents=True)
    (folder / "job.json").write_text("{}")
    if varied is not None:
        CellNote("harbour & co", "key", 0, varied).write(folder)
    for event, details in events:
        jobs.append_state(folder, event, **details)
    if report is not None:
        (folder / "result").mkdir()
        (folder / "result" / "report.json").write_text(json.dumps(report))


def _text(path):
    return Path(path).read_text(encoding="utf-8")


@pytest.fixture
def batch(tmp_path):
    b = tmp_path / "b"
    error = {"code": "OutOfMemory", "message": NASTY, "hint": "Buy <more>."}
    make(b / "done", {"sampling.seed": 3}, report=DONE)
    make(b / "failed", {"sampling.seed": 4}, [("created", {}), ("failed", error)])
    make(b / "waiting")
    make(b / "again", events=[("failed", error), ("reading", {"seconds": 1})])
    make(b / "torn", events=[("cancelled", {"code": "Cancelled", "message": "Cancelled."})])
    with open(b / "torn" / "state.jsonl", "ab") as journal:
        journal.write(b'{"event": "rea')
    make(b / "running", events=[("reading", {})])
    make(b / "broken", report=["no report"])
    with Claim(b / "running"):
        yield b


def test_each_outcome_is_read_from_the_folder(batch):
    told = {path.name: read_status(path).outcome for path in list_jobs(batch)}
    assert told == {
        "done": "done", "failed": "failed", "waiting": "waiting", "again": "waiting",
        "torn": "cancelled", "running": "running", "broken": "failed",
    }  # fmt: skip
    assert read_status(batch / "running").phase == "reading"


def test_figures_and_failures_are_in_all_three_files(batch):
    seen = []
    answer = write_report(
        batch, lambda folder: Look(b"jpeg", 0.125), lambda done, total: seen.append((done, total))
    )
    assert answer["counts"] == {"done": 1, "running": 1, "waiting": 2, "failed": 2, "cancelled": 1}
    assert seen[-1] == (7, 7)
    lines = [json.loads(line) for line in _text(answer["lines"]).splitlines()]
    rows = list(csv.DictReader(_text(answer["csv"]).splitlines()))
    assert [row["job"] for row in rows] == [line["job"] for line in lines]
    by_job = {line["job"]: line for line in lines}
    done = by_job["done"]
    assert (done["seconds"], done["seam"], done["flicker"], done["outside"]) == (3.5, 0.5, 0.125, 0)
    assert (done["visible"], done["jump"]) == (0.4, 0.04)
    assert by_job["failed"]["jump"] == ""
    assert done["varied"] == {"sampling.seed": 3}
    assert by_job["failed"]["error"] == NASTY
    csv_failed = next(row for row in rows if row["job"] == "failed")
    assert csv_failed["error"] == "'" + NASTY
    assert csv_failed["sampling.seed"] == "4"


class Seen(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.sources, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        self.sources += [value for name, value in attrs if name.startswith("on")]


def test_page_holds_its_pictures_and_loads_and_runs_nothing(batch):
    answer = write_report(batch, lambda folder: Look(b"jpeg", None), lambda done, total: None)
    text = _text(answer["page"])
    page = Seen()
    page.feed(text)
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert page.sources == ["data:image/jpeg;base64,anBlZw=="]
    assert "url(" not in text
    assert "Buy &lt;more&gt;." in text
    assert "harbour &amp; co" in text


def test_result_that_cannot_be_seen_is_in_the_report_all_the_same(batch):
    answer = write_report(batch, lambda folder: None, lambda done, total: None)
    assert answer["counts"]["done"] == 1
    assert "<img" not in _text(answer["page"])


def test_folder_without_jobs_is_refused(tmp_path):
    with pytest.raises(BadRequest, match="holds no jobs"):
        write_report(tmp_path, lambda folder: None, lambda done, total: None)
