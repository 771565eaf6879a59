"""exp2, expm1, log1p, log2, log10 and the hyperbolic functions: bodies for math_library.py.

All are built on the reductions of exp and log in scalar_math.py. f32 goes through f64 where that
saves a correction; every special value follows C99.
"""

from __future__ import annotations

from collections.abc import Callable

from mlir import ir
from mlir.dialects import arith, math

from .float_body import Body
from .scalar_math import (
    exp_reduced,
    exp_tail,
    in_f64,
    log_mantissa,
    log_specials,
    scaled,
    split_mantissa,
)

_LN2 = [float.fromhex("0x1.62e42fefa39efp-1"), float.fromhex("0x1.abc9e3b39803fp-56")]
_LOG2_E = float.fromhex("0x1.71547652b82fep+0")
_LOG10_E = float.fromhex("0x1.bcb7b1526e50ep-2")
_LOG10_2 = [float.fromhex("0x1.34413509f79ffp-2"), float.fromhex("-0x1.9dc1da994fd21p-59")]
#: From here on asinh, acosh and cosh are a single logarithm or exponential.
_LARGE = 2.0**28


def _limited(b: Body, x: ir.Value, low: float, high: float) -> ir.Value:
    """x in [low, high]; NaN stays."""
    x = b.select(b.less(x, low), low, x)
    return b.select(b.less(high, x), high, x)


def _tiny(b: Body, x: ir.Value, result: ir.Value) -> ir.Value:
    """x itself where the function is its argument: keeps -0.0 and denormals."""
    return b.select(b.less(b.abs(x), 2.0**-54), x, result)


def _exp2(b: Body, x: ir.Value) -> ir.Value:
    x = _limited(b, x, -1100.0, 1100.0)
    n, n_bits = b.round(x)
    r = b.mul(b.sub(x, n), _LN2[0])
    exponent = arith.subi(n_bits, b.as_integer(b.f(b.magic)))
    return scaled(b, b.add(1.0, b.add(r, exp_tail(b, r))), exponent)


def expm1(b: Body, x: ir.Value) -> ir.Value:
    n, r, tail = exp_reduced(b, _limited(b, x, -40.0, 710.0))
    # Half of it first: 2^n may be beyond the range when the result is not.
    half = b.power_of_two(arith.subi(n, b.i(1)))
    result = b.fma(half, b.add(r, tail), b.sub(half, 0.5))
    return _tiny(b, x, b.mul(result, 2.0))


def log1p(b: Body, x: ir.Value) -> ir.Value:
    near = b.add(x, 1.0)
    small = b.less(x, 1.0)
    lost = b.select(small, b.sub(x, b.sub(near, 1.0)), b.sub(1.0, b.sub(near, x)))
    f, k = split_mantissa(b, near)
    lost = b.div(lost, near)
    main, correction = log_mantissa(b, f)
    rest = b.fma(k, _LN2[1], b.add(correction, lost))
    result = b.fma(k, _LN2[0], b.add(main, rest))
    return _tiny(b, x, log_specials(b, near, result))


def _log2(b: Body, x: ir.Value) -> ir.Value:
    f, k = split_mantissa(b, x)
    main, correction = log_mantissa(b, f)
    return log_specials(b, x, b.fma(b.add(main, correction), _LOG2_E, k))


def _log10(b: Body, x: ir.Value) -> ir.Value:
    f, k = split_mantissa(b, x)
    main, correction = log_mantissa(b, f)
    low = b.fma(b.add(main, correction), _LOG10_E, b.mul(k, _LOG10_2[1]))
    return log_specials(b, x, b.fma(k, _LOG10_2[0], low))


def _half_exp(b: Body, x: ir.Value) -> ir.Value:
    """exp(x) / 2 for x >= 0, finite up to where sinh and cosh are."""
    n, r, tail = exp_reduced(b, _limited(b, x, 0.0, 711.0))
    return scaled(b, b.add(1.0, b.add(r, tail)), arith.subi(n, b.i(1)))


def _sinh(b: Body, x: ir.Value) -> ir.Value:
    size = b.abs(x)
    grown = expm1(b, _limited(b, size, 0.0, 40.0))
    near = b.mul(b.add(grown, b.div(grown, b.add(grown, 1.0))), 0.5)
    result = b.select(b.less(size, 22.0), near, _half_exp(b, size))
    return math.copysign(result, x)


def _cosh(b: Body, x: ir.Value) -> ir.Value:
    half = _half_exp(b, b.abs(x))
    return b.add(half, b.div(0.25, half))


def _log_of_double(b: Body, x: ir.Value) -> ir.Value:
    """log(2 x) for large x."""
    f, k = split_mantissa(b, x)
    main, correction = log_mantissa(b, f)
    k = b.add(k, 1.0)
    result = b.fma(k, _LN2[0], b.fma(k, _LN2[1], b.add(main, correction)))
    return log_specials(b, x, result)


def _asinh(b: Body, x: ir.Value) -> ir.Value:
    size = b.abs(x)
    near = b.select(b.less(size, _LARGE), size, 1.0)
    square = b.mul(near, near)
    root = math.sqrt(b.add(square, 1.0))
    small = log1p(b, b.add(near, b.div(square, b.add(root, 1.0))))
    result = b.select(b.less(size, _LARGE), small, _log_of_double(b, size))
    return math.copysign(result, x)


def _acosh(b: Body, x: ir.Value) -> ir.Value:
    near = b.sub(b.select(b.less(x, _LARGE), x, 2.0), 1.0)
    small = log1p(b, b.add(near, math.sqrt(b.mul(near, b.add(near, 2.0)))))
    result = b.select(b.less(x, _LARGE), small, _log_of_double(b, x))
    return b.select(b.less(x, 1.0), float("nan"), result)


def _atanh(b: Body, x: ir.Value) -> ir.Value:
    size = b.abs(x)
    result = b.mul(log1p(b, b.div(b.mul(size, 2.0), b.sub(1.0, size))), 0.5)
    return math.copysign(result, x)


RULES: dict[str, Callable[..., ir.Value]] = {
    "exp2": in_f64(_exp2),
    "expm1": in_f64(expm1),
    "log1p": in_f64(log1p),
    "log2": in_f64(_log2),
    "log10": in_f64(_log10),
    "sinh": in_f64(_sinh),
    "cosh": in_f64(_cosh),
    "asinh": in_f64(_asinh),
    "acosh": in_f64(_acosh),
    "atanh": in_f64(_atanh),
}
