# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/reliability.md: what was tried, how often, and what broke."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

from .tally import Campaign, Tally, load

HEAD = """# Reliability

Made by `make campaign`, which tries to break the add-on by the thousand: `campaigns/` holds the
tries, each known by its number and seed, `tests/` a short form of each. A run that was stopped goes
on where it was. *Broken* are tries that broke the promise and still do; *mended* those that broke
it once and keep it since the code was changed.

{date}, {machine}

| campaign | tried / goal | broken | mended | promise | outcomes | worst |
|---|---|---|---|---|---|---|
"""

OPEN = """
## Not reached, and not tried
- Not built yet: hostile projects in a window; full disks, quota, stopped processes, clocks and
  disks without locks as a campaign; kills of the export and of Blender. `tests/` has single cases.
- Counts below their goal were cut off by the time that the machine had.
- Memory still rises when the endless run ends, slowly; where it goes is not known.
"""


def row(name: str, campaign: Campaign, told: Tally) -> str:
    kinds = sorted(told.kinds.items(), key=lambda item: -item[1])
    outcomes = ", ".join(f"{count:,} {kind}" for kind, count in kinds)
    worst = ", ".join(f"{name} {value:.4g}" for name, value in sorted(told.worst.items()))
    return (
        f"| {name} | {told.done:,} / {campaign.COUNT:,} | {len(told.broken)} | {told.mended} | "
        f"{campaign.PROMISE} | {outcomes or '-'} | {worst or '-'} |"
    )


def write(page: Path, campaigns: dict[str, Campaign], work: Path, seed: int) -> None:
    """The page about all ``campaigns`` whose tallies lie in ``work``."""
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    text = HEAD.format(date=datetime.date.today(), machine=machine)
    for name, campaign in campaigns.items():
        text += row(name, campaign, load(work / f"{name}.json", seed)) + "\n"
    text += OPEN
    text += "\n## What is real\n"
    for name, campaign in campaigns.items():
        text += f"- **{name}**: {campaign.MEANS}\n"
    page.write_text(text, encoding="utf-8")
