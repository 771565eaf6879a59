"""Cuts the graph of a function into loops: which values are stored, and which loop computes each.

One walk backwards from the results. A value is computed inside the loops that use it if it is
cheap, or if only one loop uses it, once for each of its elements; otherwise it is stored, by a
loop that already runs over the same elements if there is one (a loop may store many values), else
by its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .affine import Indices, Shape, compose, identity, through_reshape
from .loop_graph import (
    RECOMPUTE,
    Graph,
    Node,
    Part,
    Pointwise,
    Reduction,
    Reshaped,
    Stored,
    Whole,
)

#: Operations in one loop. What they keep alive beyond the registers lies on the stack, and LLVM's
#: time grows faster than their number.
_LARGEST_LOOP = 1024


@dataclass(eq=False)
class Step:
    """One loop nest over `domain`, or one whole op."""

    number: int
    domain: Shape
    reduced: frozenset[int] | None = None
    members: list[Node] = field(default_factory=list)
    operations: int = 0

    @property
    def whole(self) -> bool:
        return isinstance(self.members[0], Whole)


@dataclass(frozen=True)
class Use:
    """A loop reads an element of a node seen as `view` (None: as it is), at `indices`."""

    step: Step
    view: Shape | None
    indices: Indices

    def identical(self, shape: Shape) -> bool:
        return (
            self.view is None and self.step.domain == shape and self.indices == identity(len(shape))
        )


def read_through(
    node: Reshaped, view: Shape | None, indices: Indices
) -> tuple[Shape | None, Indices]:
    """How a read of `node` reads its source."""
    view = node.shape if view is None else view
    source = node.source.shape
    if view == source:
        return None, indices
    direct = through_reshape(source, view, indices)
    return (view, indices) if direct is None else (None, direct)


class Fusion:
    """The result: `steps` in an order that works; every stored node has a step or is Stored."""

    def __init__(self, graph: Graph, kept: Iterable[Node]) -> None:
        self.step_of: dict[Node, Step] = {}
        self._uses: dict[Node, list[Use]] = {node: [] for node in graph.nodes}
        #: Users that need the node as a tensor.
        self._tensor_users: dict[Node, list[Step]] = {node: [] for node in graph.nodes}
        self._kept = set(kept)
        self._steps: list[Step] = []
        #: By step number: the steps that must come later, as a bit set.
        self._after: list[int] = []
        for node in reversed(graph.nodes):
            self._place(node)
        self.steps = self._ordered()

    def is_tensor(self, node: Node) -> bool:
        return node in self.step_of or isinstance(node, Stored)

    def uses(self, node: Node) -> list[Use]:
        """Where loops read elements of a stored node."""
        return self._uses[node]

    def tensor_users(self, node: Node) -> list[Step]:
        """The steps that need a stored node as a tensor."""
        return self._tensor_users[node]

    # Placing one node; everything that uses it has been placed.

    def _place(self, node: Node) -> None:
        used = self._uses[node] or self._tensor_users[node] or node in self._kept
        if not used or isinstance(node, Stored):
            return
        if isinstance(node, Part):
            self._place_part(node)
        elif isinstance(node, Reshaped):
            self._place_reshaped(node)
        elif isinstance(node, Whole):
            step = self._new_step(node, node.shape)
            self.step_of.update(dict.fromkeys(node.more, step))
            for source in node.sources:
                self._need_tensor(source, step)
        elif isinstance(node, Reduction):
            self._store(node, node.source.shape, node.dims)
        elif not self._inline(node):
            self._store(node, node.shape, None)

    def _place_reshaped(self, node: Reshaped) -> None:
        for use in dict.fromkeys(self._uses[node]):
            self._use(node.source, use.step, *read_through(node, use.view, use.indices))
        if self._tensor_users[node] or node in self._kept:
            # The same tensor under another type: whoever needs it needs the source's.
            for step in self._tensor_users[node]:
                self._need_tensor(node.source, step)
            if node in self._kept:
                self._kept.add(node.source)

    def _place_part(self, node: Part) -> None:
        """Whoever uses a further result comes after the whole."""
        self._tensor_users[node.whole] += self._tensor_users[node]
        self._tensor_users[node.whole] += [use.step for use in self._uses[node]]
        self._kept.add(node.whole)

    def _inline(self, node: Node) -> bool:
        assert isinstance(node, Pointwise)
        if self._tensor_users[node] or node in self._kept:
            return False
        uses = list(dict.fromkeys(self._uses[node]))
        if not node.elementwise and any(use.view is not None for use in uses):
            return False
        once = len(uses) == 1 and _size(uses[0].step.domain) <= max(node.size, 1)
        if not once and node.weight > RECOMPUTE:
            return False
        if node.reads and any(use.step.operations >= _LARGEST_LOOP for use in uses):
            return False
        for use in uses:
            use.step.operations += 1
            self._read_operands(node, use)
        return True

    def _read_operands(self, node: Pointwise, use: Use) -> None:
        for operand, indices in node.reads:
            if use.view is not None:
                self._use(operand, use.step, use.view, use.indices)
            else:
                self._use(operand, use.step, None, compose(indices, use.indices))
        for tensor in node.tensors:
            self._need_tensor(tensor, use.step)

    def _use(self, node: Node, step: Step, view: Shape | None, indices: Indices) -> None:
        self._uses[node].append(Use(step, view, indices))

    def _need_tensor(self, node: Node, step: Step) -> None:
        self._tensor_users[node].append(step)

    # Storing a node: in a loop that exists, or in a new one.

    def _store(self, node: Node, domain: Shape, reduced: frozenset[int] | None) -> None:
        step = self._joined(node, domain, reduced) or self._new_step(node, domain, reduced)
        own = Use(step, None, identity(len(domain)))
        if isinstance(node, Pointwise):
            self._read_operands(node, own)
        else:
            assert isinstance(node, Reduction)
            self._use(node.source, step, None, own.indices)

    def _new_step(self, node: Node, domain: Shape, reduced: frozenset[int] | None = None) -> Step:
        step = Step(len(self._steps), domain, reduced)
        self._steps.append(step)
        self._after.append(0)
        self._put(node, step)
        return step

    def _put(self, node: Node, step: Step) -> None:
        step.members.append(node)
        step.operations += 1
        self.step_of[node] = step
        later = {use.step for use in self._uses[node]} | set(self._tensor_users[node])
        bits = 0
        for other in later - {step}:
            bits |= self._after[other.number] | 1 << other.number
        if not bits:
            return
        mine = 1 << step.number
        for number, after in enumerate(self._after):
            if number == step.number or after & mine:
                self._after[number] = after | bits

    def _joined(self, node: Node, domain: Shape, reduced: frozenset[int] | None) -> Step | None:
        operands = node.operands()
        neighbours = [use.step for use in self._uses[node]]
        neighbours += [use.step for operand in operands for use in self._uses[operand]]
        for step in dict.fromkeys(neighbours):
            if self._may_join(node, step, domain, reduced):
                if reduced is not None:
                    step.reduced = reduced
                self._put(node, step)
                return step
        return None

    def _may_join(
        self, node: Node, step: Step, domain: Shape, reduced: frozenset[int] | None
    ) -> bool:
        if step.whole or step.domain != domain or 0 in domain:
            return False
        if step.operations >= _LARGEST_LOOP:
            return False
        if reduced is not None and step.reduced not in (None, reduced):
            return False
        if step in self._tensor_users[node]:
            return False
        for use in self._uses[node]:
            if use.step is step:
                if reduced is not None or not use.identical(node.shape):
                    return False
            elif self._after[use.step.number] >> step.number & 1:
                return False
        return not any(self._after[s.number] >> step.number & 1 for s in self._tensor_users[node])

    def _ordered(self) -> list[Step]:
        """Fewest successors last: a topological order, near the order of the program."""
        return sorted(
            self._steps,
            key=lambda s: (-bin(self._after[s.number]).count("1"), s.members[-1].number),
        )


def _size(shape: Shape) -> int:
    result = 1
    for size in shape:
        result *= size
    return result
