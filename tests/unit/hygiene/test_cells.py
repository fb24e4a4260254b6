# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np

from wan_blender.hygiene import cells


def test_label_finds_the_parts_of_a_u_shape_as_one():
    mask = np.array([[1, 0, 1, 0, 1], [1, 0, 1, 0, 0], [1, 1, 1, 0, 1]], bool)
    labels, count = cells.label(mask)
    assert count == 3
    assert len(np.unique(labels[:, :3][mask[:, :3]])) == 1
    assert cells.label(np.ones((3, 3), bool))[1] == 1
    assert cells.label(np.zeros((3, 3), bool))[1] == 0
