"""Pooling of torch under all transforms."""

from __future__ import annotations

import pullback as pb
import pytest
import torch
import torch.func as tf
import torch.nn.functional as F

from .networks import D, check, normal, same

pytestmark = pytest.mark.usefixtures("interpreted")

CASES = {
    "max 1d": (lambda x: F.max_pool1d(x, 2, ceil_mode=True), (1, 2, 5)),
    "max 2d": (lambda x: F.max_pool2d(x, 3, 2, 1), (1, 2, 5, 4)),
    "max 2d dilated": (lambda x: F.max_pool2d(x, (2, 3), 1, (0, 1), (3, 2)), (1, 1, 5, 6)),
    "max 2d large window": (lambda x: F.max_pool2d(x, 5, 2, 2), (1, 1, 6, 5)),
    "max 2d ceil": (lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True), (2, 4, 5)),
    "max 3d": (lambda x: F.max_pool3d(x, 2, 1), (1, 1, 2, 3, 2)),
    "adaptive max 1d": (lambda x: F.adaptive_max_pool1d(x, 3), (1, 2, 5)),
    "adaptive max 2d": (lambda x: F.adaptive_max_pool2d(x, (2, 3)), (1, 1, 5, 4)),
    "adaptive max 3d": (lambda x: F.adaptive_max_pool3d(x, (1, 2, None)), (1, 1, 2, 3, 2)),
    "avg 1d": (lambda x: F.avg_pool1d(x, 3, 2, 1), (1, 2, 5)),
    "avg 2d": (lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), (1, 2, 5, 4)),
    "avg 2d ceil": (lambda x: F.avg_pool2d(x, 2, ceil_mode=True), (2, 5, 3)),
    "avg 2d ceil and padding": (lambda x: F.avg_pool2d(x, 3, 2, 1, True), (1, 1, 4, 6)),
    "avg 2d divisor": (lambda x: F.avg_pool2d(x, 2, 1, divisor_override=3), (1, 1, 3, 3)),
    "avg 3d": (lambda x: F.avg_pool3d(x, 2, 1, 1), (1, 1, 2, 2, 2)),
    "adaptive avg 1d": (lambda x: F.adaptive_avg_pool1d(x, 3), (1, 2, 5)),
    "adaptive avg 2d": (lambda x: F.adaptive_avg_pool2d(x, (2, 3)), (1, 2, 4, 5)),
    "adaptive avg 3d": (lambda x: F.adaptive_avg_pool3d(x, 2), (1, 1, 3, 2, 4)),
    "lp 1d": (lambda x: F.lp_pool1d(x, 3.0, 2), (1, 2, 4)),
    "lp 2d": (lambda x: F.lp_pool2d(x, 2, 2), (1, 1, 4, 4)),
    "unpool": (
        lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
        (1, 2, 4, 4),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_pooling(name):
    function, shape = CASES[name]
    check(function, normal(*shape))


INF, NAN = float("inf"), float("nan")
SPECIAL = torch.tensor(
    [[1.0, 1.0, NAN, 0.0], [1.0, NAN, -INF, -INF], [-INF, -INF, 2.0, INF], [-INF, -INF, 2.0, 2.0]],
    dtype=D,
)[None]


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: F.max_pool2d(x, 2, return_indices=True),
        lambda x: F.max_pool2d(x, 3, 1, 1, return_indices=True),
        lambda x: F.max_pool2d(x, 4, 1, 2, return_indices=True),
        lambda x: F.max_pool2d(x, 5, 1, 2, return_indices=True),
        lambda x: F.adaptive_max_pool2d(x, 2, return_indices=True),
        lambda x: F.adaptive_max_pool2d(x, 3, return_indices=True),
        lambda x: F.adaptive_max_pool2d(x, 1, return_indices=True),
    ],
)
def test_ties_infinities_and_nan(pool):
    """The first of equals, the last NaN; an infinity is found though padding is lower."""
    same(pb.jit(pool)(SPECIAL), pool(SPECIAL))
    same(pb.grad(lambda x: pool(x)[0].sum())(SPECIAL), tf.grad(lambda x: pool(x)[0].sum())(SPECIAL))
