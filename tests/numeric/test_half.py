"""bf16 and f16: 16 bits in memory, f32 in every computation, rounded as torch rounds."""

import numpy as np
import pullback as pb
import pytest
import torch
import torch.nn.functional as F
from pullback.dialects.pb.interpret import evaluate
from pullback.dialects.pb.transforms import expand, simplify
from pullback.frontend import command
from pullback.frontend.importer import import_graph
from pullback.frontend.trace import trace
from pullback.pipelines import elf_object

HALF = [torch.bfloat16, torch.float16]
half = pytest.mark.parametrize("dtype", HALF, ids=["bf16", "f16"])


def values(*shape, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(dtype)


def assert_close(got, want, ulps=2.0):
    """Within so many units in the last place of the largest element."""
    assert got.dtype is want.dtype and got.shape == want.shape
    if want.dtype not in HALF:
        torch.testing.assert_close(got, want, equal_nan=True)
        return
    got, want, eps = got.double(), want.double(), torch.finfo(want.dtype).eps
    scale = float(want[want.isfinite()].abs().max()) if want.isfinite().any() else 0.0
    torch.testing.assert_close(
        got, want, rtol=ulps * eps, atol=ulps / 2 * eps * scale, equal_nan=True
    )


def every_pattern(dtype):
    return torch.arange(65536, dtype=torch.int32).to(torch.int16).view(dtype)


@half
def test_every_bit_pattern_goes_to_f32_and_back(dtype):
    bits = every_pattern(dtype)
    wide = pb.jit(lambda x: x.float())(bits)
    numbers = ~bits.isnan()
    assert torch.equal(wide[numbers].view(torch.int32), bits.float()[numbers].view(torch.int32))
    back = pb.jit(lambda x: x.to(dtype))(wide)
    assert torch.equal(back[numbers].view(torch.int16), bits[numbers].view(torch.int16))
    assert wide[~numbers].isnan().all() and back[~numbers].isnan().all()


@half
@pytest.mark.parametrize("source", [torch.float32, torch.float64])
def test_rounding_is_to_nearest_even(dtype, source):
    near = every_pattern(dtype).double()
    near = near[near.isfinite()].sort().values
    ties = (near[1:] + near[:-1]) / 2
    limit = torch.tensor([65519.0, 65520.0, 3.3961e38, 1e39, np.inf, -np.inf, np.nan, -0.0])
    x = torch.cat([ties, ties * (1 + 2**-20), ties * (1 - 2**-20), limit.double()]).to(source)
    got, want = pb.jit(lambda x: x.to(dtype))(x), x.to(dtype)
    known = ~want.isnan()
    assert torch.equal(got[known].view(torch.int16), want[known].view(torch.int16))
    assert got[~known].isnan().all()


FUNCTIONS = {
    "arithmetic": lambda x, y: (x * y - x) / (y * y + 1) + 0.1 * x,
    "functions": lambda x, y: torch.exp(-x) * torch.sin(y) + torch.tanh(x).erf(),
    "log_softmax": lambda x, y: F.log_softmax(x * y, -1),
    "layer_norm": lambda x, y: F.layer_norm(x, (x.shape[-1],)) * y,
    "reductions": lambda x, y: x.sum(0) + y.mean(0) + x.amax(0) + y.var(0),
    "cumsum": lambda x, y: torch.cumsum(x, 1) + y.cumprod(1),
    "matmul": lambda x, y: x @ y.T,
    "einsum": lambda x, y: torch.einsum("ij,ij->i", x, y),
    "moves": lambda x, y: torch.cat([x[1:, ::2], y.flip(1)[:-1, ::2]], 1).T.reshape(-1),
    "gather": lambda x, y: x.gather(1, y.argsort(1)) + torch.where(x > 0, x, y),
    "mixed": lambda x, y: (x.float() * y + y.to(torch.float64).sum()).to(x.dtype),
    "sort": lambda x, y: x.sort(1).values * y.topk(3).values.sum(),
    "attention": lambda x, y: F.scaled_dot_product_attention(x[None], y[None], x[None]),
    "literal": lambda x, y: x * torch.tensor([0.1, 2.0, 0.3], dtype=x.dtype).repeat(4) + y.max(),
}


@half
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(name, dtype):
    x, y = values(8, 12, dtype=dtype), values(8, 12, dtype=dtype, seed=1)
    f = FUNCTIONS[name]
    assert_close(pb.jit(f)(x, y), f(x, y), 4)


@pytest.mark.filterwarnings("ignore:.*is compiled for the")
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("arithmetic", torch.bfloat16),
        ("log_softmax", torch.float16),
        ("matmul", torch.bfloat16),
        ("matmul", torch.float16),
        ("moves", torch.bfloat16),
        ("reductions", torch.float16),
    ],
)
def test_derivatives(name, dtype):
    x, y = values(8, 12, dtype=dtype), values(8, 12, dtype=dtype, seed=1)
    f = FUNCTIONS[name]
    wide = [t.double() for t in (x, y)]

    def loss(x, y):
        return f(x, y).float().sin().sum()

    for got, want in zip(
        pb.jit(pb.grad(loss, argnums=(0, 1)))(x, y),
        torch.func.grad(lambda x, y: f(x, y).sin().sum(), argnums=(0, 1))(*wide),
        strict=True,
    ):
        assert_close(got, want.to(dtype), 32)
    got = pb.jit(lambda *p: pb.jvp(f, p, p))(x, y)
    want = torch.func.jvp(f, tuple(wide), tuple(wide))
    for ours, theirs in zip(got, want, strict=True):
        assert_close(ours, theirs.to(dtype), 8)
    batches = torch.stack([x, y]), torch.stack([y, x])
    assert_close(pb.jit(pb.vmap(f))(*batches), torch.vmap(f)(*batches), 4)


