"""What instructions without side effects compute: a function of bits for each mnemonic.

Values are arrays of bool (predicates), uint16, uint32 or uint64, one element a thread. What PTX
says of an instruction stands in its ISA manual under the same name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from . import conversions
from .floating import bits, fma, greatest, least, number
from .integer import (
    complement,
    counted,
    extracted,
    funnel,
    high,
    highest,
    inserted,
    is_zero,
    leading_zeros,
    left,
    logic,
    lop3,
    ones,
    permuted,
    quotient,
    reversed,
    right,
    wide,
)
from .packed import HALVED, halved, joined
from .values import (
    FLOATING,
    UNSIGNED,
    Array,
    Meaning,
    UnknownInstruction,
    only,
    signed,
    unsigned,
    width,
)


@functools.cache
def meaning_of(opcode: tuple[str, ...]) -> Meaning:
    name, *modifiers = opcode
    make = _TABLE.get(name)
    if make is None:
        raise UnknownInstruction(".".join(opcode))
    try:
        if modifiers[-1].endswith("x2"):
            if name not in HALVED:
                raise KeyError(name)
            return halved(meaning_of((*opcode[:-1], opcode[-1].removesuffix("x2"))))
        return make(modifiers)
    except (KeyError, ValueError, IndexError) as error:
        raise UnknownInstruction(".".join(opcode)) from error


def _arithmetic(integer: Callable, floating: Callable, flops: int = 1) -> Callable:
    def make(modifiers: list[str]) -> Meaning:
        type_ = modifiers[-1]
        only(modifiers[:-1], {"rn", "lo"} if type_ in FLOATING else {"lo"})
        if type_ in FLOATING:
            return Meaning(
                width(type_),
                (width(type_),) * 2,
                lambda x, y: bits(floating(number(x, type_), number(y, type_)), type_),
                flops,
            )
        return Meaning(width(type_), (width(type_),) * 2, integer)

    return make


def _multiplication(modifiers: list[str]) -> Meaning:
    type_ = modifiers[-1]
    if type_ in FLOATING or modifiers[0] == "lo":
        return _arithmetic(np.multiply, np.multiply)(modifiers)
    size = width(type_)
    if modifiers[0] == "wide":
        return Meaning(2 * size, (size, size), lambda x, y: wide(x, y, type_))
    if modifiers[0] == "hi":
        return Meaning(size, (size, size), lambda x, y: high(x, y, type_))
    raise KeyError


def _mad(modifiers: list[str]) -> Meaning:
    product = _multiplication(modifiers)
    last = product.result
    return Meaning(last, (*product.sources, last), lambda x, y, z: product.run(x, y) + z)


def _fma(modifiers: list[str]) -> Meaning:
    only(modifiers[:-1], {"rn"})
    type_ = modifiers[-1]
    size = width(type_)

    def run(x: Array, y: Array, z: Array) -> Array:
        return bits(fma(number(x, type_), number(y, type_), number(z, type_), type_), type_)

    return Meaning(size, (size,) * 3, run, 2)


def _division(modifiers: list[str]) -> Meaning:
    type_ = modifiers[-1]
    size = width(type_)
    if type_ in FLOATING:
        only(modifiers[:-1], {"rn"} if type_ == "f64" else {"rn", "approx", "full"})
        return Meaning(
            size, (size,) * 2, lambda x, y: bits(number(x, type_) / number(y, type_), type_), 1
        )
    return Meaning(size, (size,) * 2, lambda x, y: quotient(x, y, type_)[0])


def _remainder(modifiers: list[str]) -> Meaning:
    type_ = modifiers[-1]
    size = width(type_)
    return Meaning(size, (size,) * 2, lambda x, y: quotient(x, y, type_)[1])


# Of integers and floats.


def _negation(modifiers: list[str]) -> Meaning:
    type_ = modifiers[-1]
    size = width(type_)
    if type_ in FLOATING:
        sign = UNSIGNED[size](1 << size - 1)
        return Meaning(size, (size,), lambda x: x ^ sign, 1)
    return Meaning(size, (size,), lambda x: ~x + x.dtype.type(1))


def _magnitude(modifiers: list[str]) -> Meaning:
    type_ = modifiers[-1]
    size = width(type_)
    if type_ in FLOATING:
        rest = UNSIGNED[size]((1 << size - 1) - 1)
        return Meaning(size, (size,), lambda x: x & rest, 1)
    return Meaning(size, (size,), lambda x: unsigned(np.abs(signed(x, size)), size))


def _copysign(modifiers: list[str]) -> Meaning:
    size = width(modifiers[-1])
    sign = UNSIGNED[size](1 << size - 1)
    return Meaning(size, (size, size), lambda x, y: (x & sign) | (y & ~sign))


def _extremum(of_floats: Callable, of_integers: Callable) -> Callable:
    def make(modifiers: list[str]) -> Meaning:
        type_ = modifiers[-1]
        size = width(type_)
        if type_ in FLOATING:
            only(modifiers[:-1], {"NaN"})
            every = "NaN" in modifiers

            def run(x: Array, y: Array) -> Array:
                return bits(of_floats(number(x, type_), number(y, type_), every), type_)

            return Meaning(size, (size, size), run, 1)
        if type_[0] == "s":
            return Meaning(
                size,
                (size, size),
                lambda x, y: unsigned(of_integers(signed(x, size), signed(y, size)), size),
            )
        return Meaning(size, (size, size), of_integers)

    return make


def _of_float(run: Callable, modes: set[str]) -> Callable:
    """`run` rounds correctly, also where PTX allows more (approx)."""

    def make(modifiers: list[str]) -> Meaning:
        type_ = modifiers[-1]
        only(modifiers[:-1], modes)
        return Meaning(
            width(type_), (width(type_),), lambda x: bits(run(number(x, type_)), type_), 1
        )

    return make


def _approximate(run: Callable) -> Callable:
    """Of f64 inside, so that the result is the correctly rounded one, or next to it."""

    def of_any(x: Array) -> Array:
        return run(x.astype(np.float64)).astype(x.dtype)

    return _of_float(of_any, {"approx"})


_COMPARISONS = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
    "gt": np.greater, "ge": np.greater_equal, "lo": np.less, "ls": np.less_equal,
    "hi": np.greater, "hs": np.greater_equal,
}  # fmt: skip
_LOGIC = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}


def _comparison(modifiers: list[str]) -> Meaning:
    predicate, type_ = modifiers[0], modifiers[-1]
    size = width(type_)
    compare = functools.partial(_compare, predicate, type_)
    joins = [m for m in modifiers[1:-1] if m in _LOGIC]
    only(modifiers[1:-1], set(_LOGIC))
    if joins:
        join = _LOGIC[joins[0]]
        return Meaning(1, (size, size, 1), lambda x, y, p: join(compare(x, y), p))
    return Meaning(1, (size, size), compare)


def _compare(predicate: str, type_: str, x: Array, y: Array) -> Array:
    if type_ not in FLOATING:
        if type_[0] == "s":
            x, y = signed(x, width(type_)), signed(y, width(type_))
        return _COMPARISONS[predicate](x, y)
    a, b = number(x, type_), number(y, type_)
    unordered = np.isnan(a) | np.isnan(b)
    if predicate in ("num", "nan"):
        return unordered == (predicate == "nan")
    if predicate in _COMPARISONS and predicate not in ("lo", "ls", "hi", "hs"):
        return _COMPARISONS[predicate](a, b) & ~unordered
    return _COMPARISONS[predicate.removesuffix("u")](a, b) | unordered


def _selection(modifiers: list[str]) -> Meaning:
    size = width(modifiers[-1])
    return Meaning(size, (size, size, 1), lambda x, y, p: np.where(p, x, y))


def _slct(modifiers: list[str]) -> Meaning:
    """By the sign of the third operand: -0 counts as not negative, NaN as negative."""
    size, type_ = width(modifiers[0]), modifiers[1]
    view = {"s32": np.int32, "f32": np.float32}[type_]
    return Meaning(size, (size, size, 32), lambda x, y, z: np.where(z.view(view) >= 0, x, y))


def _test(modifiers: list[str]) -> Meaning:
    kind, type_ = modifiers
    tests = {
        "finite": np.isfinite,
        "infinite": np.isinf,
        "number": lambda x: ~np.isnan(x),
        "notanumber": np.isnan,
    }
    return Meaning(1, (width(type_),), lambda x: tests[kind](number(x, type_)))


def _conversion(modifiers: list[str]) -> Meaning:
    *modes, to, source = modifiers
    if to in ("f16x2", "bf16x2") and source == "f32" and modes == ["rn"]:
        return joined(to.removesuffix("x2"))
    if (to, source, modes) == ("tf32", "f32", ["rna"]):
        return Meaning(32, (32,), conversions.to_tf32)
    run = conversions.conversion(modes, to, source)
    return Meaning(max(width(to), 16), (width(source),), run)


_TABLE: dict[str, Callable[[list[str]], Meaning]] = {
    "add": _arithmetic(np.add, np.add),
    "sub": _arithmetic(np.subtract, np.subtract),
    "mul": _multiplication,
    "mad": _mad,
    "fma": _fma,
    "div": _division,
    "rem": _remainder,
    "and": logic(np.bitwise_and),
    "or": logic(np.bitwise_or),
    "xor": logic(np.bitwise_xor),
    "not": complement,
    "shl": left,
    "shr": right,
    "shf": funnel,
    "prmt": permuted,
    "bfi": inserted,
    "bfind": highest,
    "cnot": is_zero,
    "bfe": extracted,
    "clz": counted(leading_zeros),
    "popc": counted(ones),
    "brev": reversed,
    "lop3": lop3,
    "neg": _negation,
    "abs": _magnitude,
    "copysign": _copysign,
    "min": _extremum(least, np.minimum),
    "max": _extremum(greatest, np.maximum),
    "sqrt": _of_float(np.sqrt, {"rn", "approx"}),
    "rcp": _of_float(lambda x: x.dtype.type(1) / x, {"rn", "approx"}),
    "rsqrt": _approximate(lambda x: 1 / np.sqrt(x)),
    "ex2": _approximate(np.exp2),
    "lg2": _approximate(np.log2),
    "sin": _approximate(np.sin),
    "cos": _approximate(np.cos),
    "tanh": _approximate(np.tanh),
    "setp": _comparison,
    "selp": _selection,
    "slct": _slct,
    "testp": _test,
    "cvt": _conversion,
}
