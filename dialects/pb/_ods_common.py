"""What the generated op classes import from beside them."""

from mlir._mlir_libs import _mlir as _cext
from mlir.dialects._ods_common import (
    equally_sized_accessor,
    get_default_loc_context,
    get_op_results_or_values,
    segmented_accessor,
)

__all__ = [
    "_cext",
    "equally_sized_accessor",
    "get_default_loc_context",
    "get_op_results_or_values",
    "segmented_accessor",
]
