"""Differences from torch that stay, each with its reason; the table of the docs lists them."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Difference:
    """All but the reason are patterns of names, of forms several; ``?*``: all special points."""

    operator: str
    point: str
    reason: str
    form: str = "*"
    dtype: str = "*"
    indices: bool = False  # floating-point results are compared all the same

    def covers(self, operator: str, point: str, form: str, dtype: str) -> bool:
        names = (self.operator, self.point, self.dtype)
        same = all(map(fnmatchcase, (operator, point, dtype), names))
        return same and self.of(form)

    def of(self, form: str) -> bool:
        return any(fnmatchcase(form, name) for name in self.form.split("|"))


VALUE = "forward|vmap"
DERIVATIVE = "jvp|vjp|* of vjp"
REVERSE = "vjp|* of vjp"
#: The two with second derivatives.
SECOND = "??p of vjp"
_OVERFLOW = "sums of products beyond f32: inf - inf here, one infinity with fused multiply-adds"
_SQUARES = "the squares are beyond f32: as var, infinite; torch's CPU kernel has sums in f64"
_WHICH = "which of equal elements it takes is not said"
_SINGULAR = "which parts of the factors are NaN depends on the order of operations"

KNOWN: tuple[Difference, ...] = (
    Difference(
        "nn.functional.prelu",
        "*zeros",
        "torch's forward derivative at 0 is that of the right side, its reverse that of the left",
        form=SECOND,
    ),
    Difference("nn.functional.prelu", "all", "as at zeros", form=f"jvp|{SECOND}"),
    Difference(
        "as_strided_scatter",
        "*",
        "torch's vjp keeps what is overwritten; its jvp does not",
        form=REVERSE,
    ),
    Difference(
        "nn.functional.max_unpool?d",
        "*",
        "where positions repeat, torch's derivative is also that of values that are overwritten",
        form=REVERSE,
    ),
    Difference(
        "nextafter",
        "*inf",
        "the derivative of an infinite argument is 0 here, 1 in torch",
        form=DERIVATIVE,
    ),
    Difference("nextafter", "all", "as at infinities", form=DERIVATIVE),
    Difference(
        "nn.functional.cosine_similarity",
        "signed zeros",
        "3e-8 of terms of size 1e8 that cancel",
        form="vjp of vjp",
    ),
    Difference("nn.functional.cosine_similarity", "all", "as at signed zeros", form="vjp of vjp"),
    Difference(
        "nn.functional.cross_entropy",
        "all",
        "a second derivative where f is not finite",
        form="vjp of vjp",
    ),
    Difference(
        "var_mean*",
        "*inf",
        "torch's two results differ: the mean of an infinity is nan here only",
        form=VALUE,
    ),
    Difference("std_mean*", "*inf", "as var_mean", form=VALUE),
    Difference("native_layer_norm", "*inf", "as var_mean", form=VALUE),
    Difference("native_group_norm", "*inf", "as var_mean", form=VALUE),
    Difference("native_group_norm", "all", "as var_mean", form=VALUE),
    Difference(
        "nn.functional.batch_norm",
        "*inf",
        "an infinite scale and shift: torch adds them first",
        form=VALUE,
    ),
    Difference("kthvalue", "?*", _WHICH, form=VALUE, indices=True),
    Difference("kthvalue", "?*", _WHICH, form=DERIVATIVE),
    Difference("topk", "?*", _WHICH, form=VALUE, indices=True),
    Difference("topk", "?*", _WHICH, form=DERIVATIVE),
    Difference("digamma", "*", "its derivative is trigamma: see polygamma", form=DERIVATIVE),
    Difference("lgamma", "*", "its second derivative is trigamma: see polygamma", form=SECOND),
    Difference("mvlgamma*", "*", "a sum of lgamma: see there", form=SECOND),
    Difference(
        "nn.functional.binary_cross_entropy",
        "*zeros",
        "torch divides by x (1 - x) kept from 0; here the derivative at 0 is the limit",
        form=DERIVATIVE,
    ),
    Difference(
        "nn.functional.normalize",
        "*",
        "over a dimension of size 1 terms of 1 / x cancel, to one rounding",
        form=REVERSE,
        dtype="f32",
    ),
    Difference("cumprod", "all", "torch leaves out what follows a zero, also a NaN", form=REVERSE),
    Difference("masked.cumprod", "all", "as cumprod", form=REVERSE),
    *(
        Difference(f"std{name}", point, _SQUARES, dtype="f32")
        for name in ("", ".unbiased", "_mean", "_mean.unbiased")
        for point in ("1e30", "all")
    ),
    Difference("norm.inf", "all", "as at NaN", form=REVERSE),
    Difference("renorm", "all", "as at NaN", form=REVERSE),
    Difference("norm.inf", "nan", "torch's derivative is 0 where the norm is NaN", form=REVERSE),
    Difference(
        "msort",
        "?*",
        "torch's msort is not stable: which of equal elements moves is not said",
        form=DERIVATIVE,
    ),
    Difference("mode", "all", "as at NaN"),
    Difference("mode", "nan", "torch's count of NaN depends on its sort"),
    Difference(
        "renorm",
        "nan",
        "torch leaves the rows without a NaN; here one norm reads them all",
        form=REVERSE,
    ),
    Difference(
        "index_reduce.am*",
        "?*",
        "with include_self=False and a tie torch counts the element that is excluded, too",
        form=DERIVATIVE,
    ),
    Difference("scatter_reduce.am*", "?*", "as index_reduce", form=REVERSE),
    Difference(
        "scatter_reduce.prod",
        "*zeros",
        "with two zeros torch's second derivative is 0",
        form=SECOND,
    ),
    Difference(
        "scatter_reduce.prod",
        "*inf",
        "torch's forward derivative of infinite products is 0",
        form="jvp",
    ),
    Difference("scatter_reduce.prod", "all", "as at inf", form="jvp"),
    Difference(
        "scatter_reduce.prod",
        "nan",
        "torch's forward derivative of an element kept is 0 at a NaN",
        form="jvp",
    ),
    Difference(
        "*polygamma*",
        "ties",
        "torch's trigamma is off by 1.5e-9 (at 1/2, where it is pi^2 / 2)",
        form=VALUE,
    ),
    Difference(
        "*polygamma*",
        "*inf",
        "torch's trigamma is NaN at -inf, its higher ones at inf, where they are 0",
        form=VALUE,
    ),
    Difference(
        "*polygamma*",
        "all",
        "as at infinities; torch's trigamma is finite at its poles",
        form=VALUE,
    ),
    Difference(
        "nn.functional.grid_sample",
        "1e30",
        (
            "the rounding of a reflected place is wider than the image; torch's second "
            "derivatives of bicubic reach 1e91"
        ),
    ),
    Difference(
        "nn.functional.grid_sample",
        "all",
        "as at 1e30, which weights multiply that sum to rounding",
    ),
    Difference(
        "grid_sampler_2d",
        "1e30",
        "the rounding of a reflected place is wider than the image",
    ),
    Difference("grid_sampler_2d", "all", "as at 1e30"),
    Difference(
        "nn.functional.grid_sample",
        "*inf",
        "as at NaN: a reflected infinity is one",
        form=DERIVATIVE,
    ),
    Difference("grid_sampler_3d", "nan", "as grid_sample", form=REVERSE),
    Difference(
        "xlogy",
        "*zeros",
        (
            "where x is 0 and y <= 0 torch's mixed second derivative is 1 / y in one order, 0 "
            "in the other"
        ),
        form=SECOND,
    ),
    Difference("xlogy", "all", "as at zeros", form=SECOND),
    Difference("special.xlog1py", "signed zeros", "as xlogy", form=SECOND),
    Difference("special.xlog1py", "all", "as xlogy", form=SECOND),
    Difference(
        "special.entr",
        "?*",
        "a second derivative at the pole, and where the value is infinite: -1 / x in torch",
        form=SECOND,
    ),
    Difference(
        "special.erfcx",
        "*inf",
        "torch's derivative at infinity is NaN, here its limit",
        form=DERIVATIVE,
    ),
    Difference("special.erfcx", "all", "as at infinities", form=DERIVATIVE),
    Difference(
        "special.log_ndtr",
        "1e3",
        "torch's second derivative cancels: it is off by 3e-5 at -1e3, here by 2e-16",
        form="* of vjp",
        dtype="f64",
    ),
    Difference(
        "special.log_ndtr",
        "1e30",
        "torch's derivative at -1e30 is infinite in f64; it is 1e30",
        form=DERIVATIVE,
        dtype="f64",
    ),
    Difference("special.log_ndtr", "all", "as at 1e3 and 1e30", form=DERIVATIVE, dtype="f64"),
    Difference(
        "logcumsumexp",
        "1e30",
        ("torch multiplies weights with the cotangent by adding logarithms, which 1e30 rounds off"),
        form=REVERSE,
    ),
    Difference("logcumsumexp", "all", "as at 1e30", form=DERIVATIVE),
    Difference(
        "nn.functional.linear_cross_entropy*",
        "1e30",
        "logits of 1e60: rounding decides which are equal",
        form="jvp of vjp",
    ),
    Difference(
        "nn.functional.linear_cross_entropy*",
        "1e3",
        "logits of 1e6 are rounded by 0.06 in f32",
        form=SECOND,
        dtype="f32",
    ),
    Difference(
        "norm.nuc",
        "1e30",
        "two singular values are equal: torch's differ by rounding",
        form=SECOND,
    ),
    Difference(
        "linalg.householder_product",
        "1e3 times",
        (
            "torch divides out one reflector after the other: off by 1e11 of its size there, "
            "and here by 1e-15 (against the product written out)"
        ),
        form=DERIVATIVE,
    ),
    Difference(
        "linalg.lu_solve",
        "1e3 times",
        "the scaled factor L has the condition number 1e8",
        form=SECOND,
    ),
    Difference("lu_solve", "1e3 times", "as linalg.lu_solve", form=SECOND),
    Difference("qr", "*inf", _SINGULAR),
    Difference("qr", "nan", _SINGULAR),
    Difference("qr", "all", _SINGULAR),
    Difference(
        "qr",
        "signed zeros",
        "the matrix is singular: its factors have no derivative",
        form="* of vjp",
    ),
    Difference("nn.functional.conv_transpose?d", "1e30", _OVERFLOW, form=VALUE, dtype="f32"),
    Difference("nn.functional.conv1d", "all", _OVERFLOW, form="vmap", dtype="f32"),
    Difference(
        "nn.functional.linear_cross_entropy.chunked",
        "*",
        "torch's second derivative is not that of the same loss computed in one part",
        form=SECOND,
    ),
    Difference("i0", "*inf", "torch's value is NaN there; it is infinite", form=VALUE),
    Difference("special.i1", "*inf", "as i0", form=VALUE),
    Difference("ormqr", "1e3 times", "as linalg.householder_product", form=DERIVATIVE),
    Difference(
        "nn.functional.ctc_loss",
        "1e30",
        "no probabilities: torch's derivative is NaN",
        form=REVERSE,
    ),
    Difference(
        "nn.functional.ctc_loss",
        "-inf",
        "torch's derivative is NaN where a probability is 0",
        form=REVERSE,
    ),
    Difference(
        "nn.functional.ctc_loss",
        "1e3",
        "no probabilities: their exponentials are beyond f32",
        form=REVERSE,
        dtype="f32",
    ),
    Difference("cross", "all", _OVERFLOW, form=VALUE, dtype="f32"),
    Difference(
        "masked.sum", "1e30", "numbers of size 1e30 cancel: by the order of the sum", form=VALUE
    ),
    Difference("masked.mean", "1e30", "as masked.sum", form=VALUE),
    Difference("masked.prod", "1e30", "terms of 1e30 that cancel", form=SECOND),
    Difference("pinverse", "1e3", "the matrix has the condition number 7e3", form=SECOND),
    Difference(
        "masked.logaddexp",
        "-inf",
        "torch's derivative of two of them is NaN, also of masked ones",
        form=REVERSE,
    ),
    Difference(
        "nn.functional.layer_norm",
        "1e30",
        "the variance is beyond f32: 0 here, NaN in torch",
        form=VALUE,
        dtype="f32",
    ),
    Difference("nn.functional.group_norm", "1e30", "as layer_norm", form=VALUE, dtype="f32"),
    Difference("native_layer_norm", "1e30", "as layer_norm", form=VALUE, dtype="f32"),
    Difference("native_group_norm", "1e30", "as layer_norm", form=VALUE, dtype="f32"),
    Difference(
        "nn.functional.cosine_similarity",
        "1e30",
        "the norms are beyond f32: inf / inf here, 0 in torch",
        dtype="f32",
    ),
    Difference("nn.functional.cosine_similarity", "all", "as at 1e30", dtype="f32"),
    Difference(
        "nn.functional.cosine_similarity",
        "1e3",
        "terms of size 16 that cancel: 2e-6",
        form=SECOND,
        dtype="f32",
    ),
)


def known(operator: str, point: str, form: str, dtype: str) -> Difference | None:
    """Why torch's result is not asked for, where it is not."""
    given = (operator, point, form, dtype)
    return next((d for d in KNOWN if d.covers(*given)), None)
