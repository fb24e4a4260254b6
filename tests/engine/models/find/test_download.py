# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads against a server that drops connections: resumed, verified, cancelled, refused."""

from __future__ import annotations

import contextlib
import email.utils
import errno
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from huggingface_hub._local_folder import read_download_metadata

from tests.engine.models.hub import COMMIT, OLDER, Hub, serve
from tests.engine.models.layouts import velocity
from wan_blender.core import transfer
from wan_blender.core.errors import BadRequest, Cancelled, DiskFull, UserError
from wan_blender.core.http import network_error
from wan_blender.engine.cli import models
from wan_blender.engine.models.bundle import open_model
from wan_blender.engine.models.find import catalogue as shelf
from wan_blender.engine.models.find import download
from wan_blender.engine.models.find.at_hand import find_files
from wan_blender.engine.models.find.catalogue import (
    Entry,
    LoraEntry,
    PartEntry,
    RemoteFile,
    catalogue,
    lora_catalogue,
    part_catalogue,
)
from wan_blender.engine.models.find.download import fetch, fetch_files, list_repository
from wan_blender.engine.models.layout import commit_of

ROOT = Path(__file__).parents[4]
BIG = random.Random(0).randbytes(3_000_000)


@pytest.fixture
def hub(monkeypatch):
    hub = Hub({"a/b": {"big.safetensors": BIG, "readme.md": b"hello"}})
    server = serve(hub)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def no_pause(monkeypatch):
    monkeypatch.setattr(transfer.time, "sleep", lambda _s: None)


def big(**told):
    sha = hashlib.sha256(BIG).hexdigest()
    return replace(RemoteFile("a/b", "big.safetensors", COMMIT, len(BIG), sha), **told)


def test_dropped_connections_are_continued(hub, tmp_path):
    hub.drop_after, hub.drops = 400_000, 5
    told = []
    fetch_files({big(): tmp_path / "m" / "big.safetensors"}, told.append)
    assert (tmp_path / "m" / "big.safetensors").read_bytes() == BIG
    assert [p.name for p in (tmp_path / "m").glob("*.*") if p.is_file()] == ["big.safetensors"]
    assert hub.ranges[:3] == ["", "bytes=400000-", "bytes=800000-"]
    assert told[-1].done == told[-1].total == len(BIG)
    assert all(a.done <= b.done for a, b in itertools.pairwise(told))
    assert told[-1].speed_mb_s > 0


def answer(handler, code, body=b"", length=None, **headers):
    """``length`` None is not told; an answer that is shorter ends the connection."""
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), str(value))
    if length is not None:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()
    with contextlib.suppress(ConnectionError):
        handler.wfile.write(body)
    handler.close_connection = True


def once(*odd):
    """A Hub's ``odd`` that answers once with each of these, then as it should."""
    left = list(odd)

    def take(handler, data, start):
        if left:
            left.pop(0)(handler, data, start)
            return True
        return False

    return take


PAGE = b"<html>Sign in to the hotel's network</html>"


@pytest.mark.parametrize("arrived", [0, 30, 1_500_000])
@pytest.mark.parametrize("length", [len(PAGE), None])
def test_login_page_is_no_part_of_a_file(hub, tmp_path, no_pause, arrived, length):
    place = tmp_path / "big.safetensors"
    transfer.part_of(place).write_bytes(BIG[:arrived])
    hub.odd = lambda handler, *_: not answer(handler, 200, PAGE, length)
    with pytest.raises(UserError, match=r"something else than big.*login page .*what had arrived"):
        fetch_files({big(): place})
    assert transfer.part_of(place).read_bytes() == BIG[:arrived]
    hub.odd = once(lambda handler, *_: answer(handler, 200, PAGE, length))
    told = []
    fetch_files({big(): place}, told.append)
    assert place.read_bytes() == BIG
    assert hub.ranges[-1] == (f"bytes={arrived}-" if arrived else "")
    assert told[-1].done == len(BIG)


def whole_file(handler, data, _start):
    answer(handler, 200, data, len(data))


def whole_file_as_range(handler, data, _start):
    told = f"bytes 0-{len(data) - 1}/{len(data)}"
    answer(handler, 206, data, len(data), Content_Range=told)


@pytest.mark.parametrize("odd", [whole_file, whole_file_as_range])
def test_file_from_its_beginning_is_taken_from_where_the_download_stopped(hub, tmp_path, odd):
    place, told = tmp_path / "big.safetensors", []
    transfer.part_of(place).write_bytes(BIG[:1_500_000])
    hub.odd = once(odd)
    fetch_files({big(): place}, told.append)
    assert place.read_bytes() == BIG
    assert hub.ranges == ["bytes=1500000-"]
    assert told[-1].done == len(BIG)


