# SPDX-License-Identifier: GPL-3.0-or-later
"""A real child process that speaks the protocol without torch. STUB_ENGINE says how it starts,
the job's name or prompt what it does: die, noise, mute, stuck, fail, full, slow, talk, work (claims
the job and takes a while, as an engine does); others are done. STUB_CARD_GB: its card."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from wan_blender.core import errors, lock, protocol, result
from wan_blender.core import job as jobs
from wan_blender.core.answers.report import Report

MODE = os.environ.get("STUB_ENGINE", "")


def say(message: protocol.Message) -> None:
    print(protocol.encode(message), flush=True)


def run(name: str) -> None:
    folder = Path(name)
    described = (folder / "job.json").is_file()
    task = jobs.read(folder).prompt.text if described else name
    if task == "die":
        print("about to fall", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    elif task == "noise":
        print("this is not a message", flush=True)
    elif task == "mute":
        time.sleep(60)
    elif task == "stuck":
        say(protocol.Progress(name, "denoising", 1, 2, 0.5, 1.0))
        for _ in range(600):
            say(protocol.Heartbeat(name))
            time.sleep(0.1)
    elif task == "fail":
        say(protocol.Failed(name, errors.OutOfMemory("Needs 80 GB.", "Buy.").to_dict()))
    elif task == "full":
        say(protocol.Failed(name, errors.DiskFull("No space.", "Make some.").to_dict()))
    elif task == "slow" and not slowly(name):
        say(protocol.Failed(name, errors.Cancelled().to_dict()))
    elif task == "work":
        work(name)
    else:
        if task == "talk":
            print("talked", file=sys.stderr, flush=True)
        say(protocol.Progress(name, "denoising", 1, 2, 0.5, 1.0))
        if described:
            finish(folder)
        say(protocol.Done(name, name + "/result", Report(1)))


def work(name: str) -> None:
    """Once, inside a claim; the file ``finished`` gets a line for each time it was done: process,
    when it began, when it ended."""
    folder = Path(name)
    try:
        with lock.Claim(folder):
            if not result.find_result(folder):
                began = time.monotonic()
                time.sleep(0.3)
                shutil.rmtree(folder / result.PART, ignore_errors=True)
                finish(folder)
                with open(folder / "finished", "a", encoding="utf-8") as file:
                    file.write(f"{os.getpid()} {began} {time.monotonic()}\n")
    except errors.JobBusy as error:
        say(protocol.Failed(name, error.to_dict()))
        return
    say(protocol.Done(name, name + "/result", Report(1)))


def slowly(name: str) -> bool:
    """False when it was cancelled on the way."""
    for step in range(600):
        say(protocol.Progress(name, "denoising", step, 600, step / 600, 30.0))
        if jobs.cancel_requested(Path(name)):
            return False
        time.sleep(0.05)
    return True


def finish(folder: Path) -> None:
    """The plate as the result, fully opaque or as it is."""
    shutil.copytree(folder / jobs.PLATE, folder / result.PART / jobs.PATCH)
    part = folder / result.PART
    result.write_report(part, Report(1, files=result.list_files(part)))
    result.publish(folder)


def listen() -> None:
    for line in sys.stdin:
        match protocol.decode(line):
            case protocol.Run(job=name):
                threading.Thread(target=run, args=(name,), daemon=True).start()
            case protocol.FreeMemory():
                say(protocol.MemoryFreed(0.25))
            case protocol.Shutdown():
                return


if MODE == "broken":
    raise ModuleNotFoundError("No module named 'torch'")
if MODE == "slow":
    time.sleep(60)
if MODE == "grandchild":
    child = subprocess.Popen(["sleep", "60"])
    print("grandchild", child.pid, file=sys.stderr, flush=True)
version = protocol.VERSION + 1 if MODE == "newer" else protocol.VERSION
python = repr(sorted(os.environ)) if MODE == "environment" else sys.version.split()[0]
say(protocol.Hello(version, "0", python, os.getpid()))
if MODE == "unfit":
    raise ModuleNotFoundError("No module named 'torch'")
card_gb = float(os.environ.get("STUB_CARD_GB", 0))
say(protocol.Ready("", "cuda" if card_gb else "cpu", card_gb))
listen()
