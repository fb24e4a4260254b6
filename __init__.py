# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender's entry. Imports stay inside the functions, so that tools may import this folder."""


def register() -> None:
    from .wan_blender import addon

    addon.register()


def unregister() -> None:
    from .wan_blender import addon

    addon.unregister()
