# SPDX-License-Identifier: GPL-3.0-or-later
"""One command for a CUDA machine without a network:

    python -m benchmarks.gpu [--wheels FOLDER] [--minutes 9] [--out FILE] [--tiny]

Prints a table, in Markdown. Needs torch, numpy, transformers and what wheels.txt lists; weights are
random. ``--tiny`` runs everything at a few tokens, on any machine, to see that it runs.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
import time
from pathlib import Path

from .wheels import missing, unpack

# name in models.py or memory.py, share of the time that it may take up to its end
_SECTIONS = {
    "passes": 0.45, "runs": 0.55, "pipeline": 0.60, "backends": 0.65, "vae": 0.70, "peaks": 0.76,
    "packed": 0.80, "streamed": 0.85, "compiled": 1.0,
}  # fmt: skip


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--wheels", type=Path, help="folder with the wheels of wheels.txt")
    parser.add_argument("--minutes", type=float, default=9.0, help="longest time for all of it")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    parser.add_argument("--tiny", action="store_true", help="a few tokens, on any machine")
    parser.add_argument("--only", nargs="*", choices=list(_SECTIONS), help="these sections")
    asked = parser.parse_args(arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        if asked.wheels:
            unpack(missing(asked.wheels), Path(folder))
        return _measure(asked, began)


def _measure(asked: argparse.Namespace, began: float) -> int:
    import torch

    from . import memory, models
    from .bench import Bench
    from .sizes import REAL, TINY

    if not asked.tiny and not torch.cuda.is_available():
        print("torch finds no CUDA card here; --tiny runs without one.", file=sys.stderr)
        return 1
    bench = Bench(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    sizes = TINY if asked.tiny else REAL
    torch.manual_seed(0)
    for name, share in _SECTIONS.items():
        if asked.only and name not in asked.only:
            continue
        print(f"== {name}, {time.monotonic() - began:.0f} s", flush=True)
        # the last tenth is for what a call takes longer than was thought
        bench.deadline = began + 60 * asked.minutes * 0.9 * share
        section = getattr(models, name, None) or getattr(memory, name)
        with bench.item(name):
            section(bench, sizes)
    page = table(bench.rows, _machine(torch), time.monotonic() - began)
    print(page)
    if asked.out:
        asked.out.write_text(page, encoding="utf-8")
    return 0


def _machine(torch) -> str:
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "no card"
    from diffusers import __version__ as diffusers

    return f"{datetime.date.today()}, {card}, torch {torch.__version__}, diffusers {diffusers}"


def table(rows: list[tuple[str, str, str]], machine: str, seconds: float) -> str:
    lines = [f"{machine}, {seconds:.0f} s", "", "| what | result | how |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
