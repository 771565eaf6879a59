"""Tensors of torch: plain ones without copies, odd ones right, impossible ones refused by name."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from pullback.runtime import Function, load

from .conftest import Make

torch = pytest.importorskip("torch")


class Plain(torch.Tensor):
    """A subclass without behaviour."""


class Noisy(torch.Tensor):
    """A subclass whose functions must not be called by a loader."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} was called")


class Wrapper(torch.Tensor):
    """A subclass without memory of its own."""

    @staticmethod
    def __new__(cls, shape: Any) -> Any:
        return torch.Tensor._make_wrapper_subclass(cls, shape, dtype=torch.float64)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} was called")


def values() -> Any:
    return torch.arange(6, dtype=torch.float64).reshape(2, 3)


@pytest.fixture
def copy6(make: Make) -> Function:
    return load(make("copy6", "x: f64[2, 3]", ["out: f64[2, 3]", "address: i64[]"]))


IN_PLACE = {
    "contiguous": values(),
    "offset": torch.cat([values(), values()])[2:],
    "requires grad": values().requires_grad_(),
    "parameter": torch.nn.Parameter(values()),
    "computed": values().requires_grad_() * 1,
    "subclass": values().as_subclass(Plain),
    "noisy subclass": values().as_subclass(Noisy),
    "shared": values().share_memory_(),
}
COPIED = {
    "transposed": values().T.contiguous().T,
    "strided": values().repeat_interleave(2, dim=1)[:, ::2],
    "negated view": torch._neg_view(-values()),
    "imaginary": torch.complex(values(), -values()).conj().imag,
    "strided, requires grad": values().T.contiguous().T.requires_grad_(),
}


@pytest.mark.parametrize("kind", [*IN_PLACE, *COPIED])
def test_layouts(copy6: Function, kind: str) -> None:
    value = {**IN_PLACE, **COPIED}[kind]
    with torch.no_grad():
        out, address = copy6(value)
    assert type(out) is torch.Tensor and out.dtype == torch.float64 and not out.requires_grad
    assert out.shape == (2, 3) and out.is_contiguous() and out.tolist() == values().tolist()
    with torch._C.DisableTorchFunctionSubclass():
        assert (address.item() == value.data_ptr()) == (kind in IN_PLACE)


@pytest.mark.parametrize("kind", ["requires grad", "parameter", "strided, requires grad"])
def test_a_result_is_never_cut_from_the_graph(copy6: Function, kind: str) -> None:
    with pytest.raises(ValueError, match=r"(?s)argument .x. requires grad.*no_grad"):
        copy6({**IN_PLACE, **COPIED}[kind])


def test_broadcast(copy6: Function) -> None:
    value = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).expand(2, 3)
    assert copy6(value)[0].tolist() == [[1, 2, 3], [1, 2, 3]]


def test_misaligned(copy6: Function) -> None:
    memory = np.zeros(49, np.uint8)
    memory[1:].view(np.float64)[...] = np.arange(6)
    value = torch.frombuffer(memory.data, dtype=torch.float64, offset=1).reshape(2, 3)
    assert value.data_ptr() % 8 == 1
    out, address = copy6(value)
    assert out.tolist() == values().tolist() and address.item() % 8 == 0


def test_dtypes_zero_dimensions_and_negated_scalar(make: Make) -> None:
    kinds = {"f32": torch.float32, "f64": torch.float64, "i32": torch.int32, "i64": torch.int64}
    kinds["bool"] = torch.bool
    f = load(
        make("scalars", [f"{k}: {k}[]" for k in kinds], [f"o{k}: {k}[]" for k in [*kinds][::-1]])
    )
    args = [
        torch.tensor(value, dtype=kind)
        for value, kind in zip([1.5, 2.5, -3, -4, True], kinds.values(), strict=True)
    ]
    out = f(*args)
    assert [o.item() for o in out] == [True, -4, -3, 2.5, 1.5]
    assert [o.dtype for o in out] == [*kinds.values()][::-1]
    assert all(o.shape == () for o in out)
    args[1] = torch.complex(torch.tensor(0.0).double(), torch.tensor(-2.5).double()).conj().imag
    assert args[1].is_neg() and f(*args)[3].item() == 2.5
    mixed = f(np.float32(1.5), 2.5, np.array(-3, np.int32), args[3], True)
    assert [type(o) for o in mixed] == [torch.Tensor] * 5 and [o.item() for o in mixed][:3] == [
        True,
        -4,
        -3,
    ]