def test_file_that_always_breaks_off_at_its_beginning_is_given_up_and_kept(
    hub, tmp_path, no_pause, monkeypatch
):
    monkeypatch.setattr(transfer, "_TRIES", 3)
    place = tmp_path / "big.safetensors"
    hub.odd = lambda handler, data, _: not answer(handler, 200, data[:1_000_000], len(data))
    with pytest.raises(UserError, match="sends nothing more"):
        fetch_files({big(): place})
    assert transfer.part_of(place).read_bytes() == BIG[:1_000_000]
    assert len(hub.ranges) == 4


def test_range_from_further_on_is_not_appended(hub, tmp_path, no_pause):
    place = tmp_path / "big.safetensors"
    transfer.part_of(place).write_bytes(BIG[:1_000])
    told = f"bytes 2000-{len(BIG) - 1}/{len(BIG)}"
    hub.odd = once(
        lambda h, data, _: answer(h, 206, data[2000:], len(BIG) - 2000, Content_Range=told)
    )
    fetch_files({big(): place})
    assert place.read_bytes() == BIG


def test_endless_answer_writes_no_more_than_the_file(hub, tmp_path):
    place, largest = tmp_path / "big.safetensors", [0]

    def watch(_transfer):
        largest[0] = max(largest[0], transfer.part_of(place).stat().st_size)

    hub.odd = lambda handler, data, _: not answer(handler, 200, data * 5)
    with pytest.raises(UserError, match="more than its 3000000 bytes"):
        fetch_files({big(): place}, watch)
    assert 0 < largest[0] <= len(BIG)
    assert transfer.part_of(place).stat().st_size == 0
    assert len(hub.ranges) == 1  # so much is not sent eight times


def test_file_without_a_told_length_is_taken_when_it_is_whole(hub, tmp_path):
    hub.odd = once(lambda handler, data, _: answer(handler, 200, data))
    fetch_files({big(): tmp_path / "big.safetensors"})
    assert (tmp_path / "big.safetensors").read_bytes() == BIG
    assert len(hub.ranges) == 1


def test_dropped_connections_without_a_told_length_are_continued(hub, tmp_path):
    """As a proxy does that ends an answer by ending the connection."""
    step = 1_000_000
    hub.odd = lambda handler, data, start: (
        not answer(handler, 206 if start else 200, data[start : start + step], Content_Type="x/y")
    )
    told = []
    fetch_files({big(): tmp_path / "big.safetensors"}, told.append)
    assert (tmp_path / "big.safetensors").read_bytes() == BIG
    assert hub.ranges == ["", f"bytes={step}-", f"bytes={2 * step}-"]
    assert all(a.done <= b.done for a, b in itertools.pairwise(told))


def test_long_login_page_is_no_part_of_a_file(hub, tmp_path):
    place, page = tmp_path / "big.safetensors", PAGE + bytes(400_000)
    hub.odd = once(lambda handler, *_: answer(handler, 200, page, Content_Type="text/html"))
    fetch_files({big(): place})
    assert place.read_bytes() == BIG
    assert hub.ranges == ["", ""]


def test_leftover_that_is_larger_than_the_file_is_forgotten(hub, tmp_path):
    (tmp_path / "big.safetensors.part").write_bytes(bytes(len(BIG) + 1))
    fetch_files({big(): tmp_path / "big.safetensors"})
    assert (tmp_path / "big.safetensors").read_bytes() == BIG


