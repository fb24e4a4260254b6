# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tools.train_nano STAGE --minutes M`: train the bundled model, stage by stage."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from .course import train_course
from .drafts import make_drafts, train_on_drafts
from .examples import make_examples
from .report import as_table, report, write_card
from .ship import TARGET, adopt, ship
from .text import train_text
from .transformer import train_variant
from .vae import polish_decoder, train_vae

GO_ON = 75  # what `course` exits with while there is more to do
WORK = Path(".cache/train_nano")
STAGES = (
    "vae", "decoder", "text", "examples", "vace", "image", "low", "drafts", "finish", "ship",
    "adopt", "report", "course",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.train_nano", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--kind", choices=("vace", "image"), default="vace")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--helpers", type=int, default=1, help="more processes on the weights")
    parser.add_argument("--share", type=float, default=1.0, help="report: share of the clips")
    parser.add_argument("--only", default="", help="report: measures, such as structure,bridge")
    parser.add_argument("--of", type=Path, default=TARGET, help="report: the models to measure")
    parser.add_argument("--scale", type=float, default=1.0, help="course: of its budgets")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--side", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    size = (options.frames, options.side, options.side)
    folder, minutes = options.work, options.minutes
    if options.stage == "vae":
        train_vae(folder, minutes, helpers=options.helpers).save_pretrained(folder / "vae")
    elif options.stage == "decoder":
        polish_decoder(folder, minutes, helpers=options.helpers)
    elif options.stage == "text":
        train_text(folder, minutes)
    elif options.stage == "examples":
        make_examples(folder, options.kind, minutes)
    elif options.stage == "drafts":
        make_drafts(folder, minutes)
    elif options.stage == "finish":
        train_on_drafts(folder, minutes, helpers=options.helpers)
    elif options.stage == "ship":
        print("shipped:", *ship(folder))
    elif options.stage == "course":
        done = train_course(folder, minutes, options.scale, options.share, options.helpers)
        sys.exit(0 if done else GO_ON)
    elif options.stage == "adopt":
        adopt(folder)
    elif options.stage == "report":
        figures = report(options.of, size, options.share, folder / "sheets", options.only)
        table = as_table(figures, size)
        print(table)
        if options.share >= 1.0 and not options.only and options.of == TARGET:
            write_card(table)
    else:
        train_variant(options.stage, folder, minutes, options.helpers)


if __name__ == "__main__":
    main()
