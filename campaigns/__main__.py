# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m campaigns [NAME ...] [--seed S] [--count N] [--minutes M] [--work DIR]

Tries campaign after campaign, all without a NAME, and writes docs/reliability.md. What was tried is
kept in DIR, so a run that was stopped goes on; ``--count`` is the number of tries in all, of each.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from . import table, tally

NAMES = ("pixels", "kills", "mangled", "servers", "endless")
REPO = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="campaigns", description=__doc__)
    parser.add_argument("name", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=0, help="tries in all; the goal's by default")
    parser.add_argument("--minutes", type=float, default=0.0, help="for each campaign")
    parser.add_argument("--work", type=Path, default=REPO / ".cache" / "campaigns")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.name if name not in NAMES]:
        parser.error(f"there is no campaign {unknown[0]!r}; there are: {', '.join(NAMES)}")
    broken = 0
    for name in options.name or NAMES:
        campaign = importlib.import_module(f"{__package__}.{name}")
        told = tally.run(name, campaign, options.work, options.seed, options.count, options.minutes)
        print(table.row(name, campaign, told), flush=True)
        broken += len(told.broken)
    found = {name: importlib.import_module(f"{__package__}.{name}") for name in NAMES}
    table.write(REPO / "docs" / "reliability.md", found, options.work, options.seed)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
