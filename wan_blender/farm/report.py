# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of a batch: a CSV file, JSON lines, and one page to look at. stdlib only.

The page is one file: pictures are inside, nothing is fetched and no script runs.
"""

from __future__ import annotations

import base64
import csv
import html
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from ..core.answers.report import Report
from ..core.errors import from_os_error
from ..core.files import replacing
from .page_style import STYLE
from .status import JobStatus, count, list_jobs, read_status

CSV, LINES, PAGE = "report.csv", "report.jsonl", "report.html"
PICTURES_AT_MOST = 2000  # about 40 MB of page
COLUMNS = (
    "job", "shot", "outcome", "seconds", "seam", "colour_step", "visible", "jump", "flicker",
    "outside", "kept", "peak_memory_gb", "device", "model", "error",
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """What a result looks like: a strip of frames as JPEG, and the mean second difference over time
    of what was generated, 0..1; None for a shot of fewer than three frames."""

    sheet: bytes
    flicker: float | None


@dataclass(frozen=True)
class Row:
    """One job of the report. ``values`` has COLUMNS, ``varied`` what the matrix gave it."""

    values: dict[str, Any]
    varied: dict[str, Any]
    hint: str
    sheet: bytes = b""


def write_report(
    folder: Path, look: Callable[[Path], Look | None], on_job: Callable[[int, int], None]
) -> dict[str, Any]:
    """Write the three files into the batch ``folder``; where they are, and how many jobs are how.
    ``look`` gives what a result looks like, None where it cannot be read. Raises BadRequest for a
    folder without jobs, DiskFull."""
    statuses, rows, pictures = [], [], 0
    listed = list_jobs(folder)
    for done, path in enumerate(listed, 1):
        status = read_status(path)
        seen = look(path) if status.outcome == "done" and pictures < PICTURES_AT_MOST else None
        pictures += seen is not None
        statuses.append(status)
        rows.append(_row(status, seen))
        on_job(done, len(listed))
    rows.sort(key=lambda row: (row.values["shot"], row.values["job"]))
    counted = count(statuses)
    try:
        for name, text in (
            (CSV, _csv(rows)),
            (LINES, _lines(rows)),
            (PAGE, _page(folder, rows, counted)),
        ):
            with replacing(folder / name) as file:
                file.write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise from_os_error(error, "writing the report") from error
    files = {"page": PAGE, "csv": CSV, "lines": LINES}
    return {"counts": counted, **{key: str(folder / name) for key, name in files.items()}}


def _row(status: JobStatus, look: Look | None) -> Row:
    report = status.report
    values: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    values |= {"job": status.folder.name, "shot": status.shot, "outcome": status.outcome}
    values["error"] = status.error.get("message", "")
    if report:
        values |= {
            "seconds": round(sum(report.seconds.values()), 2),
            "seam": _known(report.seam and report.seam.gradient_ratio),
            "colour_step": _known(report.seam and report.seam.colour_step),
            "visible": _known(report.seam and report.seam.visible),
            "jump": _known(_largest_jump(report)),
            "outside": _known(report.max_diff_outside),
            "kept": _known(report.max_latent_diff_kept),
            "peak_memory_gb": _known(report.peak_vram_gb or report.peak_memory_gb),
            "device": report.device,
            "model": report.model.name if report.model else "",
        }
    if look and look.flicker is not None:
        values["flicker"] = round(look.flicker, 5)
    varied = status.note.varied if status.note else {}
    return Row(values, varied, status.error.get("hint", ""), look.sheet if look else b"")


def _largest_jump(report: Report) -> float | None:
    """How much further the picture moves at a cut than beside it, 0..1."""
    jumps = [round(cut.moved - cut.own, 5) for cut in report.cuts]
    return max(jumps, default=None)


def _known(value: Any) -> Any:
    return "" if value is None else value


def _varied_names(rows: Sequence[Row]) -> list[str]:
    return sorted({name for row in rows for name in row.varied})


def _csv(rows: Sequence[Row]) -> str:
    names = _varied_names(rows)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*COLUMNS, *names])
    for row in rows:
        varied = [_plain(row.varied[name]) if name in row.varied else "" for name in names]
        writer.writerow([_cell(value) for value in [*row.values.values(), *varied]])
    return out.getvalue()


def _cell(value: Any) -> Any:
    """A spreadsheet takes text that begins like this for a formula."""
    risky = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if risky else value


def _lines(rows: Sequence[Row]) -> str:
    return "".join(
        json.dumps({**row.values, "hint": row.hint, "varied": row.varied}, ensure_ascii=False)
        + "\n"
        for row in rows
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# -- the page


def _page(folder: Path, rows: Sequence[Row], counted: dict[str, int]) -> str:
    told = ", ".join(f"{number} {outcome}" for outcome, number in counted.items())
    failed = [row for row in rows if row.values["error"]]
    shots = groupby(rows, lambda row: row.values["shot"])
    body = "".join(_shot(str(name), list(group)) for name, group in shots)
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<meta http-equiv='Content-Security-Policy' "
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{_text(folder.name)}</title><style>{STYLE}</style></head><body>"
        f"<header><h1>{_text(folder.name)}</h1><p>{len(rows)} jobs: {_text(told)}</p></header>"
        f"{_failures(failed)}{body}{_table(rows)}</body></html>\n"
    )


def _failures(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    lines = "".join(
        f"<li><b>{_text(row.values['job'])}</b> {_text(row.values['error'])} "
        f"<span>{_text(row.hint)}</span></li>"
        for row in rows
    )
    return f"<section class='failures'><h2>Failed or cancelled</h2><ul>{lines}</ul></section>"


def _shot(name: str, rows: Sequence[Row]) -> str:
    cards = "".join(map(_card, rows))
    return f"<section><h2>{_text(name)}</h2><div class='cards'>{cards}</div></section>"


def _card(row: Row) -> str:
    values = row.values
    picture = f"<p class='none'>{_text(values['outcome'])}</p>"
    if row.sheet:
        data = base64.b64encode(row.sheet).decode()
        alt = f"Frames of {values['job']}"
        picture = f"<img loading='lazy' alt='{_text(alt)}' src='data:image/jpeg;base64,{data}'>"
    measured = [
        (name, values[name])
        for name in ("seam", "visible", "jump", "flicker", "outside", "seconds")
    ]
    said = [*((name.rpartition(".")[2], _plain(v)) for name, v in row.varied.items()),
            *((name, v) for name, v in measured if v not in ("", None))]  # fmt: skip
    listed = "".join(f"<div><dt>{_text(n)}</dt><dd>{_text(v)}</dd></div>" for n, v in said)
    return (
        f"<article class='{_text(values['outcome'])}'>{picture}"
        f"<h3>{_text(values['job'])}</h3><dl>{listed}</dl></article>"
    )


def _table(rows: Sequence[Row]) -> str:
    names = _varied_names(rows)
    head = "".join(f"<th>{_text(name)}</th>" for name in [*COLUMNS, *names])
    lines = []
    for row in rows:
        varied = [_plain(row.varied[name]) if name in row.varied else "" for name in names]
        cells = "".join(f"<td>{_text(v)}</td>" for v in [*row.values.values(), *varied])
        lines.append(f"<tr>{cells}</tr>")
    return (
        "<details><summary>All figures</summary><div class='wide'><table>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div></details>"
    )


def _text(value: Any) -> str:
    return html.escape("" if value is None else str(value), quote=True)
