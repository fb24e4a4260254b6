# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/reference/report.md has every field of the report, and no other."""

import re

from tools.report_reference import PAGE, page


def test_reference_is_what_the_dataclasses_say():
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make reference`"


def test_every_field_and_no_other_is_in_it():
    from wan_blender.core.answers import report

    written = re.split("\n## ", PAGE.read_text(encoding="utf-8"))[1]
    named = re.findall(r"^\| `(\w+)` \| \S.* \| .+ \|$", written, re.M)
    assert named == list(report.Report.__dataclass_fields__)
