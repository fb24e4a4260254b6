# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest that Batch... writes is one that a batch reads, whatever things are called."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan_blender.core.errors import BadRequest
from wan_blender.farm.draft import DraftShot, write_draft
from wan_blender.farm.manifest import read_manifest

TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)


@given(TEXT, TEXT, TEXT)
def test_any_name_comes_back(scene, strip, prompt):
    with tempfile.TemporaryDirectory() as folder:
        blend = Path(folder, "a\tb \"c'.blend")
        blend.touch()
        path = Path(folder, "sub", "batch.toml")
        path.parent.mkdir()
        write_draft(path, [DraftShot(blend, scene, strip, prompt)], 3, 2)
        plan = read_manifest(path)
        (shot,) = plan.shots
        assert plan.blend(shot).resolve() == blend.resolve()
        assert (shot.scene, shot.strip) == (scene, strip)
        assert [cell.settings["sampling.seed"] for cell in plan.cells] == [3, 4]
        assert plan.cells[0].settings["prompt.text"] == prompt


def test_only_drafts_are_replaced(tmp_path):
    blend = tmp_path / "a.blend"
    blend.touch()
    path = tmp_path / "batch.toml"
    for strip in ("A", "B"):
        write_draft(path, [DraftShot(blend, "Scene", strip, "")], 0, 1)
    assert [shot.strip for shot in read_manifest(path).shots] == ["B"]
    path.write_text('[[shots]]\nstrip = "by hand"\n')
    with pytest.raises(BadRequest, match="was not written by"):
        write_draft(path, [DraftShot(blend, "Scene", "A", "")], 0, 1)
    assert "by hand" in path.read_text()
    with pytest.raises(BadRequest, match="cannot be written"):
        write_draft(tmp_path / "c.toml", [DraftShot(blend, "Scene", "\udc80", "")], 0, 1)
    assert not (tmp_path / "c.toml").exists()
