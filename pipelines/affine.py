"""Affine index expressions and row-major reshapes: the arithmetic under fusion.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from mlir import ir

Shape = tuple[int, ...]


class Index(NamedTuple):
    """offset + sum of coefficient * loop dimension; terms by ascending dimension, no zeros."""

    offset: int
    terms: tuple[tuple[int, int], ...]

    def scaled(self, factor: int) -> Index:
        if factor == 0:
            return Index(0, ())
        return Index(self.offset * factor, tuple((d, c * factor) for d, c in self.terms))

    def plus(self, other: Index) -> Index:
        total = dict(self.terms)
        for dim, coefficient in other.terms:
            total[dim] = total.get(dim, 0) + coefficient
        terms = tuple(sorted((d, c) for d, c in total.items() if c))
        return Index(self.offset + other.offset, terms)

    def at(self, values: Sequence[Index]) -> Index:
        """The expression with each dimension replaced by an expression."""
        if not self.offset and len(self.terms) == 1 and self.terms[0][1] == 1:
            return values[self.terms[0][0]]
        result = Index(self.offset, ())
        for dim, coefficient in self.terms:
            result = result.plus(values[dim].scaled(coefficient))
        return result

    def dims(self) -> set[int]:
        return {d for d, _ in self.terms}

    def expression(self) -> ir.AffineExpr:
        result: ir.AffineExpr | None = None
        for dim, coefficient in self.terms:
            term: ir.AffineExpr = ir.AffineDimExpr.get(dim)
            if coefficient != 1:
                term = ir.AffineExpr.get_mul(term, ir.AffineConstantExpr.get(coefficient))
            result = term if result is None else ir.AffineExpr.get_add(result, term)
        if result is None:
            return ir.AffineConstantExpr.get(self.offset)
        if self.offset:
            result = ir.AffineExpr.get_add(result, ir.AffineConstantExpr.get(self.offset))
        return result


Indices = tuple[Index, ...]


def dim(number: int, stride: int = 1, offset: int = 0) -> Index:
    return Index(offset, ((number, stride),))


def fixed(offset: int) -> Index:
    return Index(offset, ())


def identity(rank: int) -> Indices:
    return tuple(map(dim, range(rank)))


def compose(outer: Indices, inner: Indices) -> Indices:
    """`outer`, written over the results of `inner`, written over the dimensions of `inner`."""
    return tuple(index.at(inner) for index in outer)


def affine_map(rank: int, indices: Indices) -> ir.AffineMap:
    return ir.AffineMap.get(rank, 0, [index.expression() for index in indices])


def reshape_groups(source: Shape, target: Shape) -> list[tuple[list[int], list[int]]]:
    """The finest runs of dimensions (of source, of target) with equal products; sizes are not 0."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(source) or j < len(target):
        left, right = [], []
        products = [1, 1]
        if i < len(source):
            left, products[0], i = [i], source[i], i + 1
        if j < len(target):
            right, products[1], j = [j], target[j], j + 1
        while products[0] != products[1]:
            if products[0] < products[1]:
                left.append(i)
                products[0] *= source[i]
                i += 1
            else:
                right.append(j)
                products[1] *= target[j]
                j += 1
        groups.append((left, right))
    return groups


def through_reshape(source: Shape, view: Shape, indices: Indices) -> Indices | None:
    """Indices of `source` where `indices` read it seen as `view`; None if they are not affine."""
    result: dict[int, Index] = {}
    for left, right in reshape_groups(source, view):
        left = [d for d in left if source[d] != 1]
        right = [d for d in right if view[d] != 1]
        if [source[d] for d in left] == [view[d] for d in right]:
            result.update((a, indices[b]) for a, b in zip(left, right, strict=True))
        elif len(left) == 1:
            flat = fixed(0)
            for position, d in enumerate(right):
                stride = math.prod(view[later] for later in right[position + 1 :])
                flat = flat.plus(indices[d].scaled(stride))
            result[left[0]] = flat
        else:
            return None
    return tuple(result.get(d, fixed(0)) for d in range(len(source)))


