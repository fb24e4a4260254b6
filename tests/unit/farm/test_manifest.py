# SPDX-License-Identifier: GPL-3.0-or-later
"""batch.toml: what it asks for, and that what is wrong with it is told by its line."""

import textwrap
from pathlib import Path

import pytest

from wan_blender.core.errors import InvalidBatch
from wan_blender.farm.manifest import parse, read_manifest
from wan_blender.farm.toml_lines import Lines

HERE = Path("/films/batch.toml")


def plan(text: str, path: Path = HERE):
    return parse(textwrap.dedent(text), path)


def test_matrix_makes_each_combination_of_each_shot():
    batch = plan("""
        [settings]
        sampling.steps = 30
        mask.grow_px = 2
        [matrix]
        seeds = "3-5"
        models = ["nano/vace", "models/wan"]
        settings = [{ hygiene.mode = "off" }, { hygiene.mode = "soft", sampling.steps = 8 }]
        [[shots]]
        strips = ["A", "B"]
        prompt = "a kite"
        [[shots]]
        strip = "C"
        matrix.seeds = [9]
        matrix.models = [""]
        settings.mask.grow_px = 4
    """)
    assert [shot.strip for shot in batch.shots] == ["A", "B", "C"]
    assert len(batch.cells) == 2 * 3 * 2 * 2 + 2
    assert len({cell.folder for cell in batch.cells}) == len(batch.cells)
    last = batch.cells[-1]
    assert last.settings == {
        "sampling.steps": 8, "mask.grow_px": 4, "sampling.seed": 9, "model.path": "",
        "hygiene.mode": "soft",
    }  # fmt: skip
    assert "prompt.text" not in last.settings
    assert batch.cells[0].settings["prompt.text"] == "a kite"
    assert batch.cells[0].varied == {
        "sampling.seed": 3, "model.path": "nano/vace", "hygiene.mode": "off",
    }  # fmt: skip


def test_folders_stay_when_others_are_added_and_change_with_what_is_asked():
    def folders(text):
        return {cell.folder for cell in plan(text).cells}

    shot = '[[shots]]\nstrip = "A 1"\n'
    first = folders(f"matrix.seeds = [1, 2]\n{shot}")
    assert folders(f'matrix.seeds = [2, 1, 3]\n{shot}[[shots]]\nstrip = "B"') > first
    assert not folders(f"matrix.seeds = [1, 2]\nsettings.sampling.steps = 5\n{shot}") & first
    assert all(folder.startswith("A-1-s") for folder in first)
    same = folders(f"settings.sampling.guidance = 3\n{shot}")
    assert same == folders(f"settings.sampling.guidance = 3.0\n{shot}")


