"""What a library says of its function: names, trees, dtypes and errors; for CPU and GPU alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import tree
from .arrays import TensorSpec, plain, wants_grad
from .errors import ArgumentError, ArgumentTypeError, ArgumentValueError, ArtifactError, exception
from .manifest import Manifest


class Signature:
    """A function as its manifest describes it."""

    manifest: Manifest
    path: Path
    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def __repr__(self) -> str:
        inputs = ", ".join(f"{spec.name}: {spec}" for spec in self.inputs)
        outputs = ", ".join(map(str, self.outputs))
        what = self.manifest.get("transform") or self.name
        return f"<pullback function {what} ({inputs}) -> ({outputs})>"

    def _read_manifest(self) -> None:
        description = self.manifest
        self.name = description["name"]
        self.inputs = _specs(description["inputs"])
        self.outputs = _specs(description["outputs"])
        self._in_items: list[tree.Tree] = description["in_tree"]["items"]
        self._arg_names: list[str] = description["arg_names"]
        self._out_tree: tree.Tree = description["out_tree"]
        if description["params"]["mode"] == "args":
            self._params_after = _specs(description["params"]["leaves"])
        else:
            self._params_after = ()
        needed = sum(map(tree.count_leaves, self._in_items))
        if (
            needed + len(self._params_after) != len(self.inputs)
            or tree.count_leaves(self._out_tree) != len(self.outputs)
            or len(self._arg_names) != len(self._in_items)
        ):
            raise ValueError("trees and lists of tensors differ")

    def leaves_of(self, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> list[Any]:
        """The inputs in order. An ArgumentError where arguments do not fit the trees."""
        leaves = self._flatten(args, dict(kwargs or {}))
        for spec, leaf in zip(self.inputs, leaves, strict=False):
            if wants_grad(leaf):
                if leaf.device.type != "cuda":
                    plain(spec, leaf)  # what else is wrong with it comes first
                raise ArgumentValueError(
                    f"argument '{spec.name}' requires grad, but a compiled library has no "
                    "derivative: its result would be cut from the graph",
                    help="call it under torch.no_grad() or with .detach(); functions of "
                    "pullback.jit carry gradients",
                )
        return leaves

    def result_of(self, outputs: list[Any]) -> Any:
        return tree.unflatten(self._out_tree, iter(outputs))

    def _flat_inputs(self) -> bool:
        """Whether the positional arguments are the inputs, static ones at the end left out."""
        leaves = [item == tree.LEAF for item in self._in_items]
        count = sum(leaves)
        rest = self._in_items[count:]
        if self._params_after and rest:
            return False
        return all(leaves[:count]) and not any(map(tree.count_leaves, rest))

    def _flatten(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        count = len(self._in_items)
        extra = args[count:]
        if len(extra) > len(self._params_after):
            expected = [*self._arg_names, *(spec.name for spec in self._params_after)]
            raise ArgumentTypeError(
                f"{self.name} takes {len(expected)} arguments ({', '.join(expected)}), "
                f"got {len(args)}"
            )
        leaves: list[Any] = []
        for i, (name, item) in enumerate(zip(self._arg_names, self._in_items, strict=True)):
            if i < len(args):
                tree.flatten(item, args[i], name, leaves)
            elif name in kwargs:
                tree.flatten(item, kwargs.pop(name), name, leaves)
            elif tree.count_leaves(item):
                raise ArgumentTypeError(
                    f"{self.name} misses '{name}'; its arguments are {', '.join(self._arg_names)}"
                )
        for i, spec in enumerate(self._params_after):
            if i >= len(extra) and spec.name not in kwargs:
                raise ArgumentTypeError(f"{self.name} misses the parameter '{spec.name}' ({spec})")
            leaves.append(extra[i] if i < len(extra) else kwargs.pop(spec.name))
        for name in kwargs:
            known = name in self._arg_names or any(name == s.name for s in self._params_after)
            problem = f"got '{name}' twice" if known else f"has no argument '{name}'"
            raise ArgumentTypeError(
                f"{self.name} {problem}; its arguments are {', '.join(self._arg_names)}"
            )
        return leaves

    def _raise_status(self, status: int) -> None:
        """Raises what a nonzero return value of the entry means."""
        for error in self.manifest["errors"]:
            if error["status"] == status:
                raise exception(error["kind"])(f"{error['message']} ({error['where']})")
        if status > 0:
            raise ArtifactError(f"{self.path}: {self.name} returned the unknown status {status}")
        raise ArgumentError(f"{self.name} refused its arguments with status {status}")


def _specs(leaves: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(leaf["name"], leaf["dtype"], tuple(leaf["shape"])) for leaf in leaves)
