# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor beside a real torch."""

import pytest
import torch

from wan_blender.engine import doctor


def test_product_that_is_wrong_is_an_error():
    doctor._multiply("cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "ones", torch.zeros)
        with pytest.raises(RuntimeError, match="gave 0 instead of 262144"):
            doctor._multiply("cpu")
