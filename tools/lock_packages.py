# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the lock files of the engine: every package, with the SHA-256 of each of its files.

python -m tools.lock_packages                 requirements.lock, torch-pypi.lock, installer.lock
python -m tools.lock_packages --build cu128   torch-cu128.lock, from PyTorch's own index

Needs uv on the PATH and a network. Versions that are locked stay unless --upgrade is given. A build
that has a lock is pinned: an installation of it takes these files and no others.
"""

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

ENGINE = Path(__file__).parents[1] / "wan_blender" / "engine"
UNIVERSAL = ("--universal", "--python-version", "3.11")
QUIET = ("--quiet", "--no-config", "--no-header", "--no-annotate", "--no-emit-index-url")
PYPI = ("--default-index", "https://pypi.org/simple")
# torch and what nothing else brings: these differ from build to build.
TORCH = re.compile(r"(torch|triton|pytorch-triton|setuptools|nvidia|cuda|rocm)\b")
HEADS = {
    "requirements": "The engine's packages for Python 3.11 and later on every system; torch and "
    "what it brings are in\n# torch-*.lock.",
    "torch": "torch and what only torch brings. requirements.lock has what both need.",
    "installer": "uv, which installs the engine, for every system it runs on.",
}


def lock(wanted: str, known: list[Path], *words: str) -> list[str]:
    """One entry for each package of ``wanted``, a file of requirements, and what it brings; in the
    versions of the lock files ``known``."""
    with tempfile.TemporaryDirectory() as folder:
        asked, made = Path(folder, "wanted.in"), Path(folder, "made.lock")
        asked.write_text(wanted, encoding="utf-8")
        kept = [word for path in known if path.exists() for word in ("--constraint", str(path))]
        command = ["uv", "pip", "compile", *QUIET, *UNIVERSAL, "--generate-hashes", *kept, *words]
        subprocess.run([*command, "--output-file", str(made), str(asked)], check=True)
        entries = re.split(r"\n(?=\w)", made.read_text(encoding="utf-8").strip())
    bare = [entry.partition(" ")[0] for entry in entries if "--hash=sha256:" not in entry]
    if bare:
        raise SystemExit(f"The index gives no hashes for {', '.join(bare)}.")
    return entries


def write(name: str, entries: list[str]) -> None:
    head = f"# {HEADS[name.partition('-')[0]]}\n# Made by python -m tools.lock_packages.\n"
    (ENGINE / f"{name}.lock").write_text(head + "\n".join(entries) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools.lock_packages", description=__doc__)
    parser.add_argument("--build", action="append", default=[], help="uv's name of one: cu128")
    parser.add_argument("--upgrade", action="store_true", help="take newer versions")
    chosen = parser.parse_args()
    wanted = (ENGINE / "requirements.txt").read_text(encoding="utf-8")

    def known(*names: str) -> list[Path]:
        return [] if chosen.upgrade else [ENGINE / f"{name}.lock" for name in names]

    for build in chosen.build:
        locks = known("requirements", f"torch-{build}")
        entries = lock(wanted, locks, "--torch-backend", build)
        write(f"torch-{build}", [entry for entry in entries if TORCH.match(entry)])
    if chosen.build:
        return
    entries = lock(wanted, known("requirements", "torch-pypi"), *PYPI)
    write("torch-pypi", [entry for entry in entries if TORCH.match(entry)])
    write("requirements", [entry for entry in entries if not TORCH.match(entry)])
    installer = ENGINE / "installer.lock"
    wanted = "uv" if chosen.upgrade else installer.read_text(encoding="utf-8").partition(" \\")[0]
    write("installer", lock(wanted, known("installer"), *PYPI))


if __name__ == "__main__":
    main()
