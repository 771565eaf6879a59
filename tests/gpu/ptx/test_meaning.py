"""What instructions compute: bits in, bits out, worked out by hand from the PTX ISA manual."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from .meaning import meaning_of
from .values import UnknownInstruction

_KINDS = {1: np.bool_, 2: np.uint8, 8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
INF, NAN, ONE, TWO, NEGATIVE_ZERO = 0x7F800000, 0x7FC00000, 0x3F800000, 0x40000000, 0x80000000
ALL = 0xFFFFFFFF


def _run(mnemonic: str, *sources: int) -> int:
    meaning = meaning_of(tuple(mnemonic.split(".")))
    arrays = [np.full(3, x, _KINDS[w]) for x, w in zip(sources, meaning.sources, strict=True)]
    with np.errstate(all="ignore"):
        result = np.broadcast_to(meaning.run(*arrays), (3,))
    assert result.dtype == _KINDS[meaning.result]
    assert len({int(x) for x in result}) == 1
    return int(result[0])


_INTEGERS = [
    ("add.s32", [0x7FFFFFFF, 1], 0x80000000),
    ("sub.s64", [0, 1], 0xFFFFFFFFFFFFFFFF),
    ("mul.lo.s32", [0x10001, 0x10001], 0x20001),
    ("mul.hi.u32", [ALL, ALL], 0xFFFFFFFE),
    ("mul.hi.s32", [ALL, ALL], 0),
    ("mul.hi.s64", [0xFFFFFFFFFFFFFFFF, 5], 0xFFFFFFFFFFFFFFFF),
    ("mul.hi.u64", [0xFFFFFFFFFFFFFFFF, 5], 4),
    ("mul.wide.s32", [ALL, 2], 0xFFFFFFFFFFFFFFFE),
    ("mul.wide.u32", [ALL, 2], 0x1FFFFFFFE),
    ("mul.wide.s16", [0xFFFF, 2], 0xFFFFFFFE),
    ("mad.lo.s32", [3, 4, ALL], 11),
    ("mad.wide.u32", [ALL, 1, 1], 0x100000000),
    ("div.s32", [0xFFFFFFF9, 2], 0xFFFFFFFD),  # -7 / 2 = -3
    ("rem.s32", [0xFFFFFFF9, 2], ALL),  # -7 % 2 = -1
    ("div.u32", [0xFFFFFFF9, 2], 0x7FFFFFFC),
    ("rem.s64", [7, 0xFFFFFFFFFFFFFFFE], 1),
    ("abs.s32", [0x80000000], 0x80000000),
    ("abs.s16", [0xFFFF], 1),
    ("neg.s32", [1], ALL),
    ("min.s32", [ALL, 0], ALL),
    ("min.u32", [ALL, 0], 0),
    ("max.s64", [0xFFFFFFFFFFFFFFFF, 0], 0),
    ("and.b32", [0xC, 0xA], 0x8),
    ("or.b16", [0xC, 0xA], 0xE),
    ("xor.b64", [0xC, 0xA], 0x6),
    ("and.pred", [1, 0], 0),
    ("not.b32", [0], ALL),
    ("not.pred", [1], 0),
    ("cnot.b32", [0], 1),
    ("cnot.b32", [5], 0),
    ("shl.b32", [1, 31], 0x80000000),
    ("shl.b32", [1, 32], 0),
    ("shl.b64", [1, 200], 0),
    ("shr.u32", [0x80000000, 32], 0),
    ("shr.s32", [0x80000000, 32], ALL),
    ("shr.s32", [0x80000000, 4], 0xF8000000),
    ("shr.s16", [0x8000, 99], 0xFFFF),
    ("shf.l.wrap.b32", [0x80000000, 1, 33], 3),
    ("shf.l.clamp.b32", [0xABCD, 1, 99], 0xABCD),
    ("shf.r.wrap.b32", [0x80000000, 1, 1], 0xC0000000),
    ("shf.r.clamp.b32", [7, 0xABCD, 99], 0xABCD),
    ("prmt.b32", [0x33221100, 0x77665544, 0x7510], 0x77551100),
    ("prmt.b32", [0x00008000, 0, 0x9999], ALL),  # the sign of byte 1, four times
    ("bfe.u32", [0xABCD, 4, 8], 0xBC),
    ("bfe.s32", [0xABCD, 4, 8], 0xFFFFFFBC),
    ("bfe.s32", [0x80000000, 40, 4], ALL),
    ("bfe.u32", [ALL, 28, 8], 0xF),
    ("bfe.s32", [ALL, 3, 0], 0),
    ("bfe.u64", [0x123456789ABCDEF0, 60, 64], 1),
    ("bfi.b32", [0xF, 0, 4, 8], 0xF0),
    ("bfi.b32", [0, ALL, 28, 8], 0x0FFFFFFF),
    ("bfi.b32", [5, 0xABCD, 32, 8], 0xABCD),
    ("bfi.b32", [5, 0xABCD, 3, 0], 0xABCD),
    ("bfi.b64", [7, 9, 0, 64], 7),
    ("bfind.u32", [0x00010000], 16),
    ("bfind.u32", [0], ALL),
    ("bfind.s32", [ALL], ALL),
    ("bfind.s32", [0xFFFFFF00], 7),
    ("bfind.shiftamt.u32", [0x00010000], 15),
    ("bfind.u64", [1 << 63], 63),
    ("brev.b32", [1], 0x80000000),
    ("brev.b64", [2], 1 << 62),
    ("clz.b32", [0], 32),
    ("clz.b64", [1], 63),
    ("popc.b64", [0xF0F0F0F0F0F0F0F0], 32),
    ("lop3.b32", [0xF0, 0xCC, 0xAA, 0x80], 0x80),  # a & b & c
    ("lop3.b32", [0xF0, 0xCC, 0xAA, 0xFE], 0xFE),  # a | b | c
    ("lop3.b32", [0xF0, 0xCC, 0xAA, 0x96], 0x96),  # a ^ b ^ c
    ("selp.b32", [1, 2, 0], 2),
    ("slct.b32.s32", [1, 2, 0], 1),
    ("slct.b32.s32", [1, 2, ALL], 2),
    ("slct.b32.f32", [1, 2, NEGATIVE_ZERO], 1),
    ("slct.b32.f32", [1, 2, NAN], 2),
]
_FLOATS = [
    ("add.rn.f32", [ONE, 0x33800000], ONE),  # 1 + 2^-24: the tie goes to even
    ("add.f64", [0x3FF0000000000000, 0x3FF0000000000000], 0x4000000000000000),
    ("mul.rn.f32", [0x00000001, 0x3F000000], 0),  # half of the least denormal: to even
    ("div.rn.f32", [ONE, 0x40400000], 0x3EAAAAAB),
    ("div.rn.f32", [ONE, NEGATIVE_ZERO], 0xFF800000),
    ("div.rn.f64", [0x3FF0000000000000, 0x4008000000000000], 0x3FD5555555555555),
    ("div.full.f32", [ONE, TWO], 0x3F000000),
    ("rcp.rn.f32", [0x40400000], 0x3EAAAAAB),
    ("sqrt.rn.f32", [TWO], 0x3FB504F3),
    ("sqrt.rn.f64", [0x4000000000000000], 0x3FF6A09E667F3BCD),
    ("sqrt.rn.f32", [NEGATIVE_ZERO], NEGATIVE_ZERO),
    ("rsqrt.approx.f32", [0x40800000], 0x3F000000),
    ("ex2.approx.f32", [0x40400000], 0x41000000),
    ("lg2.approx.f32", [0x41000000], 0x40400000),
    ("sin.approx.f32", [0], 0),
    ("cos.approx.f32", [0], ONE),
    ("tanh.approx.f32", [INF], ONE),
    ("neg.f32", [NAN], 0xFFC00000),
    ("abs.f64", [0x8000000000000000], 0),
    ("copysign.f32", [NEGATIVE_ZERO, ONE], 0xBF800000),  # PTX: the sign of the first
    ("min.f32", [0, NEGATIVE_ZERO], NEGATIVE_ZERO),
    ("max.f32", [NEGATIVE_ZERO, 0], 0),
    ("max.f32", [NEGATIVE_ZERO, NEGATIVE_ZERO], NEGATIVE_ZERO),
    ("min.f32", [NAN, ONE], ONE),
    ("max.f32", [ONE, NAN], ONE),
    ("max.f64", [0x7FF8000000000000, 0x3FF0000000000000], 0x3FF0000000000000),
    # (1 + 2^-12)^2 - (1 + 2^-11) = 2^-24, lost by two roundings.
    ("fma.rn.f32", [0x3F800800, 0x3F800800, 0xBF801000], 0x33800000),
    # 1 + 2^-23 + 2^-24 (1 - 2^-46), below a tie: f64 has the tie, which goes up to even.
    ("fma.rn.f32", [0x33800001, 0x3F7FFFFE, 0x3F800001], 0x3F800001),
    ("fma.rn.f32", [0x1, 0x1, 0xBF800000], 0xBF800000),
    ("fma.rn.f32", [0x0D800000, 0x0D800000, 0xB3000000], 0xB3000000),
    # (1 + 2^-52) 2^-53 + 1, above a tie.
    ("fma.rn.f64", [(1023 << 52) + 1, 970 << 52, 1023 << 52], (1023 << 52) + 1),
    ("fma.rn.bf16", [0x3F80, 0x3B80, 0x3F80], 0x3F80),  # 1 + 2^-8, the tie
    # 1.5 (1 + 2^-7) - 2^-30, below a tie that f32 rounds it to, and which goes up to even.
    ("fma.rn.bf16", [0x3FC0, 0x3F81, 0xB080], 0x3FC1),
    ("add.rn.f16x2", [0x3C003C00, 0x40003C00], 0x42004000),
    ("add.f16x2", [0x3C003C00, 0x40003C00], 0x42004000),
    ("fma.rn.bf16x2", [0x3F804000, 0x3F804000, 0x00003F80], 0x3F8040A0),
    ("neg.f16x2", [0x3C008000], 0xBC000000),
]  # fmt: skip
_PREDICATES = [
    ("setp.lt.s32", [ALL, 0], 1),
    ("setp.lt.u32", [ALL, 0], 0),
    ("setp.hs.u64", [5, 5], 1),
    ("setp.eq.f32", [0, NEGATIVE_ZERO], 1),
    ("setp.ne.f32", [NAN, ONE], 0),
    ("setp.neu.f32", [NAN, ONE], 1),
    ("setp.equ.f32", [NAN, ONE], 1),
    ("setp.equ.f32", [TWO, ONE], 0),
    ("setp.ltu.f32", [NAN, ONE], 1),
    ("setp.ltu.f32", [TWO, ONE], 0),
    ("setp.geu.f64", [0x3FF0000000000000, 0x7FF8000000000000], 1),
    ("setp.num.f32", [NAN, ONE], 0),
    ("setp.num.f32", [ONE, ONE], 1),
    ("setp.nan.f32", [ONE, NAN], 1),
    ("setp.lt.and.f32", [ONE, TWO, 0], 0),
    ("setp.lt.or.s32", [5, 0, 1], 1),
    ("setp.lt.f16x2", [0x3C004000, 0x40003C00], 2),
    ("setp.le.f16x2", [0x40003C00, 0x3C003C00], 1),
    ("setp.nan.bf16x2", [0x7FC03F80, 0x3F803F80], 2),
    ("setp.lt.xor.f64", [0, 0x3FF0000000000000, 1], 0),
    ("testp.infinite.f32", [0xFF800000], 1),
    ("testp.finite.f32", [NAN], 0),
    ("testp.notanumber.f64", [0x7FF8000000000000], 1),
]
_CONVERSIONS = [
    ("cvt.rzi.s32.f32", [0xBFC00000], ALL),  # -1.5
    ("cvt.rni.s32.f32", [0x40200000], 2),  # 2.5, to even
    ("cvt.rmi.s32.f32", [0xBFC00000], 0xFFFFFFFE),
    ("cvt.rpi.s32.f32", [0x3F8CCCCD], 2),
    ("cvt.rzi.s32.f32", [INF], 0x7FFFFFFF),
    ("cvt.rzi.s32.f32", [0xFF800000], 0x80000000),
    ("cvt.rzi.u32.f32", [0xBF800000], 0),
    ("cvt.rzi.u32.f32", [0x4F800000], ALL),  # 2^32
    ("cvt.rzi.s32.f32", [NAN], 0),
    ("cvt.rzi.s64.f32", [NAN], 1 << 63),
    ("cvt.rzi.u64.f32", [NAN], 1 << 63),
    ("cvt.rzi.s32.f64", [0x7FF8000000000000], 1 << 31),
    ("cvt.rzi.u32.f64", [0x7FF8000000000000], 1 << 31),
    ("cvt.rzi.s64.f64", [0x43E0000000000000], 0x7FFFFFFFFFFFFFFF),
    ("cvt.rn.f32.s32", [0x01000001], 0x4B800000),  # 2^24 + 1: the tie goes to even
    ("cvt.rn.f32.u32", [ALL], 0x4F800000),
    ("cvt.rn.f64.s64", [0xFFFFFFFFFFFFFFFF], 0xBFF0000000000000),
    ("cvt.rn.f16.u32", [65520], 0x7C00),
    ("cvt.rn.f16.u32", [65519], 0x7BFF),
    ("cvt.rn.bf16.s32", [(1 << 30) + (1 << 22) + 1], 0x4E81),  # above a tie; f32 is on it
    ("cvt.rn.f32.f64", [0x3FF0000010000000], ONE),  # 1 + 2^-24, the tie
    ("cvt.rn.f32.f64", [0x7FEFFFFFFFFFFFFF], INF),
    ("cvt.rz.f32.f64", [0x7FEFFFFFFFFFFFFF], 0x7F7FFFFF),
    ("cvt.rz.f32.f64", [0xBFF000001FFFFFFF], 0xBF800000),
    ("cvt.rm.f32.f64", [0xBFF0000000000001], 0xBF800001),
    ("cvt.rp.f32.f64", [0xBFF0000000000001], 0xBF800000),
    ("cvt.rp.f32.f64", [1], 1),
    ("cvt.rz.f16.f32", [0x477FFFFF], 0x7BFF),
    ("cvt.f64.f32", [ONE], 0x3FF0000000000000),
    ("cvt.f32.f16", [0x0001], 0x33800000),  # 2^-24
    ("cvt.f32.bf16", [0x3F80], ONE),
    ("cvt.rn.f16.f32", [0x477FF000], 0x7C00),  # 65520
    ("cvt.rn.bf16.f32", [0x3F808000], 0x3F80),
    ("cvt.rn.bf16.f32", [0x3F818000], 0x3F82),
    ("cvt.rn.bf16.f32", [0x7F800001], 0x7FFF),
    ("cvt.rn.bf16.f64", [0x3FF0100000000001], 0x3F81),  # 1 + 2^-8 + 2^-52
    ("cvt.rn.f16x2.f32", [ONE, TWO], 0x3C004000),
    ("cvt.rn.bf16x2.f32", [ONE, TWO], 0x3F804000),
    ("cvt.rna.tf32.f32", [0x3F801000], 0x3F802000),  # the tie, away from zero
    ("cvt.rna.tf32.f32", [0x3F800FFF], ONE),
    ("cvt.rna.tf32.f32", [NAN], 0x7FFFFFFF),
    ("cvt.rni.f32.f32", [0x40200000], TWO),
    ("cvt.rzi.f32.f32", [0xBF000000], NEGATIVE_ZERO),
    ("cvt.sat.f32.f32", [TWO], ONE),
    ("cvt.sat.f32.f32", [NAN], 0),
    ("cvt.s64.s32", [ALL], 0xFFFFFFFFFFFFFFFF),
    ("cvt.u64.u32", [ALL], ALL),
    ("cvt.s32.s8", [0x80], 0xFFFFFF80),
    ("cvt.u32.u8", [0xFF], 0xFF),
    ("cvt.sat.s8.s32", [300], 127),
    ("cvt.sat.u16.s32", [ALL], 0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("mnemonic", "sources", "expected"), _INTEGERS + _FLOATS + _PREDICATES + _CONVERSIONS
)
def test_by_hand(mnemonic, sources, expected):
    found = _run(mnemonic, *sources)
    assert found == expected, f"{found:#x}, not {expected:#x}"


@pytest.mark.parametrize("mnemonic", ["min.NaN.f32", "max.NaN.f32", "add.rn.f32", "sqrt.rn.f32"])
def test_nan_stays(mnemonic):
    rest = () if mnemonic.startswith("sqrt") else (ONE,)
    assert _run(mnemonic, NAN, *rest) & 0x7FFFFFFF > INF


@pytest.mark.parametrize(
    "mnemonic", ["add.rz.f32", "add.ftz.f32", "setp.lt.and.f16x2", "wgmma.fence", "min.xorsign.f32"]
)
def test_unknown_names_the_instruction(mnemonic):
    with pytest.raises(UnknownInstruction, match=mnemonic):
        meaning_of(tuple(mnemonic.split(".")))


def _exactly_rounded(exact: Fraction) -> float:
    """The f64 nearest to a fraction: Python's division of integers rounds correctly."""
    return exact.numerator / exact.denominator