def test_relative_paths_are_those_of_the_manifest():
    batch = plan("""
        settings.loras = [{ file = "loras/a.safetensors", weight = 0.5 }]
        matrix.models = ["nano/i2v", "models/wan", "/srv/wan", "~/wan"]
        [[shots]]
        strip = "A"
    """)
    resolved = [cell.resolved(batch.base) for cell in batch.cells]
    assert [settings["model.path"] for settings in resolved] == [
        "nano/i2v", "/films/models/wan", "/srv/wan", "~/wan",
    ]  # fmt: skip
    assert resolved[0]["loras"][0]["file"] == "/films/loras/a.safetensors"
    assert batch.cells[0].settings["loras"][0]["file"] == "loras/a.safetensors"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('[[shots]]\nstrip = "A"\nstep = 3', 3, "'step'.*'strip'"),
        ('[settings]\nsampling.stps = 3\n[[shots]]\nstrip = "A"', 2, "'sampling.steps'"),
        ('[settings]\nsampling.steps = 3000\n[[shots]]\nstrip = "A"', 2, "3000; expected 1 to"),
        ('[settings.sampling]\nseed = 1\nsteps = "x"\n[[shots]]\nstrip = "A"', 3, "an integer"),
        ('[matrix]\nseeds = [\n1,\n-2]\n[[shots]]\nstrip = "A"', 2, "seed is -2"),
        ('[matrix]\nseeds = "9-2"\n[[shots]]\nstrip = "A"', 2, '"1-20"'),
        ('[matrix]\nmodels = []\n[[shots]]\nstrip = "A"', 2, "expected a list"),
        ('[matrix]\nmask.grow_px = 3\n[[shots]]\nstrip = "A"', 2, "expected a list"),
        ('[matrix]\nsettings = [3]\n[[shots]]\nstrip = "A"', 2, "not a table of settings"),
        ('[[shots]]\nstrip = "A"\n[[shots]]\nstrip = "B"\nblend = "no.blend"', 5, "no.blend"),
        ('[[shots]]\nstrip = "A"\n[[shots]]\nstrip = "A"', 3, "asked for twice.*line 2"),
        ('[matrix]\nseeds = [1, 1]\n[[shots]]\nstrip = "A"', 3, "asked for twice"),
        ('matrix.seeds = [1]\nmatrix.sampling.seed = [2]\n[[shots]]\nstrip = "A"', 3, "both set"),
        ('[settings]\nshot.width = 3\n[[shots]]\nstrip = "A"', 2, "written by export"),
        ('version = 2\n[[shots]]\nstrip = "A"', 1, "version is 2"),
        ('title = "x"', 1, "'title' means nothing"),
        ("[settings]", 1, "no shots"),
        ('[[shots]]\nprompt = "x"', 1, "strip"),
        ('[[shots]]\nstrip = 3', 2, "expected text"),
        ('[[shots]]\nstrip = "A"\npriority = 9999', 3, "-1000 to 1000"),
        ('[[shots]]\nstrip = "A"\n[shots.settings.mask]\ngrow_px = 9999', 4, "9999"),
        ('[matrix]\nseeds = "0-90000"\nshift = [1, 2]\n[[shots]]\nstrip = "A"', 3, "no setting"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_its_line(text, line, words):
    with pytest.raises(InvalidBatch, match=rf"batch\.toml, line {line}: .*{words}"):
        plan(text)


def test_matrix_of_too_many_jobs_is_refused_before_it_is_made():
    with pytest.raises(InvalidBatch, match=r"line 4: the matrix makes 180,002 jobs"):
        plan("""
            matrix.seeds = "0-90000"
            matrix.mask.grow_px = [1, 2]
            [[shots]]
            strip = "A"
        """)


def test_broken_toml_and_text_are_told(tmp_path):
    with pytest.raises(InvalidBatch, match=r"not valid TOML.*line 2"):
        plan("version = 1\nx = = 2")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidBatch, match="UTF-8"):
        read_manifest(tmp_path / "b.toml")


def test_ten_thousand_jobs_are_planned():
    shots = "\n".join(f'[[shots]]\nstrip = "S{n}"' for n in range(100))
    assert len(plan(f'matrix.seeds = "1-100"\n{shots}').cells) == 10_000


def test_lines_of_values_in_every_form():
    text = textwrap.dedent('''\
        # a comment with = and [brackets]
        top = """
        x = 1
        [no.header]
        """
        "quoted = key".inner = 3
        a.b.c = [
          "]",  # not yet
          2,
        ]
        [t.u]
        x = {y = 1, z = [2]}
        [[list]]
        k = 1
        [[list.inner]]
        k = 2
        [[list.inner]]
        k = 3
        [[list]]
        [list.deep]
        k = 4
        ''')
    find = Lines(text).find
    assert find("top") == 2
    assert find("quoted = key", "inner") == 6
    assert find("a", "b") == find("a", "b", "c", 1) == 7
    assert find("t", "u", "x", "y") == 12
    assert find("list", 0, "k") == 14
    assert find("list", 0, "inner", 1, "k") == 18
    assert find("list", 1, "deep", "k") == 21
    assert find("nowhere") == 1
