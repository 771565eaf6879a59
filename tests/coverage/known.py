"""Differences from torch that stay, each with its reason; the table of the docs lists them.

The key is an operator and a special point, as patterns; ``?*`` takes all special points.
"""

from __future__ import annotations

KNOWN: dict[tuple[str, str], str] = {
    ("nn.functional.prelu", "*zeros"): (
        "torch's forward derivative at 0 is that of the right side, its reverse that of the left"
    ),
    ("nn.functional.prelu", "all"): "as at zeros",
    ("cumprod", "all"): "torch leaves out what follows a zero, also a NaN",
    ("norm.inf", "all"): "as at NaN",
    ("renorm", "all"): "as at NaN",
    ("norm.inf", "nan"): "torch's derivative is 0 where the norm is NaN",
    ("as_strided_scatter", "*"): "torch's vjp keeps what is overwritten; its jvp does not",
    ("nextafter", "*inf"): "the derivative of an infinite argument is 0 here, 1 in torch",
    ("nextafter", "all"): "as at infinities",
    ("nn.functional.cosine_similarity", "all"): "as at zeros",
    ("nn.functional.cross_entropy", "all"): "a second derivative where f is not finite",
    ("var_mean*", "all"): "as at infinities",
    ("std_mean*", "all"): "as at infinities",
    ("native_group_norm", "all"): "as at infinities",
    ("kthvalue", "?*"): "which of equal elements it takes is not said",
    ("msort", "?*"): "torch's msort is not stable: which of equal elements moves is not said",
    ("mode", "all"): "as at NaN",
    ("mode", "nan"): "torch's count of NaN depends on its sort",
    ("prod", "1e30"): "a second derivative beyond the range of cancellation",
    ("index_reduce.prod", "1e30"): "as prod",
    ("var_mean*", "*inf"): "torch's two results differ: the mean of an infinity is nan here only",
    ("std_mean*", "*inf"): "as var_mean",
    ("native_layer_norm", "*inf"): "as var_mean",
    ("native_group_norm", "*inf"): "as var_mean",
    ("nn.functional.cosine_similarity", "*zeros"): "3e-8 of terms of size 1e8 that cancel",
    ("nn.functional.batch_norm", "*inf"): "an infinite scale and shift: torch adds them first",
    ("renorm", "nan"): "torch leaves the rows without a NaN; here one norm reads them all",
    ("topk", "?*"): "as kthvalue",
    ("index_reduce.am*", "?*"): (
        "with include_self=False and a tie torch counts the element that is excluded, too"
    ),
    ("scatter_reduce.am*", "?*"): "as index_reduce",
    ("scatter_reduce.prod", "*zeros"): "with two zeros torch's second derivative is 0",
    ("scatter_reduce.prod", "*inf"): "torch's forward derivative of infinite products is 0",
    ("scatter_reduce.prod", "all"): "as at inf",
    ("scatter_reduce.prod", "nan"): "torch's forward derivative of an element kept is 0 at a NaN",
    ("*polygamma*", "*"): "torch's trigamma is off by 1.5e-9 (at 1/2, where it is pi^2 / 2)",
    ("digamma", "*"): "its derivative is trigamma: see polygamma",
    ("lgamma", "*"): "its second derivative is trigamma: see polygamma",
    ("mvlgamma*", "*"): "a sum of lgamma: see there",
    ("nn.functional.max_unpool?d", "*"): (
        "where positions repeat, torch's derivative is also that of values that are overwritten"
    ),
    ("nn.functional.binary_cross_entropy", "*zeros"): (
        "torch divides by x (1 - x) kept from 0; here the derivative at 0 is the limit"
    ),
    ("nn.functional.binary_cross_entropy", "all"): "as at zeros",
    ("masked.cumprod", "all"): "as cumprod",
    ("masked.logsumexp", "1e30"): (
        "torch's weights of equal terms are 1 each: the logarithm of their number is rounded off"
    ),
    ("nn.functional.grid_sample", "1e30"): (
        "the rounding of a reflected place is wider than the image; "
        "torch's second derivatives of bicubic reach 1e91"
    ),
    ("nn.functional.grid_sample", "all"): "as at 1e30; 1e30 times weights that sum to rounding",
    ("grid_sampler_2d", "1e30"): "the rounding of a reflected place is wider than the image",
    ("grid_sampler_2d", "all"): "as at 1e30",
    ("nn.functional.grid_sample", "*inf"): "as at NaN: a reflected infinity is one",
    ("nn.functional.grid_sample", "nan"): (
        "in a volume torch reads the last element there, but gives it no derivative"
    ),
    ("grid_sampler_3d", "nan"): "as grid_sample",
    ("grid_sampler_3d", "all"): "as grid_sample",
}
