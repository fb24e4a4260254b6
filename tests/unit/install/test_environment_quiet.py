# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing listens while the engine is installed."""

import threading

import psutil

from wan_blender.install.environment import install


def test_installer_opens_no_port(tmp_path, recipe):
    worker = threading.Thread(target=install, args=(tmp_path / "home", recipe))
    worker.start()
    looked = children = 0
    while worker.is_alive():
        looked += 1
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        children = max(children, len(family) - 1)
        for process in family:
            try:
                found = process.net_connections("inet")
            except psutil.NoSuchProcess:
                continue
            assert [c for c in found if c.status == psutil.CONN_LISTEN] == []
    assert looked > 3
    assert children  # uv was seen at work
