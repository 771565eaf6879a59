"""Functions that bring their own derivative: pb.custom_call, and what linearizing one leaves.

The rules of a custom_call are functions of the module. `push` copies them in where the call is
differentiated; `batch` makes batched ones. When no transform op is left, `transforms/custom.py`
replaces the calls that remain by calls of their primals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mlir import ir
from mlir.dialects import func

from ...diagnostics import user_location
from ...errors import CustomRuleError
from .. import _pb_ops_gen as gen
from ..families import at_dim
from ..opdef import ZERO, Batched, Op, Tangent, register
from ..transforms import functions
from ..types import is_float, rank

if TYPE_CHECKING:
    from ..builder import Builder

RULES = ("primal", "jvp_rule", "forward", "linear", "backward")


def symbol(op: Op, attribute: str) -> func.FuncOp | None:
    """The function that an attribute of the op names."""
    if attribute not in op.attributes:
        return None
    name = ir.FlatSymbolRefAttr(op.attributes[attribute]).value
    return functions.lookup(functions.module_around(op), name)


def refuse(op: Op, message: str, help: str) -> CustomRuleError:
    return CustomRuleError(message, user_location(op.location), help=help)


_ITS_PRIMAL = "replaced by its primal once no transform is left"
_CONSUMED = "lives between linearization and transposition only"


@register(gen.CustomCallOp)
class CustomCall(Op):
    without: ClassVar = {
        "transpose": "its derivative is a linear_call",
        "reference": _ITS_PRIMAL,
        "lower": _ITS_PRIMAL,
    }

    @property
    def pure(self) -> bool:  # type: ignore[override]
        return all(op.pure for op in functions.ops(symbol(self, "primal")))

    @property
    def arguments(self) -> int:
        """How many operands are arguments; the others are captured."""
        return len(self.args) - self.captured.value

    def callees(self) -> list[func.FuncOp]:
        return [function for name in RULES if (function := symbol(self, name)) is not None]

    def pushforward(
        self, b: Builder, primals: Sequence[ir.Value], tangents: Sequence[Tangent]
    ) -> tuple[Sequence[ir.Value], Sequence[Tangent]]:
        count, operands, name = self.arguments, list(primals), self.primal.value
        own, closed = tangents[:count], tangents[count:]
        if not self.opaque and any(dot is not ZERO for dot in closed):
            raise refuse(
                self,
                f"the custom derivative of {name} closes over a value that is differentiated",
                "pass the value to it as an argument",
            )
        results: Sequence[ir.Value] = list(self.results)
        dots: list[Tangent] = [ZERO] * len(results)
        if self.opaque or all(dot is ZERO for dot in own):
            results = list(b.clone(self, operands).results)
        if all(dot is ZERO for dot in own):
            return results, dots
        pairs = zip(operands[:count], own, strict=True)
        given = [b.zeros_like(x) if dot is ZERO else dot for x, dot in pairs if is_float(x)]
        if (rule := symbol(self, "jvp_rule")) is not None:
            values = functions.copy_body(b, rule, [*operands, *given])
            made, moved = values[: len(results)], values[len(results) :]
        elif (forward := symbol(self, "forward")) is not None:
            values = functions.copy_body(b, forward, operands)
            made = values[: len(results)]
            pool: list[Any] = [
                *operands,
                *(results if self.opaque else made),
                *values[len(results) :],
            ]
            saved = [pool[i] for i in self.saved]
            types = [self.outs[i].type for i in self.differentiable]
            rules = self.attributes
            push = rules.get("linear", None)
            pull = rules.get("backward", None)
            moved = b.linear_call(name, push, pull, saved, given, types)
        else:
            raise refuse(
                self,
                f"{name} has no derivative",
                "give it one, or stop derivatives before it with detach()",
            )
        for index, dot in zip(self.differentiable, moved, strict=True):
            dots[index] = dot
        return results if self.opaque else made, dots

    def batch(self, b: Builder, size: int, *operands: Batched) -> Any:
        return _Batching(self, size, operands).run(b, operands)


@register(gen.LinearCallOp)
class LinearCall(Op):
    without: ClassVar = dict.fromkeys(("jvp", "batch", "reference", "lower"), _CONSUMED)

    def callees(self) -> list[func.FuncOp]:
        found = (symbol(self, name) for name in ("callee", "transposed"))
        return [function for function in found if function is not None]

    def forward(self, b: Builder) -> list[ir.Value]:
        """The results by `callee`, in forward mode."""
        callee = symbol(self, "callee")
        if callee is None:
            raise refuse(
                self,
                f"{self.function.value} has a custom derivative for reverse mode only, "
                "and forward mode (jvp, jacfwd) asks for its jvp",
                "use vjp, grad or jacrev, or define it with custom_jvp or the jvp staticmethod",
            )
        return functions.copy_body(b, callee, [*self.residuals, *self.args])

    def transpose(
        self, b: Builder, ct: Any, *operands: ir.Value | None
    ) -> Sequence[Tangent | None]:
        from ..transforms.transpose import transpose

        count = len(self.residuals)
        residuals = [value for value in operands[:count] if value is not None]
        if len(residuals) < count:
            raise self.missing("transpose", " for a residual")
        cts = ct if isinstance(ct, Sequence) else [ct]
        given = [
            b.zeros_like(out) if ct is ZERO else ct for out, ct in zip(self.outs, cts, strict=True)
        ]
        rule = symbol(self, "transposed")
        if rule is None:
            rule = transpose(functions.known(symbol(self, "callee")), count)
        bars = functions.copy_body(b, rule, [*residuals, *given])
        places = zip(operands[count:], bars, strict=True)
        return [*(None for _ in residuals), *(bar if x is None else None for x, bar in places)]


Finish = Callable[["Builder", list[Batched]], list[ir.Value]]
Dims = Sequence[int | None]


class _Batching:
    """The rules of a call, batched.

    Results have their examples along dimension 0; what the rules save stays shared by all
    examples where it is; an argument shared by all gets the sum of its cotangents. The name of a
    batched rule says all about it: one that exists is used again, and a rule that makes the same
    call again names those that are just being made.
    """

    def __init__(self, call: CustomCall, size: int, operands: Sequence[Batched]) -> None:
        self.call, self.size = call, size
        self.dims: list[int | None] = [operand.dim for operand in operands]
        self.types = [operand.value.type for operand in operands]
        own = zip(self.types[: call.arguments], self.dims, strict=False)
        floats = [(type_, dim) for type_, dim in own if is_float(type_)]
        self.own_types, self.own_dims = [t for t, _ in floats], [d for _, d in floats]
        self.rules = {name: rule for name in RULES if (rule := symbol(call, name)) is not None}
        at = "_".join("n" if dim is None else str(dim) for dim in self.dims)
        self.names = {
            name: f"{rule.name.value}.vmap{size}.{at}" for name, rule in self.rules.items()
        }

    def run(self, b: Builder, operands: Sequence[Batched]) -> list[Batched]:
        call, count = self.call, len(self.call.results)
        outs = list(self.made("primal", self.types, self.dims, self.in_front).type.results)
        if "jvp_rule" in self.rules:
            types, dims = [*self.types, *self.own_types], [*self.dims, *self.own_dims]
            self.made("jvp_rule", types, dims, self.in_front)
        if "forward" in self.rules:
            forward = self.made("forward", self.types, self.dims, self.save)
            if functions.finished(forward):
                self.linear_rules([*self.types, *forward.type.results], count)
        results = b.custom_call(
            types=outs,
            args=[operand.value for operand in operands],
            captured=call.captured.value,
            differentiable=list(call.differentiable),
            saved=list(call.saved),
            opaque=call.opaque,
            **self.names,
        )
        return [Batched(result, 0) for result in results]

    def linear_rules(self, pool: Sequence[ir.Type], count: int) -> None:
        """`pool`: what can be saved, as types: operands, `count` results, residuals."""
        before = self.rules["forward"].type.results[count:]
        after = pool[len(self.types) + count :]
        residuals = [0 if rank(x) > rank(y) else None for x, y in zip(after, before, strict=True)]
        dims = [*self.dims, *(0 for _ in range(count)), *residuals]
        saved, at = [pool[i] for i in self.call.saved], [dims[i] for i in self.call.saved]
        moved = [pool[len(self.types) + i] for i in self.call.differentiable]
        if "linear" in self.rules:
            types, dims = [*saved, *self.own_types], [*at, *self.own_dims]
            self.made("linear", types, dims, self.in_front)
        if "backward" in self.rules:
            self.made("backward", [*saved, *moved], [*at, *(0 for _ in moved)], self.collect)

    def made(self, name: str, types: Sequence[ir.Type], dims: Dims, finish: Finish) -> func.FuncOp:
        from ..transforms.vmap import batch_body

        module, function = functions.module_around(self.call), self.rules[name]
        if self.names[name] in ir.SymbolTable(module.operation):
            return functions.lookup(module, self.names[name])

        def emit(b: Builder, values: functions.Values) -> functions.Values:
            operands = [Batched(value, dim) for value, dim in zip(values, dims, strict=True)]
            return finish(b, batch_body(b, function, self.size, operands))

        return functions.build(function, self.names[name], types, emit)

    # How the results of the rules leave them.

    def in_front(self, b: Builder, results: list[Batched]) -> list[ir.Value]:
        return [at_dim(b, result, 0, self.size) for result in results]

    def save(self, b: Builder, results: list[Batched]) -> list[ir.Value]:
        count = len(self.call.results)
        shared = [r.value if r.dim is None else at_dim(b, r, 0, 0) for r in results[count:]]
        return [*self.in_front(b, results[:count]), *shared]

    def collect(self, b: Builder, results: list[Batched]) -> list[ir.Value]:
        bars = []
        for bar, dim in zip(results, self.own_dims, strict=True):
            if dim is not None:
                bars.append(at_dim(b, bar, dim, self.size))
            elif bar.dim is not None:
                bars.append(b.reduce_sum(bar.value, [bar.dim]))
            else:
                bars.append(b.mul(bar.value, b.full_like(bar.value, self.size)))
        return bars
