"""Kernels as functions and @main as a plan: who gets what, where temporaries lie, host control."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pullback
import pytest
import torch
from mlir import ir
from pullback.dialects.errors import InternalError
from pullback.frontend import compile as frontend
from pullback.pipelines.gpu import outline, pipeline
from pullback.pipelines.gpu.outline import CONDITION_BYTES, STATUS_BYTES
from pullback.pipelines.gpu.plan import Argument, For, If, Kind, Launch, Plan, Step, While, walk
from pullback.pipelines.scalars import width

Function = Callable[..., Any]
IN, OUT, VARIABLE = Kind.IN, Kind.OUT, Kind.VARIABLE


class Outlined:
    """A torch function after this stage: its plan, and the types that kernels declare."""

    def __init__(self, function: Function, *arguments: torch.Tensor) -> None:
        lowered = frontend.lower(function, arguments, {})
        module = lowered.module()
        with module.context:
            found = pipeline.compiled(module, lowered.interface, until="outlined")
        assert found.plan is not None
        self.plan: Plan = found.plan
        self.steps = list(self.plan.steps)
        self.launches = [step for step in walk(self.steps) if isinstance(step, Launch)]
        self.declared: dict[str, list[ir.Type]] = {}
        for op in found.module.body.operations:
            attributes = op.operation.attributes
            if "sym_name" in attributes and "function_type" in attributes:
                name = ir.StringAttr(attributes["sym_name"]).value
                type_ = ir.FunctionType(ir.TypeAttr(attributes["function_type"]).value)
                self.declared[name] = list(type_.inputs)

    def parameters(self, step: Launch) -> list[tuple[Argument, ir.Type]]:
        types = self.declared[self.plan.kernels[step.kernel]]
        return list(zip(step.arguments, types, strict=True))

    def ranges(self, step: Launch) -> list[tuple[Kind, int, int, int]]:
        """Of each buffer that a kernel gets: what it is part of, and its bytes there."""
        found = []
        for argument, type_ in self.parameters(step):
            if isinstance(type_, ir.MemRefType):
                size = math.prod(type_.shape) * -(-width(type_.element_type) // 8)
                start = argument.offset
                found.append((argument.kind, argument.index, start, start + size))
        return found


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def kinds(step: Step) -> list[tuple[Kind, int]]:
    assert isinstance(step, Launch)
    return [(a.kind, a.index) for a in step.arguments]


#: Too much for one block, so that loops and branches around it are the host's.
LARGE = normal(200, 200)


def grow(_: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x @ x)


def counted(x: torch.Tensor) -> torch.Tensor:
    return pullback.fori_loop(0, 5, lambda i, v: torch.tanh(v @ v) + i, x)


def in_loops(x: torch.Tensor) -> torch.Tensor:
    def outer(i: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return pullback.fori_loop(0, 3, lambda j, u: torch.tanh(u @ u) + j * i, v)

    return pullback.fori_loop(0, 2, outer, x)


def branching(x: torch.Tensor) -> torch.Tensor:
    return pullback.cond(x.sum() > 0, lambda v: v @ v, lambda v: torch.sin(v @ v), x)


def until_small(x: torch.Tensor) -> torch.Tensor:
    return pullback.while_loop(
        lambda v: v.abs().amax() > 0.1, lambda v: torch.tanh(v @ v) / 20, x, max_steps=7
    )


def looked_up(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return branching(x)[index]


def network(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(torch.tanh(x @ w) @ w, 1).square().sum()


PROGRAMS: dict[str, tuple[Function, list[torch.Tensor]]] = {
    "columns": (lambda x: x / x.exp().sum(0), [normal(300, 40)]),
    "gradient": (pullback.grad(network, (0, 1)), [normal(30, 40), normal(40, 40)]),
    "sorted": (lambda x: torch.sort(x).values.cumsum(0), [normal(9001)]),
    "loop": (counted, [LARGE]),
    "loops": (in_loops, [LARGE]),
    "branch": (branching, [LARGE]),
    "while": (until_small, [LARGE]),
    "checked": (looked_up, [LARGE, torch.tensor([0, 5])]),
}


def test_kernels_get_what_they_touch() -> None:
    """The sums are written by one kernel and read by the next, at the same place."""
    found = Outlined(*_case("columns"))
    *_, last = found.launches
    written = [a for a in found.launches[-2].arguments if a.kind is Kind.WORKSPACE]
    assert written and written[-1] in last.arguments
    assert {(IN, 0), (OUT, 0)} <= set(kinds(last))
    assert all((OUT, 0) not in kinds(step) for step in found.launches[:-1])
    assert len(last.arguments) == 3
    assert found.plan.capturable and not found.plan.has_status and not found.plan.variables


@pytest.mark.parametrize("name", PROGRAMS)
def test_buffers_of_a_kernel_do_not_overlap(name: str) -> None:
    """As each is promised to the compiler; all temporaries are in the workspace, behind what the
    plan itself keeps there."""
    found = Outlined(*_case(name))
    reserved = STATUS_BYTES * found.plan.has_status
    reserved += CONDITION_BYTES * (not found.plan.capturable)
    for step in found.launches:
        assert len(set(step.arguments)) == len(step.arguments)
        ranges = found.ranges(step)
        for kind, _, start, end in ranges:
            if kind is Kind.WORKSPACE and not _decides(found, step):
                assert reserved <= start and end <= found.plan.workspace and start % 64 == 0
        for n, (kind, index, start, end) in enumerate(ranges):
            for other in ranges[:n]:
                assert (kind, index) != other[:2] or end <= other[2] or other[3] <= start


def test_equal_kernels_are_one() -> None:
    def powers(x: torch.Tensor) -> torch.Tensor:
        for _ in range(4):
            x = grow(None, x)
        return x

    first, *others = Outlined(powers, LARGE).launches
    assert len({step.kernel for step in others}) == 1
    assert len({tuple(step.arguments) for step in (first, *others)}) == 4


def test_kernels_of_one_name_have_numbers() -> None:
    found = Outlined(lambda x: (x.sin().sum(0), x[:7].sin().sum(0)), normal(30, 40))
    assert len(set(found.plan.kernels)) == len(found.plan.kernels) >= 2


def test_a_loop_gives_its_number() -> None:
    found = Outlined(*_case("loop"))
    [loop] = [step for step in found.steps if isinstance(step, For)]
    assert (loop.variable, loop.count, found.plan.variables) == (0, 5, 1)
    assert found.plan.capturable
    given = [a for step in walk(loop.body) if isinstance(step, Launch) for a in step.arguments]
    assert Argument(VARIABLE, 0) in given
    for step in found.launches:
        for argument, type_ in found.parameters(step):
            assert (argument.kind is VARIABLE) == (str(type_) == "i64")


def test_loops_in_loops_have_numbers_of_their_own() -> None:
    found = Outlined(*_case("loops"))
    [outer] = [step for step in found.steps if isinstance(step, For)]
    [inner] = [step for step in outer.body if isinstance(step, For)]
    assert (outer.count, inner.count) == (2, 3)
    assert {outer.variable, inner.variable} == {0, 1} and found.plan.variables == 2
    both = {Argument(VARIABLE, 0), Argument(VARIABLE, 1)}
    assert both <= {a for s in walk(inner.body) if isinstance(s, Launch) for a in s.arguments}


def _case(name: str) -> Any:
    function, arguments = PROGRAMS[name]
    return function, *arguments


def _decides(found: Outlined, step: Launch) -> bool:
    return found.plan.kernels[step.kernel].startswith("decide")


@pytest.mark.parametrize("name", ["branch", "checked"])
def test_a_branch_reads_what_a_thread_decides(name: str) -> None:
    found = Outlined(*_case(name))
    assert found.plan.has_status == (name == "checked") and not found.plan.capturable
    place = STATUS_BYTES * found.plan.has_status
    at = next(n for n, step in enumerate(found.steps) if isinstance(step, If))
    decide, branch = found.steps[at - 1], found.steps[at]
    assert isinstance(decide, Launch) and isinstance(branch, If) and _decides(found, decide)
    assert branch.condition == Argument(Kind.WORKSPACE, 0, place)
    assert branch.condition in decide.arguments
    assert (decide.grid, decide.block) == ((1, 1, 1), (1, 1, 1))
    assert branch.then and branch.orelse
    assert any(Argument(Kind.STATUS) in step.arguments for step in found.launches) == (place > 0)


def test_a_while_decides_in_every_round() -> None:
    found = Outlined(*_case("while"))
    [loop] = [step for step in found.steps if isinstance(step, While)]
    assert not found.plan.capturable
    *_, last = loop.test
    assert isinstance(last, Launch) and _decides(found, last)
    assert loop.condition in last.arguments
    assert not any(_decides(found, s) for s in walk(loop.body) if isinstance(s, Launch))


# What no plan can say, in IR that no stage makes.


def outlined(body: str) -> Plan:
    text = f"""