class Access(NamedTuple):
    """Reading a buffer of this shape at these indices."""

    shape: Shape
    indices: Indices


def merge_dims(
    domain: Shape, accesses: Sequence[Access], pinned: set[int]
) -> tuple[Shape, list[int], list[Access], list[Index]]:
    """Fewer, longer loops over the same elements.

    Returns the new domain, the dimensions of the old one that stayed (each stands for itself and
    the merged ones after it), the accesses (buffers seen under new shapes), and what a pinned
    dimension has become (its value is used, so it is never merged).
    """
    zero = {d: fixed(0) for d in range(len(domain)) if domain[d] == 1}
    accesses = [_without_units(access, len(domain), zero) for access in accesses]
    groups: list[list[int]] = [[d] for d in range(len(domain)) if domain[d] != 1]
    sizes = {group[0]: domain[group[0]] for group in groups}
    for position in range(len(groups) - 2, -1, -1):
        outer, inner = groups[position][0], groups[position + 1][0]
        if outer in pinned or inner in pinned:
            continue
        merged = [_merged(access, outer, inner, sizes[inner]) for access in accesses]
        if all(access is not None for access in merged):
            accesses = [access for access in merged if access is not None]
            groups[position] += groups.pop(position + 1)
            sizes[outer] *= sizes.pop(inner)
    kept = [group[0] for group in groups]
    numbers = [fixed(0)] * len(domain)
    for number, d in enumerate(kept):
        numbers[d] = dim(number)
    renumbered = [Access(shape, compose(indices, tuple(numbers))) for shape, indices in accesses]
    return tuple(sizes[d] for d in kept), kept, renumbered, numbers


def _without_units(access: Access, rank: int, zero: dict[int, Index]) -> Access:
    values = tuple(zero.get(d, dim(d)) for d in range(rank))
    kept = [p for p, size in enumerate(access.shape) if size != 1]
    indices = compose(tuple(access.indices[p] for p in kept), values)
    return Access(tuple(access.shape[p] for p in kept), indices)


def _merged(access: Access, outer: int, inner: int, size: int) -> Access | None:
    """The access after loops `outer` and `inner` (of `size` steps) became one, named `outer`."""
    touched = [p for p, i in enumerate(access.indices) if i.dims() & {outer, inner}]
    if not touched:
        return access
    shape, indices = list(access.shape), list(access.indices)
    if len(touched) == 1:
        [p] = touched
        terms = dict(indices[p].terms)
        if terms.get(outer) != terms.get(inner, 0) * size:
            return None
        terms[outer] = terms.pop(inner)
        indices[p] = Index(indices[p].offset, tuple(sorted(terms.items())))
        return Access(access.shape, tuple(indices))
    p = touched[0]
    whole = touched == [p, p + 1] and shape[p + 1] == size
    if not whole or indices[p] != dim(outer) or indices[p + 1] != dim(inner):
        return None
    shape[p : p + 2] = [shape[p] * size]
    del indices[p + 1]
    return Access(tuple(shape), tuple(indices))


def without_products(access: Access, domain: Shape) -> Access:
    """The access with one dimension for each of several loops that run through a single one."""
    shape: list[int] = []
    indices: list[Index] = []
    for size, index in zip(access.shape, access.indices, strict=True):
        terms = sorted(index.terms, key=lambda term: -term[1])
        sizes = [domain[d] for d, _ in terms]
        strides = [math.prod(sizes[place + 1 :]) for place in range(len(sizes))]
        whole = index.offset == 0 and math.prod(sizes) == size
        if len(terms) > 1 and whole and strides == [stride for _, stride in terms]:
            shape += sizes
            indices += [dim(d) for d, _ in terms]
        else:
            shape.append(size)
            indices.append(index)
    return Access(tuple(shape), tuple(indices))
