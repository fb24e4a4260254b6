# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a server, and say in words why it gives nothing and what to do. Proxies of the environment
are honoured. stdlib only.

A server may be anybody's: it has a time in all to begin its answer, and what is read as JSON has a
size. A file's size is known before it is fetched (transfer.py).
"""

from __future__ import annotations

import email.utils
import errno
import http.client
import json
import queue
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

from .errors import UserError

TIMEOUT_S = 15  # without a byte
ANSWER_S = 60  # until an answer has begun, and a JSON has ended, however the bytes drip
JSON_BYTES = 16 << 20  # a repository of five thousand files has two
LONGEST_WAIT_S = 300  # that a server may ask for in all, while nothing arrives
_LATER = (408, 429)  # codes below 500 that may be asked again
_NO_SUCH_JSON = (AttributeError, KeyError, TypeError, ValueError)
_NETWORK = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ENETRESET}


class OddAnswer(http.client.HTTPException):
    """What came is not what was asked for."""


def ask(url: str, token: str = "", start: int = 0, method: str = "GET") -> http.client.HTTPResponse:
    """The answer, from byte ``start`` on if the server can. Raises OSError or HTTPException."""
    made = urllib.request.Request(url, headers={"User-Agent": "wan_blender"}, method=method)
    if token:
        made.add_unredirected_header("Authorization", f"Bearer {token}")
    if start:
        made.add_header("Range", f"bytes={start}-")
    try:
        opened: http.client.HTTPResponse = _within(
            ANSWER_S, lambda: urllib.request.urlopen(made, timeout=TIMEOUT_S)
        )
        return opened
    except urllib.error.HTTPError as error:
        error.close()  # it is kept, with its headers, by the error that is made of it
        raise


def ask_json(url: str, token: str = "") -> Any:
    """What a server answers, as JSON. Raises OSError, HTTPException, and ValueError for what is no
    JSON, is nested too deeply, or is larger than JSON_BYTES."""
    answer = ask(url, token)
    try:
        return json.loads(_within(ANSWER_S, lambda: _read(answer)))
    except (RecursionError, OverflowError, MemoryError) as error:
        raise OddAnswer(f"an answer that cannot be read ({type(error).__name__})") from error


def _read(answer: http.client.HTTPResponse) -> bytes:
    """Closes ``answer`` where it reads: elsewhere that would wait for a read that drips."""
    with answer:
        data = answer.read(JSON_BYTES + 1)
    if len(data) > JSON_BYTES:
        raise OddAnswer(f"more than {JSON_BYTES:,} bytes of JSON")
    return data


def _within(seconds: float, work: Callable[[], Any]) -> Any:
    """``work()`` on a thread that is left behind after ``seconds``: each byte that drips in begins
    the socket's own timeout afresh. Raises TimeoutError, and what ``work`` raises."""
    ended: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            ended.put((work(), None))
        except BaseException as error:  # noqa: BLE001 - it is raised by who waits
            ended.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    deadline = time.monotonic() + seconds
    while True:
        try:
            value, error = ended.get(timeout=0.2)  # so that a signal's handler runs in between
            break
        except queue.Empty:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no answer within {seconds:.0f} s") from None
    if error:
        raise error
    return value


def network_error(url: str, what: str, error: Exception) -> UserError:
    server = server_of(url)
    if isinstance(error, urllib.error.HTTPError):
        return UserError(f"{server} {_refusal(error.code, what)}", _advice(error))
    if isinstance(error, (OddAnswer, *_NO_SUCH_JSON)) and not isinstance(error, OSError):
        return UserError(
            f"{server} sends something else than {what}: {error}.",
            "It may be the login page of a network or proxy: open a web page, then try again; "
            "what had arrived before is kept.",
        )
    reason = getattr(error, "reason", None) or error
    return UserError(
        f"{server} cannot be reached: {reason}.",
        "Check the connection and the proxy, then try again; what has arrived is kept.",
    )


def _refusal(code: int, what: str) -> str:
    return f"refuses {what} ({code})." if code in (401, 403) else f"answers {code} to {what}."


def _advice(error: urllib.error.HTTPError) -> str:
    if error.code in (401, 403):
        return "Accept the model's licence on its page and set HF_TOKEN, then try again."
    if error.code in (404, 410):
        return "It was moved or taken away there: update the extension, or get it elsewhere."
    if error.code == 429:
        minutes = max(1, round(min(_retry_after_s(error), 86400) / 60))
        return (
            f"It was asked too often: try again in {minutes} min, or set HF_TOKEN, for which it "
            "allows more; what has arrived is kept."
        )
    return "Try again later; what has arrived is kept."


def server_of(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def is_network(error: Exception) -> bool:
    """Whether the connection failed, and not the disk."""
    known = (http.client.HTTPException, urllib.error.URLError, TimeoutError, ConnectionError,
             ssl.SSLError)  # fmt: skip
    return isinstance(error, known) or getattr(error, "errno", None) in _NETWORK


def is_final(error: Exception) -> bool:
    """Whether to ask again is of no use."""
    return (
        isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in _LATER
    )


def pause_s(error: Exception | None, tries: int) -> float:
    """Seconds until the next try: as the server asks, else longer each time."""
    asked = _retry_after_s(error) if isinstance(error, urllib.error.HTTPError) else 0.0
    return asked or (min(0.1 * 2**tries, 5) if tries else 0.0)


def _retry_after_s(error: urllib.error.HTTPError) -> float:
    """Seconds from now; 0 where nothing is said."""
    said = error.headers.get("Retry-After", "")
    try:
        if said.strip().isdecimal():
            return float(said)
        return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0