@pytest.mark.parametrize("spread", [0, 30, 60, 300, 500])
def test_fma_f64_against_fractions(spread):
    draw = np.random.default_rng(spread)
    count = 400
    a, b, c = (
        np.ldexp(draw.uniform(-1, 1, count), draw.integers(-spread, spread + 1, count))
        for _ in range(3)
    )
    c[::3] = -(a * b)[::3]  # cancellation: only the product's error is left
    with np.errstate(all="ignore"):
        found = meaning_of(("fma", "rn", "f64")).run(*(x.view(np.uint64) for x in (a, b, c)))
    for x, y, z, result in zip(a, b, c, found.view(np.float64), strict=True):
        exact = Fraction(x) * Fraction(y) + Fraction(z)
        assert result == _exactly_rounded(exact)


def test_fma_f32_against_fractions():
    draw = np.random.default_rng(1)
    count = 2000
    a, b, c = (
        np.ldexp(draw.uniform(-1, 1, count), draw.integers(-30, 31, count)).astype(np.float32)
        for _ in range(3)
    )
    c[::3] = -(a * b)[::3]
    found = meaning_of(("fma", "rn", "f32")).run(*(x.view(np.uint32) for x in (a, b, c)))
    for x, y, z, result in zip(a, b, c, found.view(np.float32), strict=True):
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        error = abs(Fraction(float(result)) - exact)
        for neighbour in (np.nextafter(result, np.float32(k)) for k in (-np.inf, np.inf)):
            assert error <= abs(Fraction(float(neighbour)) - exact)
