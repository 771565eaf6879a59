"""The math functions that a module uses, as private functions in it.

Stage `linalg` calls and declares them; their bodies join before the LLVM dialect. Each is a scalar
function; vector versions stand beside it, and LLVM's loop vectoriser picks them (through the
attribute "vector-function-abi-variant"). So a body is in a library once, and it may branch, which
inlined code in a vectorised loop could not.
"""

from __future__ import annotations

from mlir import ir
from mlir.dialects import func

from . import (
    error_functions,
    exponential,
    gamma_functions,
    inverse_circular,
    remainder,
    scalar_math,
)
from .builders import symbol
from .circular import SHIFTS, circular, digits_table, far, far_symbol
from .float_body import Body
from .scalar_math import arity
from .scalars import element, width

#: On the module: names of functions that nothing but LLVM's vectoriser refers to.
VECTOR_FUNCTIONS = "pb.vector_functions"


RULES = {
    **scalar_math.RULES,
    **exponential.RULES,
    **inverse_circular.RULES,
    **error_functions.RULES,
    **gamma_functions.RULES,
    **remainder.RULES,
}
#: Without vector versions: their loops run as long as the operands ask for.
SCALAR_ONLY = frozenset({"fmod", "zeta"})


class MathLibrary:
    """Calls of math functions, and what they call."""

    def __init__(self, vector_bytes: int) -> None:
        self._vector_bytes = vector_bytes
        self._used: dict[tuple[str, ir.Type], None] = {}

    def call(self, name: str, *operands: ir.Value) -> ir.Value:
        type_ = operands[0].type
        self._used[name, type_] = None
        return func.call([type_], _symbol(name, type_), operands)

    def declare(self, module: ir.Module) -> None:
        """Declares what was called."""
        with ir.InsertionPoint(module.body), ir.Location.name("math"):
            for name, type_ in self._used:
                _function(_symbol(name, type_), type_, _arity(name))

    def define(self, module: ir.Module) -> None:
        """Replaces the declarations by the functions, with their vector versions."""
        vector_functions = []
        symbols = {_symbol(name, type_) for name, type_ in self._used}
        for op in list(module.body.operations):
            if symbol(op) in symbols:
                op.operation.erase()
        with module.context, ir.InsertionPoint(module.body), ir.Location.name("math"):
            for name, type_ in self._used:
                lanes = self._vector_bytes * 8 // width(type_)
                counts = [] if name in SCALAR_ONLY else [n for n in (lanes, lanes // 2) if n >= 2]
                vectors = [ir.VectorType.get([n], type_) for n in counts]
                _define(name, type_, vectors)
                for vector in vectors:
                    _define(name, vector, [])
                    vector_functions.append(ir.StringAttr.get(_symbol(name, vector)))
            far_ones = [name for name in SHIFTS if any(name == used for used, _ in self._used)]
            for name in far_ones:
                _define_far(name)
            if far_ones:
                digits_table()
        if vector_functions:
            module.operation.attributes[VECTOR_FUNCTIONS] = ir.ArrayAttr.get(vector_functions)


def _symbol(name: str, type_: ir.Type) -> str:
    base = f"pb.{name}.{element(type_)}"
    return f"{base}.v{type_.shape[0]}" if isinstance(type_, ir.VectorType) else base


def _arity(name: str) -> int:
    return 1 if name in SHIFTS else arity(RULES[name])


def _function(symbol: str, type_: ir.Type, arity: int, *passthrough: ir.Attribute) -> func.FuncOp:
    function = func.FuncOp(symbol, ir.FunctionType.get([type_] * arity, [type_]))
    function.attributes["sym_visibility"] = ir.StringAttr.get("private")
    # Inlined before vectorisation, the body would be scalar code in a loop.
    attributes = [ir.StringAttr.get("noinline"), *passthrough]
    function.attributes["passthrough"] = ir.ArrayAttr.get(attributes)
    return function


def _define(name: str, type_: ir.Type, vectors: list[ir.VectorType]) -> None:
    arity = _arity(name)
    symbol = _symbol(name, type_)
    passthrough = []
    if vectors:
        variants = ",".join(
            f"_ZGV_LLVM_N{vector.shape[0]}{'v' * arity}_{symbol}({_symbol(name, vector)})"
            for vector in vectors
        )
        key = ir.StringAttr.get("vector-function-abi-variant")
        passthrough.append(ir.ArrayAttr.get([key, ir.StringAttr.get(variants)]))
    block = _function(symbol, type_, arity, *passthrough).add_entry_block()
    with ir.InsertionPoint(block):
        body = Body(type_)
        if name in SHIFTS:
            func.ReturnOp([circular(body, block.arguments[0], name)])
        else:
            func.ReturnOp([RULES[name](body, *block.arguments)])


def _define_far(name: str) -> None:
    f64 = ir.F64Type.get()
    function = _function(far_symbol(name), f64, 1, ir.StringAttr.get("cold"))
    block = function.add_entry_block()
    with ir.InsertionPoint(block):
        func.ReturnOp([far(Body(f64), block.arguments[0], SHIFTS[name])])
