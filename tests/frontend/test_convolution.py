"""Convolutions of torch under all transforms."""

from __future__ import annotations

import pytest
import torch.nn.functional as F

from .networks import check, normal

pytestmark = pytest.mark.usefixtures("interpreted")

CASES = {
    "1d": (F.conv1d, (2, 3, 5), (4, 3, 2)),
    "1d same": (lambda x, w: F.conv1d(x, w, padding="same", dilation=2), (1, 2, 5), (2, 2, 4)),
    "2d": (
        lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=(1, 0)),
        (1, 2, 5, 4),
        (3, 2, 3, 2),
        (3,),
    ),
    "2d valid": (lambda x, w: F.conv2d(x, w, padding="valid"), (1, 1, 3, 3), (2, 1, 2, 2)),
    "2d groups": (
        lambda x, w: F.conv2d(x, w, padding=1, dilation=2, groups=2),
        (1, 4, 4, 3),
        (2, 2, 2, 2),
    ),
    "2d depthwise": (lambda x, w: F.conv2d(x, w, groups=3), (1, 3, 3, 3), (6, 1, 2, 2)),
    "2d of one example": (F.conv2d, (2, 4, 3), (3, 2, 2, 2)),
    "3d": (lambda x, w: F.conv3d(x, w, stride=2, padding=1), (1, 1, 3, 2, 3), (2, 1, 2, 3, 2)),
    "1d transposed": (
        lambda x, w: F.conv_transpose1d(x, w, stride=3, dilation=2, output_padding=1),
        (2, 2, 3),
        (2, 3, 2),
    ),
    "2d transposed": (
        lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1, groups=2),
        (1, 4, 3, 2),
        (4, 1, 3, 3),
        (2,),
    ),
    "3d transposed": (F.conv_transpose3d, (1, 2, 2, 1, 2), (2, 1, 2, 2, 1)),
    "no examples": (F.conv1d, (0, 3, 5), (4, 3, 2)),
}


@pytest.mark.parametrize("name", CASES)
def test_convolution(name):
    function, *shapes = CASES[name]
    check(function, *(normal(*shape) for shape in shapes))
