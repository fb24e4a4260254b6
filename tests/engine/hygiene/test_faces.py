# SPDX-License-Identifier: GPL-3.0-or-later
"""Faces of a picture, whose sinks are treated with care."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from wan_blender.core.settings import Hygiene
from wan_blender.engine.hygiene import pictures
from wan_blender.engine.hygiene.automatic import find_radius
from wan_blender.engine.hygiene.faces import find_faces
from wan_blender.hygiene import blur
from wan_blender.hygiene.matrix import analyse
from wan_blender.hygiene.sinks import find_sinks


def test_face_in_a_photograph_is_found_and_its_details_are_protected():
    """NASA's portrait of Eileen Collins (public domain): a face, a flag, a space suit."""
    picture = pictures.read_picture(Path(__file__).parent / "portrait.jpg", (400, 400))
    faces = find_faces(picture)
    assert len(faces) == 1
    x, y, width, height = faces[0]
    assert x < 170
    assert x + width > 250
    assert y < 150
    assert y + height > 260
    sinks = find_sinks(picture, analyse(picture), faces)
    eye = next(sink for sink in sinks if abs(sink.box[0] - 152) < 12 and 130 < sink.box[1] < 165)
    suit = next(sink for sink in sinks if sink.box[1] > 290)
    assert eye.protected
    assert not suit.protected


def test_a_face_inside_a_larger_region_is_left_alone():
    """NASA's portrait of Eileen Collins (public domain) under a fine veil, which is one region."""
    portrait = pictures.read_picture(Path(__file__).parent / "portrait.jpg", (400, 400))
    rows, columns = np.mgrid[:400, :400] // 3
    veiled = (portrait + (0.2 * ((rows + columns) % 2) - 0.1)[..., None]).clip(0, 1)
    veiled = veiled.astype(np.float32)
    (face,) = faces = find_faces(veiled)
    matrix = analyse(veiled)
    sinks = find_sinks(veiled, matrix, faces)
    inside = np.zeros((400, 400), bool)
    inside[face[1] : face[1] + face[3], face[0] : face[0] + face[2]] = True
    around = [sink for sink in sinks if not sink.protected]
    radius = blur.radius_map(blur.treat(veiled, matrix, around, faces=faces), (400, 400))
    assert not radius[inside].any()
    assert (radius[~inside] > 0.3).mean() > 0.3
    asked = [replace(sink, protected=True) for sink in around]
    regions = blur.treat(veiled, matrix, asked, faces=faces)
    assert blur.radius_map(regions, (400, 400))[inside].any()
    measured, _ = find_radius(veiled, Hygiene(mode="soft"), 0)
    assert not measured[inside].any()