@half
def test_sums_and_products_accumulate_in_f32(dtype):
    a, b = values(16, 4096, dtype=dtype), values(4096, 16, dtype=dtype, seed=1)
    exact = a.double() @ b.double()
    eps = torch.finfo(dtype).eps
    assert (pb.jit(torch.matmul)(a, b).double() - exact).abs().max() <= eps * exact.abs().max()
    ones = torch.ones(70000, dtype=dtype)
    assert pb.jit(lambda x: x.mean())(ones) == 1
    # One at a time, 256 of bf16 would not grow any more, nor would 2048 of f16.
    assert pb.jit(lambda x: x[:60000].sum())(ones) == torch.tensor(60000.0).to(dtype)


@half
def test_special_values_and_comparisons(dtype):
    numbers = [0.0, -0.0, 1.0, -1.0, 1e3, 1e30, -1e30, np.inf, -np.inf, np.nan, 0.1, 6e-8]
    x = torch.tensor(numbers).to(dtype)
    for f in (
        lambda x: torch.sqrt(x) + torch.abs(x),
        lambda x: torch.relu(x) - x.sign(),
        lambda x: torch.maximum(x, x.flip(0)),
        lambda x: torch.nan_to_num(x),
        lambda x: x == 0.1,
        lambda x: x < torch.arange(12) * 257,
        lambda x: torch.copysign(x, x.flip(0)),
        lambda x: torch.isnan(x) | torch.isinf(x),
    ):
        got, want = pb.jit(f)(x), f(x)
        assert got.dtype is want.dtype
        assert torch.equal(got.nan_to_num(7), want.nan_to_num(7))


@half
def test_promotion_is_that_of_torch(dtype):
    x = values(4, dtype=dtype)
    others = [2, 0.1, torch.tensor(3), torch.tensor(0.1), torch.ones(4), torch.arange(4) * 1001]

    def every(x):
        return [f(x, y) for y in others for f in (torch.add, torch.mul, torch.true_divide)]

    for got, want in zip(pb.jit(every)(x), every(x), strict=True):
        assert_close(got, want)
    other = values(4, dtype=HALF[dtype is HALF[0]])
    assert_close(pb.jit(torch.add)(x, other), x + other)