def test_server_that_is_asked_too_often_is_asked_again_when_it_says(hub, tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr(transfer.time, "sleep", slept.append)
    date = email.utils.format_datetime(datetime.now(UTC) + timedelta(seconds=100))
    hub.odd = once(
        *(
            lambda handler, *_, code=code, after=after: answer(
                handler, code, b"", 0, Retry_After=after
            )
            for code, after in ((429, "7"), (408, "nonsense"), (503, date))
        )
    )
    told = []
    fetch_files({big(): tmp_path / "big.safetensors"}, told.append)
    assert (tmp_path / "big.safetensors").read_bytes() == BIG
    assert sum(slept[:14]) == 7
    assert 90 < sum(slept[15:]) <= 101
    assert [one.wait_s for one in told[:14]] == [7 - n / 2 for n in range(14)]
    assert {(one.done, one.speed_mb_s, one.eta_s) for one in told[:14]} == {(0, 0.0, -1.0)}
    assert told[-1].wait_s == 0


def test_server_that_always_asks_to_wait_is_not_waited_for_longer_in_all(
    hub, tmp_path, monkeypatch
):
    slept = []
    monkeypatch.setattr(transfer.time, "sleep", slept.append)
    hub.odd = lambda handler, *_: not answer(handler, 503, b"", 0, Retry_After=140)
    with pytest.raises(UserError, match=r"answers 503 .*Try again later"):
        fetch_files({big(): tmp_path / "big.safetensors"})
    assert sum(slept) == 280
    assert len(hub.ranges) == 3


def test_wait_that_is_asked_for_begins_anew_once_more_arrives(hub, tmp_path, no_pause):
    def short_answer(handler, data, start):
        answer(handler, 206 if start else 200, data[start : start + 900_000], len(data) - start)

    def busy(handler, *_):
        answer(handler, 503, b"", 0, Retry_After=200)

    hub.odd = once(busy, short_answer, busy, short_answer, busy)
    fetch_files({big(): tmp_path / "big.safetensors"})
    assert (tmp_path / "big.safetensors").read_bytes() == BIG


@pytest.mark.parametrize(
    ("code", "after", "words"),
    [
        (429, 3600, r"answers 429 to big\.safetensors.*try again in 60 min.*what has arrived"),
        (404, 0, "answers 404 .*update the extension"),
        (503, 3600, "answers 503 .*Try again later"),
    ],
)
def test_refusal_says_what_to_do(hub, tmp_path, monkeypatch, code, after, words):
    monkeypatch.setattr(transfer.time, "sleep", lambda _s: pytest.fail("waits"))
    hub.odd = lambda handler, *_: not answer(handler, code, b"", 0, Retry_After=after)
    with pytest.raises(UserError, match=words):
        fetch_files({big(): tmp_path / "big.safetensors"})


def test_refused_certificate_is_no_odd_answer():
    """ssl's error is a ValueError too."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    assert "cannot be reached" in str(network_error("https://hub/a", "big", error))


@pytest.mark.parametrize(
    ("told", "asked"),
    [
        ("hf-mirror.com", "https://hf-mirror.com"),
        ("http://127.0.0.1:1/", "http://127.0.0.1:1"),
        ("", "https://huggingface.co"),
    ],
)
def test_endpoint_may_be_a_bare_host(monkeypatch, told, asked):
    monkeypatch.setenv("HF_ENDPOINT", told)
    assert download.endpoint() == asked


@pytest.mark.parametrize("odd", [PAGE, {"sha": {}}, [{"type": "file", "path": 3}], 5])
def test_listing_that_is_none_is_told(hub, monkeypatch, odd):
    monkeypatch.setattr(Hub, "listing", lambda *_: odd)
    with pytest.raises(UserError, match=r"something else than .*a/b"):
        list_repository("a/b")


def test_second_process_does_not_fetch_into_the_same_place(hub, tmp_path):
    """While the first one waits for a silent server; afterwards it finds the file there."""
    place, reached, go = tmp_path / "m" / "big.safetensors", threading.Event(), threading.Event()

    def silent(handler, data, _start):
        reached.set()
        assert go.wait(60)
        answer(handler, 200, data, len(data))

    hub.odd = once(silent)
    first = threading.Thread(target=fetch_files, args=({big(): place},))
    first.start()
    assert reached.wait(60)
    with pytest.raises(UserError, match=rf"downloaded to .* already: Process {os.getpid()} on"):
        fetch_files({big(): place})
    go.set()
    first.join()
    assert place.read_bytes() == BIG
    assert list(place.parent.glob("*.part*")) == []
    assert len(hub.ranges) == 1


def test_lock_whose_name_is_gone_is_made_anew(hub, tmp_path, monkeypatch):
    """As when the one who held it removes it just before it is locked."""
    holds = []

    def hold_late(path):
        file = hold(path)
        if not holds:
            path.unlink()
        holds.append(path.exists())
        return file

    hold = transfer.hold
    monkeypatch.setattr(transfer, "hold", hold_late)
    fetch_files({big(): tmp_path / "big.safetensors"})
    assert holds == [False, True]


def test_lock_on_a_file_system_that_tells_other_numbers_is_taken(hub, tmp_path, monkeypatch):
    """Some network mounts do: an open file seems to be another than the one of its name."""
    taken, place = [], tmp_path / "big.safetensors"

    def hold_counted(path):
        taken.append(hold(path))
        return taken[-1]

    hold = transfer.hold
    monkeypatch.setattr(transfer, "hold", hold_counted)
    monkeypatch.setattr(transfer.os.path, "samestat", lambda *_: len(taken) > 100)
    fetch_files({big(): place})
    assert place.read_bytes() == BIG
    assert len(taken) < 10
    assert all(file.closed for file in taken)


def test_lock_is_let_go_where_its_name_cannot_be_looked_up(hub, tmp_path, monkeypatch):
    taken = []

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    def hold_and_spoil(path):
        taken.append(hold(path))
        monkeypatch.setattr(transfer.os.path, "samestat", fail)
        return taken[-1]

    hold = transfer.hold
    monkeypatch.setattr(transfer, "hold", hold_and_spoil)
    with pytest.raises(UserError, match="Input/output error"):
        fetch_files({big(): tmp_path / "big.safetensors"})
    assert [file.closed for file in taken] == [True]


def test_file_that_another_process_writes_to_is_not_called_right(hub, tmp_path, monkeypatch):
    """As on a file system without locks."""
    place = tmp_path / "big.safetensors"
    hub.drop_after, hub.drops = 1_000_000, 1

    def meddle(told):
        if told.done == 1_000_000:
            with open(transfer.part_of(place), "ab") as file:
                file.write(b"meddled")

    with pytest.raises(UserError, match="another process writes to it"):
        fetch_files({big(): place}, meddle)
    assert not place.exists()


def test_cancelled_download_goes_on_where_it_stopped(hub, tmp_path):
    place = tmp_path / "big.safetensors"

    def stop(transfer):
        if transfer.done > 1_000_000:
            raise Cancelled

    with pytest.raises(Cancelled):
        fetch_files({big(): place}, stop)
    part = tmp_path / "big.safetensors.part"
    assert not place.exists()
    kept = part.stat().st_size
    assert 1_000_000 < kept < len(BIG)
    fetch_files({big(): place})
    assert hub.ranges[-1] == f"bytes={kept}-"
    assert place.read_bytes() == BIG


def test_killed_process_leaves_what_the_next_one_continues(hub, tmp_path):
    """SIGKILL in the middle of a file, as a crash or a power cut would."""
    place = tmp_path / "big.safetensors"
    code = (
        "import time\n"
        "from pathlib import Path\n"
        "from wan_blender.core import transfer\n"
        "from wan_blender.engine.models.find import download\n"
        "from wan_blender.engine.models.find.catalogue import RemoteFile\n"
        "transfer._CHUNK = 4096\n"
        f"file = RemoteFile('a/b', 'big.safetensors', '{COMMIT}', {len(BIG)}, '{big().sha256}')\n"
        f"download.fetch_files({{file: Path({str(place)!r})}}, lambda t: time.sleep(0.002))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=dict(os.environ))
    part = tmp_path / "big.safetensors.part"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (part.exists() and part.stat().st_size > 100_000):
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = part.stat().st_size
    assert 100_000 < kept < len(BIG)
    fetch_files({big(): place})
    assert hub.ranges[-1] == f"bytes={kept}-"
    assert place.read_bytes() == BIG


def test_files_that_are_there_are_not_fetched_again(hub, tmp_path):
    place = tmp_path / "big.safetensors"
    fetch_files({big(): place})
    count = len(hub.asked)
    fetch_files({big(): place})
    assert len(hub.asked) == count


def test_wrong_bytes_are_found_and_removed(hub, tmp_path):
    hub.corrupt = "big.safetensors"
    with pytest.raises(UserError, match="SHA-256"):
        fetch_files({big(): tmp_path / "big.safetensors"})
    assert list(tmp_path.iterdir()) == []


def test_leftover_of_another_file_is_found_and_removed(hub, tmp_path):
    (tmp_path / "big.safetensors.part").write_bytes(bytes(1000))
    with pytest.raises(UserError, match="arrived damaged"):
        fetch_files({big(): tmp_path / "big.safetensors"})
    fetch_files({big(): tmp_path / "big.safetensors"})
    assert (tmp_path / "big.safetensors").read_bytes() == BIG


def test_server_that_sends_nothing_is_given_up(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "_TRIES", 2)
    hub.odd = lambda handler, _data, _start: not answer(handler, 200, b"", len(BIG))
    with pytest.raises(UserError, match="sends nothing more"):
        fetch_files({big(): tmp_path / "big.safetensors"})


@pytest.mark.parametrize(
    "error",
    [
        ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
        OSError(errno.EHOSTUNREACH, "No route to host"),
        OSError(errno.ENETUNREACH, "Network is unreachable"),
    ],
)
def test_network_that_fails_in_the_middle_is_tried_again(hub, tmp_path, monkeypatch, error):
    stream, failures = transfer._stream, [error] * 3
    monkeypatch.setattr(transfer.time, "sleep", lambda _s: None)

    def fail(*arguments):
        if failures:
            raise failures.pop()
        return stream(*arguments)

    monkeypatch.setattr(transfer, "_stream", fail)
    fetch_files({big(): tmp_path / "big.safetensors"})
    assert (tmp_path / "big.safetensors").read_bytes() == BIG
    failures += [error] * transfer._TRIES
    with pytest.raises(UserError, match=r"cannot be reached: .*what has arrived is kept"):
        fetch_files({big(): tmp_path / "other.safetensors"})


def test_disk_that_fails_in_the_middle_is_no_network(hub, tmp_path, monkeypatch):
    def fail(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(transfer, "_stream", fail)
    with pytest.raises(DiskFull):
        fetch_files({big(): tmp_path / "big.safetensors"})


def test_unreachable_server_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="cannot be reached"):
        list_repository("a/b")


def test_full_disk_is_told_before_anything_is_fetched(hub, tmp_path):
    huge = big(size=10**18)
    with pytest.raises(DiskFull, match=r"1000000000\.0 GB"):
        fetch_files({huge: tmp_path / "big.safetensors"})
    assert hub.asked == []


def test_unknown_repository_and_file_are_told(hub):
    with pytest.raises(UserError, match="404"):
        list_repository("no/where")
    with pytest.raises(UserError, match=r"no file gone\.safetensors"):
        download.complete(RemoteFile("a/b", "gone.safetensors"))


def test_hash_in_the_catalogue_must_agree(hub):
    with pytest.raises(UserError, match=r"another big\.safetensors"):
        download.complete(RemoteFile("a/b", "big.safetensors", sha256="0" * 64))
    assert download.complete(RemoteFile("a/b", "big.safetensors")).size == len(BIG)


def test_entry_may_name_a_commit(hub, tmp_path, monkeypatch):
    hub.older = {"a/b": {"big.safetensors": BIG[::-1]}}
    told = {"repository": "a/b", "path": "big.safetensors", "revision": OLDER}
    words = {"title": "Old", "licence": "MIT", "expert": "both", "fills": "x"}
    data = {"loras": {"old": told | words}, "shared": {"old": told | words}, "models": {}}
    monkeypatch.setattr(shelf, "_read", lambda: data)
    lora = download.lora_places(shelf.lora_catalogue.__wrapped__()["old"], tmp_path / "lora")
    part = download.part_places(shelf.part_catalogue.__wrapped__()["old"], tmp_path / "part")
    whole = download.model_places(entry(repository="a/b", revision=OLDER), tmp_path / "whole")
    for places in (lora, part, whole):
        fetch_files(places)
        assert [place.read_bytes() for place in places.values()] == [BIG[::-1]]
        assert {commit_of(place) for place in places.values()} == {OLDER}


def test_the_commit_that_main_was_is_noted_beside_a_download(hub, tmp_path):
    hub.files["a/b"]["vae/big.safetensors"] = BIG
    places = download.model_places(entry(repository="a/b"), tmp_path)
    fetch_files(places)
    assert {commit_of(place) for place in places.values()} == {COMMIT}
    for file in places:
        noted = read_download_metadata(tmp_path / "tiny", file.path)
        assert (noted.commit_hash, noted.etag) == (COMMIT, file.sha256)
    changed = next(iter(places.values()))
    os.utime(changed, (time.time() + 60, time.time() + 60))
    assert commit_of(changed) == ""


def test_token_is_sent(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    fetch_files({big(): tmp_path / "b.safetensors"})
    assert hub.tokens[-1] == "Bearer hf_x"


def test_listing_leaves_out_pickles_code_and_paths_that_leave_the_folder(hub):
    hub.files["a/b"] |= {
        "model.bin": BIG, "x.py": b"", "../up.safetensors": BIG, "C:/x.safetensors": BIG,
        "/abs.safetensors": BIG, "vae/config.json": b"{}",
    }  # fmt: skip
    names = {file.path for file in list_repository("a/b")}
    assert names == {"big.safetensors", "readme.md", "vae/config.json"}


def entry(**told) -> Entry:
    return Entry(
        "tiny", "Tiny", "Apache-2.0", "t2v", 0.1, (), (), 81, 16, 20, 5.0, 5.0, "here", **told
    )  # fmt: skip


def test_fetched_repository_opens(hub, tmp_path, folders):
    hub.files["tiny/model"] = {
        str(path.relative_to(folders["t2v"])): path.read_bytes()
        for path in folders["t2v"].rglob("*")
        if path.is_file()
    }
    hub.drop_after, hub.drops = 50_000, 3
    folder = fetch(entry(repository="tiny/model"), tmp_path)
    bundle = open_model(folder, "cpu")
    assert bundle.traits == open_model(folders["t2v"], "cpu").traits
    assert bundle.revision == COMMIT


def test_fetched_files_make_a_model_that_opens(hub, tmp_path, folders):
    parts = {}
    for part in ("transformer", "vae", "text_encoder"):
        path = next((folders["t2v"] / part).glob("*.safetensors"))
        hub.files["tiny/files"] = hub.files.get("tiny/files", {}) | {
            f"split/{part}.safetensors": path.read_bytes()
        }
        parts[part] = RemoteFile("tiny/files", f"split/{part}.safetensors", part=part)
    folder = fetch(entry(files=tuple(parts.values())), tmp_path)
    shutil.copy(
        folders["t2v"] / "transformer" / "config.json",
        tmp_path / "files" / "tiny--files" / "split" / "config.json",
    )
    shutil.copytree(folders["t2v"] / "tokenizer", folder / "tokenizer")
    bundle = open_model(folder, "cpu")
    assert bundle.revision == COMMIT
    part = bundle.parts["transformer"]
    reference = open_model(folders["t2v"], "cpu").transformer(1.0)
    assert (velocity(part.model) - velocity(reference)).abs().max() < 2e-6


@pytest.mark.parametrize(
    ("key", "kind", "boundary", "parameters_b"),
    [
        ("wan2_1_t2v_1_3b", "t2v", None, 1.3),
        ("wan2_1_t2v_14b", "t2v", None, 14.3),
        ("wan2_1_i2v_14b_480p", "i2v", None, 16.4),
        ("wan2_1_i2v_14b_720p", "i2v", None, 16.4),
        ("wan2_1_flf2v_14b", "flf2v", None, 16.4),
        ("wan2_1_vace_1_3b", "vace", None, 2.1),
        ("wan2_1_vace_14b", "vace", None, 17.3),
        ("wan2_2_t2v_a14b", "t2v", 0.875, 28.6),
        ("wan2_2_i2v_a14b", "i2v", 0.9, 28.6),
        ("wan2_2_ti2v_5b", "ti2v", None, 5.0),
        ("wan2_2_vace_fun_a14b_q4", "vace", 0.875, 34.6),
        ("wan2_2_fun_inp_a14b_fp8", "i2v", 0.9, 28.6),
    ],
)
def test_catalogue_has_every_released_model(key, kind, boundary, parameters_b):
    entry = shelf.find_entry(key)
    assert (entry.kind, entry.boundary, entry.parameters_b) == (kind, boundary, parameters_b)


def test_catalogue_is_complete_and_speaks_of_what_exists():
    entries = catalogue()
    assert {"t2v", "i2v", "flf2v", "vace", "ti2v"} == {e.kind for e in entries.values()}
    for key, model in entries.items():
        assert model.licence == "Apache-2.0", key
        assert bool(model.repository) != bool(model.files), key
        assert model.steps >= 20, key
        assert model.source, key
        assert all(lora in lora_catalogue() for lora in model.loras), key
        if model.files:
            named = {file.part for file in model.files}
            needed = {"transformer", "vae", "text_encoder"}
            assert named == needed | ({"transformer_2"} if model.boundary else set()), key
        for file in (model, *model.files):
            assert re.fullmatch(r"main|[0-9a-f]{40}", file.revision), key
        for file in model.files:
            assert len(file.sha256) in (0, 64)
            assert file.path.endswith((".safetensors", ".gguf"))
    for key, part in part_catalogue().items():
        assert part.title, key
        assert part.licence in ("Apache-2.0", "MIT"), key
        assert part.file.part, key
        assert len(part.file.sha256) == 64, key
        assert part.file.size > 0, key
    keys = [*entries, *lora_catalogue(), *part_catalogue()]
    assert len(keys) == len(set(keys))
    with pytest.raises(BadRequest, match="wan2_1_vace_14b"):
        shelf.find_entry("nonsense")


def test_part_is_fetched_alone_and_given_to_the_model_that_lacks_it(
    hub, tmp_path, monkeypatch, capsys
):
    file = big(part="tokenizer", path="google/umt5-xxl/spiece.model")
    entry = PartEntry("umt5", "Tokenizer", "Apache-2.0", "the tokenizer", file)
    hub.files["a/b"][file.path] = BIG
    monkeypatch.setattr(models, "part_catalogue", lambda: {"umt5": entry})
    monkeypatch.setattr(models.signal, "signal", lambda *_: None)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "wan_blender.json").write_text('{"components": {"vae": "v"}, "boundary": 0.9}')
    assert models.main(["price", "umt5", "--to", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["needed"] == len(BIG)
    words = ["fetch", "umt5", "--to", str(tmp_path), "--into", str(folder)]
    assert models.main(words) == 0
    place = tmp_path / "files" / "a--b" / file.path
    assert place.read_bytes() == BIG
    told = json.loads((folder / "wan_blender.json").read_text())
    assert told == {"components": {"vae": "v", "tokenizer": str(place)}, "boundary": 0.9}


OTHER = BIG[::-1]
THIRD = BIG[:2_000_000]


@pytest.fixture
def owned(hub, tmp_path, monkeypatch):
    """A model of three single files, two of which the user's ComfyUI and Hugging Face cache have:
    part -> path. Its key is "tiny"."""
    hub.files["a/b"] |= {"split/vae/other.safetensors": OTHER, "third.gguf": THIRD}
    files = tuple(
        RemoteFile("a/b", path, part=part)
        for part, path in (
            ("transformer", "third.gguf"),
            ("vae", "split/vae/other.safetensors"),
            ("text_encoder", "big.safetensors"),
        )
    )
    monkeypatch.setattr(models, "find_entry", lambda _key: entry(files=files))
    monkeypatch.setattr(models.signal, "signal", lambda *_: None)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "ComfyUI"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    encoder = tmp_path / "ComfyUI" / "models" / "text_encoders" / "wan" / "big.safetensors"
    blob = tmp_path / "hub" / "models--a--b" / "blobs" / ("0" * 64)
    vae = blob.parents[1] / "snapshots" / COMMIT / "split" / "vae" / "other.safetensors"
    for path, data in ((encoder, BIG), (blob, OTHER)):
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    vae.parent.mkdir(parents=True)
    vae.symlink_to(blob)
    return {"vae": vae, "text_encoder": encoder}


def price(capsys, *words):
    assert models.main(["price", "tiny", *map(str, words)]) == 0
    return json.loads(capsys.readouterr().out)


def test_files_that_others_have_already_are_used_where_they_lie(hub, owned, tmp_path, capsys):
    told = price(capsys, "--to", tmp_path / "to")
    assert (told["needed"], told["total"]) == (len(THIRD), len(BIG) + len(OTHER) + len(THIRD))
    assert set(told["found"]) == {str(path) for path in owned.values()}
    assert models.main(["fetch", "tiny", "--to", str(tmp_path / "to")]) == 0
    assert len(hub.ranges) == 1
    made = json.loads((tmp_path / "to" / "tiny" / "wan_blender.json").read_text())["components"]
    third = tmp_path / "to" / "files" / "a--b" / "third.gguf"
    assert made == {"transformer": str(third)} | {k: str(path) for k, path in owned.items()}
    assert third.read_bytes() == THIRD
    assert not (third.parent / "big.safetensors").exists()


def test_file_of_the_right_name_and_size_only_is_fetched(hub, owned, tmp_path, capsys):
    """One that a folder leads to which the user names is the right one, among two."""
    owned["vae"].resolve().write_bytes(OTHER[:-1] + b"!")
    owned["text_encoder"].write_bytes(bytes(len(BIG)))
    mine = tmp_path / "elsewhere" / "big.safetensors"
    mine.parent.mkdir()
    (tmp_path / "disk").mkdir()
    told = f"comfyui:\n  base_path: {mine.parent}\n  text_encoders: .\n"
    (tmp_path / "disk" / "extra_model_paths.yaml").write_text(told)
    (mine.parent / "again").symlink_to(mine.parent)
    shutil.copy(owned["text_encoder"], mine)
    mine.write_bytes(BIG)
    words = ["--to", str(tmp_path / "to"), "--look", str(tmp_path / "disk")]
    assert price(capsys, *words)["needed"] == len(THIRD)
    assert models.main(["fetch", "tiny", *words]) == 0
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (said[-1]["done"], said[-1]["total"]) == (len(OTHER) + len(THIRD),) * 2
    assert len(hub.ranges) == 2
    made = json.loads((tmp_path / "to" / "tiny" / "wan_blender.json").read_text())["components"]
    assert made["text_encoder"] == str(mine)
    assert Path(made["vae"]).read_bytes() == OTHER
    assert Path(made["vae"]).is_relative_to(tmp_path / "to")


def test_files_that_are_at_hand_need_no_room(hub, owned, tmp_path, monkeypatch):
    room = download._SPARE + len(THIRD)
    monkeypatch.setattr(download, "free_bytes", lambda _places: room)
    assert models.main(["fetch", "tiny", "--to", str(tmp_path / "to")]) == 0
    shutil.rmtree(tmp_path / "to")
    owned["text_encoder"].unlink()
    assert models.main(["fetch", "tiny", "--to", str(tmp_path / "to")]) == DiskFull.exit_code
    assert len(hub.ranges) == 1


def test_lora_and_part_that_are_at_hand_are_not_fetched(hub, owned, tmp_path, monkeypatch, capsys):
    lora = LoraEntry("tiny_lora", "Tiny", "MIT", "both", RemoteFile("a/b", "big.safetensors"))
    vae = RemoteFile("a/b", "split/vae/other.safetensors", part="vae")
    monkeypatch.setattr(models, "lora_catalogue", lambda: {"tiny_lora": lora})
    monkeypatch.setattr(
        models, "part_catalogue", lambda: {"tiny_vae": PartEntry("tiny_vae", "V", "MIT", "v", vae)}
    )
    into = tmp_path / "mine"
    into.mkdir()
    for key, words in (("tiny_lora", ()), ("tiny_vae", ("--into", str(into)))):
        assert models.main(["price", key, "--to", str(tmp_path / "to")]) == 0
        assert json.loads(capsys.readouterr().out)["needed"] == 0
        assert models.main(["fetch", key, "--to", str(tmp_path / "to"), *words]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told in ({"lora": str(owned["text_encoder"])}, {"part": str(owned["vae"])})
    assert hub.ranges == []
    made = json.loads((into / "wan_blender.json").read_text())
    assert made == {"components": {"vae": str(owned["vae"])}}


def test_search_for_what_is_at_hand_is_stopped(owned, tmp_path):
    def stop(_transfer):
        raise Cancelled

    with pytest.raises(Cancelled):
        fetch(models.find_entry(""), tmp_path / "to", stop)


def test_search_survives_what_is_odd(tmp_path):
    """Loops, dangling links, hidden folders, folders of such a name, and one too deep from one
    place but not from another."""
    file, deep = big(), tmp_path.joinpath(*"abcdefghi")
    deep.mkdir(parents=True)
    for number in range(12):  # 12**8 folders for who goes round
        (tmp_path / f"loop{number}").symlink_to(tmp_path)
    (tmp_path / "x" / "short").mkdir(parents=True)
    (tmp_path / "x" / "short" / file.path).write_bytes(BIG[:-1])
    (tmp_path / "x" / file.path).symlink_to(tmp_path / "gone")
    for name in (".hidden", "blobs", "a"):
        (tmp_path / name).mkdir(exist_ok=True)
    for folder in (tmp_path / ".hidden", tmp_path / "blobs", deep):
        (folder / file.path).write_bytes(BIG)
    (tmp_path / "a" / file.path).mkdir()
    assert find_files([file], [tmp_path, tmp_path / "absent"]) == {}
    assert find_files([file], [tmp_path, deep.parent, deep]) == {file: [deep / file.path]}


def test_command_line_lists_fetches_and_is_stopped_by_a_signal(hub, tmp_path):
    command = [sys.executable, "-m", "wan_blender.engine", "models"]
    told = subprocess.run([*command, "list"], cwd=ROOT, capture_output=True, check=True).stdout
    assert {m["key"] for m in json.loads(told)["models"]} == set(catalogue())
    lora = lora_catalogue()["wan2_1_t2v_4step"].file
    hub.files[lora.repository] = {lora.path: BIG}
    place = tmp_path / "loras" / lora.path
    hub.pause_s = 0.05
    child = subprocess.Popen(
        [*command, "fetch", "wan2_1_t2v_4step", "--to", str(tmp_path)],
        cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ),
    )  # fmt: skip
    line = child.stderr.readline()
    assert json.loads(line)["total"] == len(BIG)
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert json.loads(errors.splitlines()[-1])["error"]["code"] == "Cancelled"
    assert not place.exists()
    hub.pause_s = 0.0
    done = subprocess.run(
        [*command, "fetch", "wan2_1_t2v_4step", "--to", str(tmp_path)],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == {"lora": str(place)}
    assert place.read_bytes() == BIG