func.func @main(%x: memref<64xf64>) {{
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %five = arith.constant 5 : index
  %number = arith.constant 2.0 : f64
  {body}
  return
}}"""
    with ir.Context(), ir.Location.unknown():
        return outline.run(ir.Module.parse(text), [Argument(OUT)], False, 0)


def written(grid: str, place: str) -> str:
    return f"""
  gpu.launch blocks(%a, %b, %c) in (%d = {grid}, %e = %one, %f = %one)
             threads(%g, %h, %i) in (%j = %five, %k = %one, %l = %one) {{
    memref.store %number, %x[{place}] : memref<64xf64>
    gpu.terminator
  }} {{kernel = "written"}}"""


def test_what_is_computed_on_the_host_is_computed_again() -> None:
    plan = outlined(f"""
  %twice = arith.addi %five, %five : index
  scf.for %n = %zero to %five step %one {{
    %at = arith.addi %n, %twice : index
    {written("%five", "%at")}
  }}""")
    loop = plan.steps[0]
    assert isinstance(loop, For) and plan.kernels == ["written"]
    assert loop.body == [Launch(0, (5, 1, 1), (5, 1, 1), [Argument(OUT), Argument(VARIABLE)])]


SIZE = "%size = arith.addi %five, %five : index"
CHOSEN = """
  %positive = arith.cmpi sgt, %five, %one : index
  %chosen = scf.if %positive -> index { scf.yield %one : index } else { scf.yield %zero : index }"""
COUNT = "scf.for %n = {} to {} step %one {{ {} }}"
REFUSED = [
    ("does not count from 0 by 1", COUNT.format("%one", "%five", written("%one", "%n"))),
    (
        "does not count from 0 by 1",
        SIZE + "\n" + COUNT.format("%zero", "%size", written("%one", "%n")),
    ),
    ("whose size is not known", SIZE + written("%size", "%zero")),
    ("memref.store is neither", "memref.store %number, %x[%zero] : memref<64xf64>"),
    ("uses the result of scf.if", CHOSEN + written("%one", "%chosen")),
]


@pytest.mark.parametrize(("problem", "body"), REFUSED)
def test_what_a_plan_cannot_say(problem: str, body: str) -> None:
    with pytest.raises(InternalError, match=problem):
        outlined(body)