@half
def test_a_training_step_and_captured_weights(dtype):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.GELU(), torch.nn.Linear(16, 1))
    model = model.to(dtype)
    x, y = values(32, 6, dtype=dtype), values(32, 1, dtype=dtype, seed=1)

    def step(params):
        def loss(p):
            return F.mse_loss(torch.func.functional_call(model, p, (x,)), y)

        grads, value = torch.func.grad_and_value(loss)(params)
        return value, {k: p - 0.1 * grads[k] for k, p in params.items()}

    params = {k: p.detach() for k, p in model.named_parameters()}
    compiled, first = pb.jit(step), None
    for _ in range(5):
        value, params = compiled(params)
        first = value if first is None else first
    assert value.dtype is dtype and value < first
    assert_close(pb.jit(model)(x), model(x).detach(), 8)
    weight = params["0.weight"].clone().requires_grad_()
    pb.jit(lambda w: (x @ w.T).float().square().sum())(weight).backward()
    assert weight.grad.dtype is dtype


@half
def test_a_loop_carries_and_stacks_them(dtype):
    def f(x):
        final, ys = pb.scan(lambda c, row: (c * 0.5 + row, c.sin()), x[0], x)
        return final + ys.sum(0)

    x = values(6, 5, dtype=dtype)
    c, ys = x[0], []
    for row in x:
        ys.append(c.sin())
        c = c * 0.5 + row
    assert_close(pb.jit(f)(x), c + torch.stack(ys).sum(0), 8)
    got = pb.jit(pb.grad(lambda x: f(x).float().sum()))(x)
    wide = pb.jit(pb.grad(lambda x: f(x).sum()))(x.double())
    assert_close(got, wide.to(dtype), 8)


@half
def test_an_artifact_takes_arrays_and_tensors(dtype, tmp_path):
    weight = values(4, dtype=dtype, seed=3)
    x = values(3, 4, dtype=dtype)
    artifact = pb.compile(lambda x: torch.exp(x) * weight, x, out=tmp_path, name="scaled")
    [library] = tmp_path.glob("*.so")
    _, undefined = elf_object.dynamic_symbols(library.read_bytes())
    assert undefined <= {"memcpy", "memmove", "memset"}
    header = next(tmp_path.glob("*.h")).read_text()
    assert "unsigned short[3][4]" in header
    want = torch.exp(x) * weight
    load = pb.load(library)
    assert_close(load(x), want)
    assert_close(load(x.T.contiguous().T), want)  # the slow path
    with pytest.raises(pb.ArgumentError, match=r"expected b?f16"):
        load(x.float())
    if dtype is torch.float16:
        array = load(x.numpy())
    else:
        ml_dtypes = pytest.importorskip("ml_dtypes")
        array = load(x.float().numpy().astype(ml_dtypes.bfloat16))
        with pytest.raises(pb.ArgumentError):
            load(np.zeros((3, 4), np.uint16))
        assert array.dtype == ml_dtypes.bfloat16
    assert_close(torch.from_numpy(array.astype(np.float32)).to(dtype), want)
    assert artifact is not None


def simplified(function, *args):
    module = import_graph(trace(function, args, {}).graph)
    expand.run(module)
    simplify.run(module)
    return module


@half
def test_what_only_moves_stays_half(dtype):
    x, y = values(8, 12, dtype=dtype), values(8, 12, dtype=dtype, seed=1)
    module = simplified(FUNCTIONS["moves"], x, y)
    assert "pb.convert" not in str(module) and "f32" not in str(module).replace("bf16", "")


@half
@pytest.mark.parametrize("name", ["arithmetic", "literal", "moves"])
def test_compiled_equals_interpreted(name, dtype):
    x, y = values(8, 12, dtype=dtype), values(8, 12, dtype=dtype, seed=1)
    arrays = [t.float().numpy() for t in (x, y)]
    [want] = evaluate(simplified(FUNCTIONS[name], x, y), "main", arrays)
    assert_close(pb.jit(FUNCTIONS[name])(x, y), torch.from_numpy(want.copy()).to(dtype), 1)


def test_the_command_line_takes_them(tmp_path):
    (tmp_path / "f.py").write_text("def f(x, y):\n    return x * y\n")
    job = command.resolve(f"{tmp_path}/f.py:f", arguments=["x=bf16[10]", "y=f16[]"])
    assert [arg.dtype for arg in job.args] == HALF


def test_calls_about_bits_are_refused():
    x = values(3, dtype=torch.bfloat16)
    with pytest.raises(pb.UnsupportedOpError, match="float32"):
        pb.jit(torch.nextafter)(x, x)
