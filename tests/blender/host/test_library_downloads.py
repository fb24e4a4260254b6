# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads after a click: allowed, priced, fetched, stopped, continued, told when they fail."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.blender.drawn import Drawn
from tests.blender.host.test_library import chosen, engine  # noqa: F401
from tests.engine.models.hub import Hub, serve

REPOSITORY = "lightx2v/Wan2.1-Distill-Loras"
FILE = "wan2.1_t2v_14b_lora_rank64_lightx2v_4step.safetensors"
KEY = "wan2_1_t2v_4step"
BIG = bytes(range(256)) * 20_000  # 5 MB


@pytest.fixture
def hub(monkeypatch):
    hub = Hub({REPOSITORY: {FILE: BIG}})
    server = serve(hub)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def online(engine, chosen, part):  # noqa: F811
    engine.context.preferences.system.use_online_access = True
    yield part("host.state").host().library
    engine.context.preferences.system.use_online_access = False


def test_offline_blender_asks_nobody(engine, chosen, hub):  # noqa: F811
    engine.context.preferences.system.use_online_access = False
    for ask in (lambda: engine.ops.wan.price_model(key=KEY), engine.ops.wan.fetch_model):
        with pytest.raises(RuntimeError, match="Allow online access"):
            ask()
    assert hub.asked == []


def test_download_says_its_size_and_licence_first(engine, online, hub, part, tmp_path):  # noqa: F811
    engine.ops.wan.price_model(key=KEY)
    offer = online.offer
    assert (offer.needed, offer.total, offer.licence) == (len(BIG), len(BIG), "Apache-2.0")
    assert offer.free > 0
    assert offer.found == ()
    online.offer = replace(offer, found=("/ComfyUI/models/vae.safetensors",))
    drawn = Drawn(part("panels.model").WAN_PT_model)
    assert "/ComfyUI/models/vae.safetensors" in " ".join(drawn.texts)
    assert hub.ranges == []  # nothing was fetched
    engine.ops.wan.fetch_model()
    online.wait()
    place = tmp_path / "models" / "loras" / FILE
    assert place.read_bytes() == BIG
    assert online.offer is None
    assert online.known  # models were looked for anew


def test_stopped_download_goes_on_where_it_stopped(engine, online, hub, tmp_path):  # noqa: F811
    hub.pause_s = 0.05
    engine.ops.wan.price_model(key=KEY)
    online.fetch()
    while not online.progress("fetch").done:
        time.sleep(0.05)
    told = online.progress("fetch")
    assert told.total == len(BIG)
    assert told.speed_mb_s > 0
    engine.ops.wan.stop_call(name="fetch")
    online.wait()
    assert online.error is None
    part = next(Path(tmp_path, "models", "loras").glob("*.part"))
    arrived = part.stat().st_size
    assert 0 < arrived < len(BIG)
    hub.pause_s = 0.0
    engine.ops.wan.price_model(key=KEY)
    assert online.offer.needed == len(BIG) - arrived
    engine.ops.wan.fetch_model()
    online.wait()
    assert part.with_suffix("").read_bytes() == BIG
    assert f"bytes={arrived}-" in hub.ranges


def test_download_that_is_asked_to_wait_says_so(engine, online, hub, part):  # noqa: F811
    def busy(handler, *_):
        handler.send_response(503)
        handler.send_header("Retry-After", "120")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    engine.ops.wan.price_model(key=KEY)
    hub.odd = busy
    online.fetch()
    while not online.progress("fetch").wait_s:
        time.sleep(0.05)
    drawn = Drawn(part("panels.model").WAN_PT_model)
    assert any("Waiting: the server is asked again in " in text for text in drawn.texts)
    engine.ops.wan.stop_call(name="fetch")
    online.wait()
    assert online.error is None


def test_failed_download_is_told_in_words_and_stays_on_offer(engine, online, hub):  # noqa: F811
    engine.ops.wan.price_model(key=KEY)
    hub.corrupt = FILE
    with pytest.raises(RuntimeError, match="arrived damaged"):
        engine.ops.wan.fetch_model()
    assert online.offer.key == KEY
    hub.files.clear()
    with pytest.raises(RuntimeError, match="answers 404"):
        engine.ops.wan.price_model(key=KEY)


def test_part_that_a_model_lacks_is_fetched_into_it(
    engine,  # noqa: F811
    online,
    hub,
    part,
    tmp_path,
    monkeypatch,
):
    engine.ops.wan.scan_models()
    lack = "the tokenizer of google/umt5-xxl"
    key = online.listing.part_for(lack)
    assert (key, online.listing.part_for("nothing that is known")) == ("umt5_tokenizer", "")
    assert not online.downloads
    hub.files["Wan-AI/Wan2.1-T2V-1.3B"] = {"google/umt5-xxl/spiece.model": BIG}
    with pytest.raises(RuntimeError, match=r"has another google/umt5-xxl/spiece\.model"):
        engine.ops.wan.price_model(key=key, into=str(tmp_path))  # not the one with the known hash
    asked = []
    monkeypatch.setattr(online, "_start", lambda name, answer, then, *words: asked.append(words))
    monkeypatch.setattr(online, "_places", lambda: [Path("/first"), Path("/mine")])
    online.offer = part("model_info.listing").Offer(key, "T5", "MIT", 9, 9, (), 99, "/models")
    assert online.downloads
    online.fetch()
    there = ("--look", "/mine")  # where its files may be already
    assert asked == [("fetch", key, "--to", "/models", *there, "--into", str(tmp_path))]
    online.price(key)
    assert asked[1] == ("price", key, "--to", "/first", *there)
    online.decline()
