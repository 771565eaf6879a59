"""What an op of the dialect knows about itself: the slots for its rules.

The class of an op extends the generated OpView (so `self.x` is its operand, `self.dims` its
attribute) and one of the families in `families.py`. A transform asks the op; it never asks for
its name. A slot that an op leaves empty raises MissingRuleError with the user's line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from mlir import ir

from ..diagnostics import user_location
from ..errors import MissingRuleError
from . import _pb_ops_gen as gen
from ._ods_common import _cext

if TYPE_CHECKING:
    from .builder import Builder


class _Zero:
    """A tangent or cotangent that is zero by structure; it has no op and costs nothing."""

    def __repr__(self) -> str:
        return "ZERO"


ZERO = _Zero()
Tangent = ir.Value | _Zero


class Batched(NamedTuple):
    """An operand under vmap: a value, and the dimension its examples lie along.

    `dim` None: the same value for all examples.
    """

    value: ir.Value
    dim: int | None


OPS: dict[str, type[Op]] = {}
_T = TypeVar("_T", bound=type)


def register(view: type) -> Callable[[_T], _T]:
    """Makes the decorated rules the class of the op that ODS generated as `view`.

    The bindings allow a class one base only, so the rules of the class and of its families are
    laid over the generated class instead of being inherited beside it.
    """

    def decorate(rules: _T) -> _T:
        namespace: dict[str, Any] = {}
        for base in reversed(rules.__mro__[:-1]):
            hidden = ("__dict__", "__weakref__")
            namespace |= {k: v for k, v in vars(base).items() if k not in hidden}
        cls = type(rules.__name__, (view,), namespace)
        _cext.register_operation(gen._Dialect, replace=True)(cls)
        OPS[view.OPERATION_NAME] = cls  # type: ignore[attr-defined]
        return cls  # type: ignore[return-value]

    return decorate


if TYPE_CHECKING:
    _View = ir.OpView
else:
    _View = object


class Op(_View):
    """The rules of one op; see the slots below for what each must do.

    `self` is also the generated OpView: `self.x` is an operand, `self.dims` an attribute.
    """

    if TYPE_CHECKING:
        OPERATION_NAME: ClassVar[str]

        def __getattr__(self, name: str) -> Any: ...

    #: Cheap enough to compute again instead of being kept as a residual.
    free: ClassVar[bool] = False
    #: Names another function: transforms see it only after it has been expanded or inlined.
    functional: ClassVar[bool] = False
    #: Declared and verified only: its rules are still to come.
    reserved: ClassVar[bool] = False

    #: Why it has no rule of this name, where the reference (tools/reference.py) cannot tell.
    without: ClassVar[dict[str, str]] = {}

    #: Only moves elements, of any type: half types need not become f32 for it (storage.py).
    moves: ClassVar[bool] = False
    #: Works element by element.
    elementwise: ClassVar[bool] = False
    #: Can be erased if nobody uses the result.
    pure: ClassVar[bool] = True
    #: Has an effect, but doing it twice is doing it once.
    idempotent: ClassVar[bool] = False

    def blocks(self) -> list[ir.Block]:
        """The bodies of an op with regions; each region is one block and sees nothing outside."""
        if self._ODS_REGIONS == (0, True):  # asked of every op in every sweep
            return []
        return [region.blocks[0] for region in self.operation.regions]

    def missing(self, rule: str, why: str = "") -> MissingRuleError:
        return MissingRuleError(
            f"{self.OPERATION_NAME} has no {rule} rule{why}",
            user_location(self.location),
            help="write the function with other ops, or end the derivative with .detach()",
        )

    def jvp(self, b: Builder, *tangents: Tangent) -> Tangent | Sequence[Tangent]:
        """The tangent of each result. `tangents`: one for each operand, not all ZERO."""
        raise self.missing("jvp", " (needed by a derivative)")

    def pushforward(
        self, b: Builder, primals: Sequence[ir.Value], tangents: Sequence[Tangent]
    ) -> tuple[Sequence[ir.Value], Sequence[Tangent]]:
        """Results and their tangents; an op with regions computes both in one."""
        op: Any = b.clone(self, primals)
        dots = op.jvp(b, *tangents)
        return list(op.results), dots if isinstance(dots, Sequence) else [dots]

    def dependence(
        self, operands: Sequence[bool], carries: Callable[[ir.Value], bool]
    ) -> Sequence[bool]:
        """Which results depend on the marked operands, through values that `carries` holds of."""
        return [any(operands)] * len(self.results)

    def separate(self, b: Builder, linear: Sequence[bool]) -> Sequence[ir.Value] | None:
        """The op as one without the operands marked `linear` and one that is linear in them.

        Returns values for the results; None of an op that is wholly linear, as most are.
        """
        return None

    def masked(
        self, b: Builder, mask: ir.Value, operands: Sequence[ir.Value]
    ) -> Sequence[ir.Value]:
        """The results where the scalar `mask` holds; elsewhere any values, and no error."""
        return list(b.clone(self, operands).results)

    def transpose(
        self, b: Builder, ct: Any, *operands: ir.Value | None
    ) -> Sequence[Tangent | None]:
        """Cotangents of the operands the op is linear in.

        `ct`: the cotangent of the result; of an op with several, a list, not all ZERO.
        An operand is None where the function being transposed is linear in it; the others
        are values. The result has None for those.
        """
        raise self.missing("transpose", " (needed by vjp)")

    def batch(self, b: Builder, size: int, *operands: Batched) -> Batched | Sequence[Batched]:
        """The op on `size` examples at once; at least one operand is batched."""
        raise self.missing("batching", " (needed by vmap)")

    def reference(self, *arrays: Any) -> Any:
        """The definition, in numpy, for the reference interpreter and constant folding."""
        raise self.missing("reference")

    def simplify(self, b: Builder) -> ir.Value | Sequence[ir.Value] | None:
        """An equal value that is cheaper or simpler, or None. Exact for NaN, inf and -0.0.

        Of an op with several results: a value for each.
        """
        return None

    def final(self, b: Builder) -> Sequence[ir.Value] | None:
        """What stands for the op once no transform is left; None: itself."""
        return None

    def halved(self, b: Builder, alone: int) -> Sequence[ir.Value] | None:
        """A large op on matrices by way of smaller ones and products, for a target on which one
        unit takes no more than `alone` rows of a matrix well; None: itself."""
        return None

    def lower(self, loops: Any, *operands: Any) -> Any:
        """The op as loops, in the terms of `pipelines/lowering.py`.

        An elementwise op has `scalar(m, *scalars)` instead: one element, in the terms of
        `pipelines/scalars.py`.
        """
        raise self.missing("lowering", " (calls and transform ops are expanded before)")

    def callees(self) -> Sequence[Any]:
        """The functions an op names that is not `functional`: transforms look into them."""
        return ()

    def flops(self) -> int:
        """Floating-point operations of one evaluation, for the cost in the manifest."""
        return 0

    @classmethod
    def has(cls, rule: str) -> bool:
        """Does this op, or its family, fill the slot?"""
        return getattr(cls, rule, None) is not getattr(Op, rule, None)
