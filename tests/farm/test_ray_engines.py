# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch on a Ray cluster of 127.0.0.1, which the tests start and stop. Engines are stubs: real
processes that speak the protocol, without torch. Runs in the farm's environment, make test-farm."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.farm.nodes import Nodes, free_port
from wan_blender.core import job as jobs
from wan_blender.core import settings
from wan_blender.core.result import find_result
from wan_blender.farm.driver import hold_batch

ray = pytest.importorskip("ray", reason="no Ray here; make farm-env")

from wan_blender.farm.ray_engines import Host  # noqa: E402

REPO = Path(__file__).parents[2]
STUB = "tests.unit.stub_engine"


@pytest.fixture
def nodes():
    made = Nodes(Path(sys.executable))
    try:
        made.wait_for_head()
        yield made
    finally:
        made.close()


def make(folder: Path, prompt: str = "a kite") -> Path:
    made = settings.Job(settings.Shot(width=8, height=8, frame_count=1), settings.Prompt(prompt))
    (folder / jobs.PLATE).mkdir(parents=True)
    (folder / jobs.PLATE / "000000.png").write_bytes(b"png")
    return jobs.create(folder, made)


def drive(batch: Path, nodes: Nodes, python: Path, *words: object) -> subprocess.Popen:
    """The driver, ended with the nodes. A busy machine may take minutes to offer an engine."""
    words = ("--patience", 200, *words)
    child = subprocess.Popen(
        [sys.executable, "-m", "wan_blender.farm", "run", batch, "--ray", nodes.address,
         "--python", python, "--cpus", "1", *map(str, words)],
        cwd=REPO, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    nodes.children.append(child)
    return child


def outcomes(out: str) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    for line in out.splitlines():
        data = json.loads(line)
        told.setdefault(Path(data["job"]).name, []).append(data["outcome"])
    return told


def test_two_nodes_do_every_job_once(nodes, stub_python, tmp_path):
    b = tmp_path / "b"
    for number in range(12):
        make(b / f"{number:02d}")
    make(b / "bad", "fail")
    nodes.join()
    nodes.join()
    child = drive(b, nodes, stub_python)
    out, err = child.communicate(timeout=400)
    told = outcomes(out)
    assert told.pop("bad", None) == ["failed"], err
    assert told == {f"{number:02d}": ["done"] for number in range(12)}, err
    assert child.returncode == 1


def test_node_that_is_killed_gives_its_job_to_one_that_joins(nodes, stub_python, tmp_path):
    b = tmp_path / "b"
    make(b / "slow", "slow")
    first = nodes.join()
    child = drive(b, nodes, stub_python)
    while "slow" not in (line := child.stderr.readline()) and line:
        pass
    path = b / "slow" / "job.json"
    path.write_text(path.read_text().replace('"slow"', '"quick"'))
    nodes.kill(first)
    nodes.join()
    out, err = child.communicate(timeout=400)
    assert outcomes(out) == {"slow": ["done"]}, err
    assert find_result(b / "slow")


def test_driver_that_is_killed_is_started_again(nodes, stub_python, tmp_path):
    b = tmp_path / "b"
    for number in range(4):
        make(b / str(number), "a kite" if number else "slow")
    nodes.join()
    child = drive(b, nodes, stub_python)
    while not find_result(b / "1") and child.poll() is None:
        time.sleep(0.05)
    child.kill()
    child.communicate()
    path = b / "0" / "job.json"
    path.write_text(path.read_text().replace('"slow"', '"quick"'))
    again = drive(b, nodes, stub_python)
    out, err = again.communicate(timeout=400)
    assert again.returncode == 0, err
    assert outcomes(out)["0"] == ["done"]
    assert all(find_result(b / str(number)) for number in range(4))


def test_disk_whose_locks_a_node_does_not_see_is_refused(tmp_path):
    """The driver holds the batch; a node that does not see that shares no locks with it."""
    make(tmp_path / "a")
    with hold_batch(tmp_path):
        seen = Host(str(tmp_path), "/nowhere/python", 1, STUB)
    blind = Host(str(tmp_path), "/nowhere/python", 1, STUB)
    assert [event.error["code"] for event in seen.poll()] == ["EngineMissing"]
    (event,) = blind.poll()
    assert event.kind == "gone"
    assert "no working locks" in event.error["message"]


def test_cluster_without_an_engine_is_told(nodes, stub_python, tmp_path):
    make(tmp_path / "b" / "a")
    child = drive(tmp_path / "b", nodes, stub_python, "--patience", 3)
    out, err = child.communicate(timeout=120)
    assert (child.returncode, out) == (1, "")
    assert "No node offers an engine after 3 s" in err


def test_address_without_a_cluster_is_told(stub_python, tmp_path):
    make(tmp_path / "b" / "a")

    class Nowhere:
        address = f"127.0.0.1:{free_port()}"
        children = []

    child = drive(tmp_path / "b", Nowhere, stub_python)
    _, err = child.communicate(timeout=120)
    assert child.returncode == 1
    assert "There is no Ray cluster at 127.0.0.1" in err
