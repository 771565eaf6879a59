"""torch.func's argument checks, with its exception types and texts.

``api.py`` calls these before it records anything, so that a wrong call fails as it does with
torch.func.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._pytree import TreeSpec, _broadcast_to_and_flatten, tree_flatten, tree_map_

Argnums = int | tuple[int, ...]


def name_of(func: Callable[..., Any]) -> str:
    if hasattr(func, "__name__"):
        return func.__name__
    if isinstance(func, functools.partial):
        return f"functools.partial({name_of(func.func)}, ...)"
    return repr(func)


# --- which arguments are differentiated -------------------------------------------------------


def argnums_of(argnums: Argnums, count: int) -> Argnums:
    """The argument numbers made positive."""

    def one(number: int) -> int:
        if not isinstance(number, int):
            raise RuntimeError(f"argnum must be int, got: {type(number)}")
        if -count <= number < count:
            return number % count
        raise RuntimeError(f"Got argnum={number}, but only {count} positional inputs")

    if isinstance(argnums, int):
        return one(argnums)
    if not isinstance(argnums, tuple):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    numbers = tuple(one(number) for number in argnums)
    if len(numbers) == 0:
        raise RuntimeError("argnums must be non-empty")
    if len(set(numbers)) != len(numbers):
        raise RuntimeError(f"argnums elements must be unique, got {numbers}")
    return numbers


def differentiable(leaves: Sequence[Any]) -> None:
    for leaf in leaves:
        if not isinstance(leaf, torch.Tensor):
            raise ValueError(f"Thing passed to transform API must be Tensor, got {type(leaf)}")
        if not leaf.is_floating_point():
            raise RuntimeError("only Tensors of floating point dtype can require gradients")


# --- outputs ----------------------------------------------------------------------------------


def pair(output: Any, api: str) -> tuple[Any, Any]:
    if not (isinstance(output, tuple) and len(output) == 2):
        raise RuntimeError(
            f"{api}: output of function f should be a tuple: (output, aux) if has_aux is True"
        )
    return output


def aux_leaves(leaves: Sequence[Any]) -> None:
    for leaf in leaves:
        if not isinstance(leaf, torch.Tensor):
            raise RuntimeError(f"Expected tensors, got unsupported type {type(leaf)}")


def scalar_output(output: Any) -> None:
    if not isinstance(output, torch.Tensor):
        raise RuntimeError(
            f"grad_and_value(f)(*args): Expected f(*args) to return a Tensor, got {type(output)}"
        )
    if output.dim() != 0:
        raise RuntimeError(
            "grad_and_value(f)(*args): Expected f(*args) to return a scalar Tensor, got tensor "
            f"with {output.dim()} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
        )
    if output.is_complex():
        raise RuntimeError("grad can be implicitly created only for real scalar outputs")


def tensor_outputs(leaves: Sequence[Any], api: str) -> None:
    if not leaves or (len(leaves) == 1 and leaves[0] is None):
        raise RuntimeError(
            f"{api}: Expected f to be a function that has non-empty output (got output = {leaves})"
        )
    for leaf in leaves:
        if not isinstance(leaf, torch.Tensor):
            raise RuntimeError(
                f"{api}: expected f(*primals) to return only tensors, got unsupported type "
                f"{type(leaf)}"
            )


def float_outputs(leaves: Sequence[torch.Tensor]) -> None:
    for leaf in leaves:
        if not leaf.is_floating_point():
            raise RuntimeError(
                "vjp(f, ...): All outputs of f must be floating-point or complex Tensors, got "
                f"Tensor with dtype {leaf.dtype}"
            )


def real(api: str, leaves: Sequence[Any], is_input: bool) -> None:
    for index, leaf in enumerate(leaves):
        if isinstance(leaf, torch.Tensor) and leaf.dtype.is_complex:
            side = "inputs" if is_input else "outputs"
            raise RuntimeError(
                f"{api}: Expected all {side} to be real but received complex tensor at flattened "
                f"input idx: {index}"
            )


# --- tangents and cotangents ------------------------------------------------------------------


def cotangents(given: TreeSpec, expected: TreeSpec, leaves: Sequence[Any], outs: Any) -> list[Any]:
    """The cotangents of ``outs``; None for an output of one element stands for one."""
    if given != expected:
        raise RuntimeError(
            "Expected pytree structure of cotangents to be the same as pytree structure of "
            f"outputs to the function. cotangents: {given}, primal output: {expected}"
        )
    found = []
    for index, (leaf, out) in enumerate(zip(leaves, outs, strict=True)):
        if leaf is None:
            if math.prod(out.shape) != 1:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            found.append(torch.ones(tuple(out.shape)))
            continue
        if not isinstance(leaf, torch.Tensor):
            name = type(leaf).__name__
            raise TypeError(f"gradients can be either Tensors or None, but got {name}")
        if tuple(leaf.shape) != tuple(out.shape):
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{index}] has a shape of {leaf.shape} and "
                f"output[{index}] has a shape of {torch.Size(out.shape)}."
            )
        found.append(leaf)
    return found


JVP = "jvp(f, primals, tangents)"


def tangents(primals: Any, given: Any) -> None:
    flat_primals, primals_spec = tree_flatten(primals)
    flat_tangents, tangents_spec = tree_flatten(given)
    if primals_spec != tangents_spec:
        raise RuntimeError(
            f"{JVP}: Expected primals and tangents to have the same python structure. For "
            "example, if primals is a tuple of 3 tensors, tangents also must be. Got primals with "
            f"structure {primals_spec} and tangents with structure {tangents_spec}"
        )
    for name, leaves in (("primals", flat_primals), ("tangents", flat_tangents)):
        if not leaves:
            raise RuntimeError(f"{JVP}: Expected {name} to contain at least one Tensor.")
        for leaf in leaves:
            if not isinstance(leaf, torch.Tensor):
                raise RuntimeError(
                    f"{JVP}: Expected {name} to only contain Tensors, got {type(leaf)}"
                )
    for primal, tangent in zip(flat_primals, flat_tangents, strict=True):
        if not primal.is_floating_point():
            raise ValueError(
                f"Expected primal to be floating point or complex, but got: {primal.dtype}"
            )
        if not tangent.is_floating_point():
            raise ValueError(
                f"Expected tangent to be floating point or complex, but got: {tangent.dtype}"
            )
        if primal.shape != tangent.shape:
            raise RuntimeError(
                "Trying to set a forward gradient that has a different size than that of the "
                f"original Tensor. Tensor is of size {list(primal.shape)} while the given forward "
                f"gradient is of size {list(tangent.shape)}."
            )


def linear_tangents(leaves: Sequence[Any], spec: TreeSpec, primals: Any, wanted: TreeSpec) -> None:
    if spec != wanted:
        raise RuntimeError(
            f"Expected the tangents {spec} to have the same argspec as the primals {wanted}"
        )
    for index, (leaf, primal) in enumerate(zip(leaves, primals, strict=True)):
        for what in ("shape", "device", "dtype"):
            have, want = getattr(leaf, what), getattr(primal, what)
            if have != want:
                raise RuntimeError(
                    f"tangent:{index} with {what} {have} in flattened pytree doesn't match the "
                    f"{what} {want} of the corresponding primal."
                )


def chunk_size(api: str, size: int | None) -> None:
    if not (size is None or size > 0):
        raise ValueError(f"{api}: `chunk_size` should be greater than 0.")


def functionalize_option(remove: str) -> None:
    if remove not in ("mutations", "mutations_and_views"):
        raise RuntimeError(
            f"functionalize(f, remove='mutations'): received invalid argument for remove={remove}. "
            "Valid options are: remove='mutations' and remove='mutations_and_views'."
        )


# --- vmap -------------------------------------------------------------------------------------


def vmap_options(randomness: str, chunk_size: int | None) -> None:
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(
            "Only allowed values for randomness are 'error', 'different', or 'same'. Got "
            f"{randomness}"
        )
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")


def vmap_inputs(
    in_dims: Any, args: tuple[Any, ...], func: Callable[..., Any]
) -> tuple[int, list[int | None]]:
    """The batch size, and for each leaf of ``args`` its mapped dimension."""
    name = name_of(func)
    start = f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): "
    if not isinstance(in_dims, (int, tuple)):
        raise ValueError(
            f"{start}expected `in_dims` to be int or a (potentially nested) tuple matching the "
            f"structure of inputs, got: {type(in_dims)}."
        )
    if not args:
        raise ValueError(
            f"vmap({name})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are "
            "trying to vmap over a function with no inputs. The latter is unsupported."
        )
    leaves, spec = tree_flatten(args)
    dims = _broadcast_to_and_flatten(in_dims, spec)
    if dims is None:
        raise ValueError(
            f"{start}in_dims is not compatible with the structure of `inputs`. in_dims has "
            f"structure {tree_flatten(in_dims)[1]} but inputs has structure {spec}."
        )
    for index, (leaf, dim) in enumerate(zip(leaves, dims, strict=True)):
        if dim is None:
            continue
        if isinstance(dim, bool):
            raise TypeError(f"{start}in_dim must be int, not bool")
        if not isinstance(dim, int):
            raise ValueError(
                f"{start}Got in_dim={dim} for an input but in_dim must be either an integer "
                "dimension or None."
            )
        if not isinstance(leaf, torch.Tensor):
            raise ValueError(
                f"{start}Got in_dim={dim} for an input but the input is of type {type(leaf)}. We "
                "cannot vmap over non-Tensor arguments, please use None as the respective in_dim"
            )
        if not -leaf.dim() <= dim < leaf.dim():
            raise ValueError(
                f"{start}Got in_dim={dim} for some input, but that input is a Tensor of "
                f"dimensionality {leaf.dim()} so expected in_dim to satisfy -{leaf.dim()} <= "
                f"in_dim < {leaf.dim()}."
            )
        dims[index] = dim % leaf.dim()
    sizes = [leaf.shape[d] for leaf, d in zip(leaves, dims, strict=True) if d is not None]
    if not sizes:
        raise ValueError("vmap: Expected at least one Tensor to vmap over")
    if any(size != sizes[0] for size in sizes):
        raise ValueError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
            f"{sizes} for the mapped dimension"
        )
    return sizes[0], dims


def vmap_out_dims_type(out_dims: Any, func: Callable[..., Any]) -> None:
    def one(dim: Any) -> None:
        if dim is not None and not isinstance(dim, int):
            raise ValueError(
                f"vmap({name_of(func)}, ..., out_dims={out_dims}): `out_dims` must be an int, "
                "None or a python collection of ints representing where in the outputs the vmapped "
                "dimension should appear."
            )

    if not isinstance(out_dims, int):
        tree_map_(one, out_dims)


def vmap_outputs(out_dims: Any, output: Any, func: Callable[..., Any]) -> list[int | None]:
    """The output dimension of each leaf of ``output``, as given (maybe negative)."""
    name = name_of(func)
    leaves, spec = tree_flatten(output)
    dims: list[int | None] | None
    if isinstance(output, torch.Tensor):
        if isinstance(out_dims, tuple):
            dims = list(out_dims) if len(out_dims) == 1 else None
        else:
            dims = [out_dims] if out_dims is None or isinstance(out_dims, int) else None
    else:
        dims = _broadcast_to_and_flatten(out_dims, spec)
    if dims is None:
        raise ValueError(
            f"vmap({name}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with "
            f"the structure of `outputs`. out_dims has structure {tree_flatten(out_dims)[1]} but "
            f"outputs has structure {spec}."
        )
    for leaf, dim in zip(leaves, dims, strict=True):
        if dim is not None and not isinstance(leaf, torch.Tensor):
            raise ValueError(
                f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(leaf)}. Did "
                "you mean to set out_dims= to None for output?"
            )
    return dims