def test_zero_size(make: Make) -> None:
    f = load(make("nothing", ["x: f64[0, 3]"], ["a: f64[0]", "b: bool[2, 0]"]))
    for x in (torch.empty(0, 3).double(), torch.empty(3, 0).double().T):
        a, b = f(x)
        assert (a.shape, a.dtype, b.shape, b.dtype) == ((0,), torch.float64, (2, 0), torch.bool)


def test_results_behave_like_tensors(copy6: Function) -> None:
    x = values()
    out = copy6(x)[0]
    other = copy6(x)[0]
    out.add_(1)
    assert other.tolist() == values().tolist() and x.tolist() == values().tolist()
    assert out.data_ptr() % 64 == 0
    w = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    (w * out).sum().backward()
    assert w.grad.tolist() == out.tolist()
    saved = out.clone()
    del x, other
    threading.Thread(target=lambda held: held.resize_(0), args=[out.view(-1)[:0]]).start()
    assert out.tolist() == saved.tolist() and out.numpy().flags.writeable


def test_inference_mode_and_modes(copy6: Function) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class NoKernels(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            raise AssertionError(f"{func} was called")

    x = values()
    with torch.inference_mode():
        assert copy6(x)[0].tolist() == values().tolist()
    with NoKernels():
        out = copy6(x)[0]
    assert out.tolist() == values().tolist()


def fake() -> Any:
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        return values()


def freed() -> Any:
    value = values().clone()
    value.untyped_storage().resize_(0)
    return value


REFUSED: dict[str, tuple[Any, str]] = {
    "shape": (lambda: values().T, r"wrong shape: expected f64\[2, 3\], got f64\[3, 2\]"),
    "rows": (lambda: values()[:1], r"got f64\[1, 3\]"),
    "i64": (lambda: values().long(), r"got i64\[2, 3\]"),
    "f32": (lambda: values().float(), r"wrong dtype: expected f64\[2, 3\], got f32\[2, 3\]"),
    "bfloat16": (lambda: values().bfloat16(), r"got bf16\[2, 3\]"),
    "complex": (lambda: values() + 0j, r"got complex128\[2, 3\]"),
    "meta": (lambda: values().to("meta"), r"wrong device: expected f64\[2, 3\] on cpu, got meta"),
    "sparse": (lambda: values().to_sparse(), "wrong layout: .* got torch.sparse_coo"),
    "nested": (lambda: torch.nested.nested_tensor([values()]), "got a nested tensor"),
    "wrapper": (lambda: Wrapper((2, 3)), "no memory of its own: .*subclass Wrapper"),
    "fake": (fake, "the tensor subclass FakeTensor"),
    "freed": (freed, "a tensor without memory"),
    "zero tensor": (
        lambda: torch._efficientzerotensor(2, 3, dtype=torch.float64),
        "without memory",
    ),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("kind", REFUSED)
def test_refused(copy6: Function, kind: str) -> None:
    value, match = REFUSED[kind]
    with pytest.raises(
        ValueError if kind in ("shape", "rows") else TypeError, match=f"'x' .*{match}"
    ):
        copy6(value())


def test_inside_transforms(copy6: Function) -> None:
    def f(x: Any) -> Any:
        return copy6(x)[0].sum()

    for transform in (torch.func.grad, torch.func.vmap, torch.func.functionalize):
        argument = values()[None] if transform is torch.func.vmap else values()
        with pytest.raises(TypeError, match=r"'x' is a tensor without memory(.|\n)*transform"):
            transform(f)(argument)
