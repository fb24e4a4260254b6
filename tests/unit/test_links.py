# SPDX-License-Identifier: GPL-3.0-or-later
"""Links of the pages lead to files that are there, and pictures are small."""

import re
from pathlib import Path

REPO = Path(__file__).parents[2]
PAGES = [*REPO.glob("*.md"), *(REPO / "docs").rglob("*.md"), *(REPO / "benchmarks").glob("*.md")]
ELSEWHERE = {"wan/configs/wan_t2v_A14B.py"}  # of the original code
PICTURE_BYTES = 100 << 10


def test_links_lead_somewhere():
    lost = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path = target.partition("#")[0]
            if path and "://" not in path and not (page.parent / path).exists():
                lost.append(f"{page.relative_to(REPO)}: {target}")
    assert lost == []


def test_files_that_are_named_are_there():
    """By their path from the root, or by an end of it of at least two names."""
    there = [path.as_posix() for top in ("wan_blender", "tests", "docs", "tools", "benchmarks")
             for path in (REPO / top).rglob("*")]  # fmt: skip
    lost = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"`([a-z_]+/[\w/]+\.(?:py|toml|lock|txt|md))`", text):
            if name not in ELSEWHERE and not any(path.endswith(f"/{name}") for path in there):
                lost.append(f"{page.relative_to(REPO)}: {name}")
    assert lost == []


def test_pictures_are_small_and_shown():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for picture in (REPO / "docs" / "images").iterdir():
        assert picture.stat().st_size < PICTURE_BYTES, picture
        assert picture.name in text, f"no page shows {picture.name}"
