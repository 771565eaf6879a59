"""Layers of torch under all transforms: padding, resampling, norms, attention, recurrent nets."""

from __future__ import annotations

import pullback as pb
import pytest
import torch
import torch.func as tf
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .networks import check, normal, same

pytestmark = [
    pytest.mark.usefixtures("interpreted"),
    pytest.mark.filterwarnings("ignore:Default grid_sample and affine_grid"),
]
MASK = torch.tensor([[True, False, True], [True, True, False], [False, False, True]])


def normal_of(shape):
    return normal(*shape)


def padded(shape, mode, *pad):
    return (lambda x: F.pad(x, pad, mode), shape)


def resized(shape, **options):
    return (lambda x: F.interpolate(x, **options), shape)


def sampled(image=(1, 1, 3, 2), grid=(1, 2, 2, 2), **options):
    return (lambda x, g: F.grid_sample(x, g, **options), image, grid)


def attention(q, k, v, **options):
    def f(*qkv):
        with sdpa_kernel(SDPBackend.MATH):  # the others have no forward derivative
            return F.scaled_dot_product_attention(*qkv, **options)

    return (f, q, k, v)


#: Torch has no forward derivatives of these.
WITHOUT_FORWARD = ("grid_sample", "embedding_bag")
BAGS = torch.tensor([0, 2, 1, 1, 0])

FUNCTIONS = {
    "reflect 1d": padded((1, 2, 4), "reflect", 1, 2),
    "reflect 2d": padded((1, 2, 4, 3), "reflect", 1, 2, 0, 1),
    "reflect 3d": padded((1, 1, 2, 2, 3), "reflect", 1, 1, 0, 1, 1, 0),
    "replicate 1d": padded((2, 4), "replicate", 1, 2),
    "replicate 2d": padded((1, 2, 4, 3), "replicate", 1, -1, 0, 1),
    "replicate 3d": padded((1, 1, 2, 2, 3), "replicate", 1, 1, 0, 1, 1, 0),
    "circular 2d": padded((1, 2, 4, 3), "circular", 1, 2, 0, 1),
    "constant and cut": padded((2, 4), "constant", -1, 2, 1, -1),
    "nearest": resized((1, 2, 4, 3), scale_factor=2),
    "nearest to a size": resized((1, 2, 4, 3), size=(3, 5)),
    "nearest-exact": resized((1, 2, 4, 3), size=(3, 5), mode="nearest-exact"),
    "linear": resized((1, 2, 4), scale_factor=1.7, mode="linear"),
    "bilinear": resized((1, 2, 4, 3), scale_factor=2, mode="bilinear"),
    "bilinear with corners": resized(
        (1, 1, 4, 3), size=(5, 7), mode="bilinear", align_corners=True
    ),
    "trilinear": resized((1, 1, 2, 3, 2), scale_factor=2, mode="trilinear"),
    "area": resized((1, 2, 4, 3), size=(3, 2), mode="area"),
    "grid_sample": sampled(),
    "grid_sample border": sampled(padding_mode="border", align_corners=True),
    "grid_sample reflection": sampled(padding_mode="reflection"),
    "grid_sample reflection corners": sampled(padding_mode="reflection", align_corners=True),
    "grid_sample nearest": sampled(mode="nearest"),
    "grid_sample bicubic": sampled(mode="bicubic"),
    "grid_sample 3d": sampled((1, 1, 3, 2, 3), (1, 2, 2, 1, 3), padding_mode="border"),
    "affine_grid": (lambda t: F.affine_grid(t, [1, 1, 3, 4]), (1, 2, 3)),
    "affine_grid 3d": (lambda t: F.affine_grid(t, [1, 1, 3, 4, 2], True), (1, 3, 4)),
    "pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), (1, 4, 2, 3)),
    "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), (1, 1, 2, 4)),
    "channel_shuffle": (lambda x: F.channel_shuffle(x, 2), (1, 4, 2)),
    "unfold": (lambda x: F.unfold(x, 2, padding=1, stride=2), (1, 2, 4, 3)),
    "fold": (lambda x: F.fold(x, (4, 4), 2, stride=2), (1, 8, 4)),
    "embedding_bag": (lambda w: F.embedding_bag(BAGS, w, torch.tensor([0, 2, 2])), (3, 2)),
    "embedding_bag sum": (
        lambda w, s: F.embedding_bag(
            BAGS[None], w, mode="sum", per_sample_weights=s, padding_idx=1
        ),
        (3, 2),
        (1, 5),
    ),
    "glu": (lambda x: F.glu(x, 1), (2, 4)),
    "batch_norm training": (lambda x, w: F.batch_norm(x, None, None, w, w, True), (3, 3, 2), (3,)),
    "instance_norm": (lambda x, w: F.instance_norm(x, weight=w), (2, 3, 4), (3,)),
    "local_response_norm": (lambda x: F.local_response_norm(x, 3), (2, 5, 3)),
    "rms_norm": (lambda x, w: F.rms_norm(x, (3,), w), (2, 3), (3,)),
    "normalize": (F.normalize, (3, 2)),
    "softmin": (lambda x: F.softmin(x, 1), (3, 2)),
    "attention": attention((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4)),
    "attention causal": attention(*[(1, 1, 3, 4)] * 3, is_causal=True, scale=0.3),
    "attention masked": attention(*[(1, 1, 3, 4)] * 3, attn_mask=MASK),
    "attention grouped": attention((1, 4, 3, 2), (1, 2, 3, 2), (1, 2, 3, 2), enable_gqa=True),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name):
    function, *shapes = FUNCTIONS[name]
    check(function, *map(normal_of, shapes), forward=not name.startswith(WITHOUT_FORWARD))


def test_bicubic():
    """Value and gradient alone: sixteen elements for each result take their time."""

    def f(x):
        return F.interpolate(x, size=(3, 5), mode="bicubic").pow(2).sum()

    x = normal(1, 1, 4, 3)
    same(pb.grad_and_value(f)(x), tf.grad_and_value(f)(x))


def layer(make, *shapes, of=lambda result: result):
    """A module as a function of its inputs and of its parameters."""
    return make, shapes, of


MODULES = {
    "LSTM": layer(
        lambda: nn.LSTM(2, 2, 2, bidirectional=True, batch_first=True), (1, 2, 2), of=lambda y: y[0]
    ),
    "LSTM with projection": layer(lambda: nn.LSTM(2, 3, proj_size=2), (2, 1, 2)),
    "GRU": layer(lambda: nn.GRU(3, 2), (3, 1, 3)),
    "RNN": layer(lambda: nn.RNN(3, 2, nonlinearity="relu"), (3, 1, 3)),
    "LSTMCell": layer(lambda: nn.LSTMCell(3, 2), (1, 3)),
    "GRUCell": layer(lambda: nn.GRUCell(3, 2), (1, 3)),
    "RNNCell": layer(lambda: nn.RNNCell(3, 2), (1, 3)),
    "MultiheadAttention": layer(
        lambda: nn.MultiheadAttention(4, 2, batch_first=True), *[(1, 3, 4)] * 3
    ),
    "TransformerEncoderLayer": layer(
        lambda: nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True), (1, 3, 4)
    ),
    "TransformerEncoderLayer norm first": layer(
        lambda: nn.TransformerEncoderLayer(4, 2, 3, dropout=0.0, norm_first=True), (2, 1, 4)
    ),
    "TransformerDecoderLayer": layer(
        lambda: nn.TransformerDecoderLayer(4, 2, 6, dropout=0.0), (3, 1, 4), (2, 1, 4)
    ),
    "BatchNorm1d": layer(lambda: nn.BatchNorm1d(3, track_running_stats=False), (3, 3)),
    "BatchNorm2d eval": layer(lambda: nn.BatchNorm2d(3).eval(), (2, 3, 2, 1)),
    "InstanceNorm2d": layer(lambda: nn.InstanceNorm2d(3, affine=True), (2, 3, 2, 2)),
    "GroupNorm": layer(lambda: nn.GroupNorm(2, 4), (2, 4, 2)),
    "LayerNorm": layer(lambda: nn.LayerNorm(3), (2, 3)),
    "RMSNorm": layer(lambda: nn.RMSNorm(3), (2, 3)),
    "Bilinear": layer(lambda: nn.Bilinear(2, 3, 2), (2, 2), (2, 3)),
    "spectral_norm": layer(
        lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(2, 3)).eval(), (2, 2)
    ),
    "PReLU": layer(lambda: nn.PReLU(3), (2, 3)),
    "ConvTranspose2d": layer(lambda: nn.ConvTranspose2d(2, 3, 3, stride=2), (1, 2, 2, 2)),
    "Upsample": layer(lambda: nn.Upsample(scale_factor=2, mode="bilinear"), (1, 1, 2, 3)),
}


@pytest.mark.parametrize("name", MODULES)
def test_module(name):
    make, shapes, of = MODULES[name]
    module = make().double()
    parameters = {key: value.detach() for key, value in module.named_parameters()}
    buffers = dict(module.named_buffers())

    def f(*tensors):
        inputs, values = tensors[: len(shapes)], tensors[len(shapes) :]
        state = {**dict(zip(parameters, values, strict=True)), **buffers}
        with sdpa_kernel(SDPBackend.MATH):
            return of(torch.func.functional_call(module, state, inputs))

    check(f, *(normal(*shape) for shape in shapes), *parameters.values())


@pytest.mark.parametrize("batch_first", [False, True])
def test_the_fast_path_of_a_transformer_is_not_taken(batch_first):
    """In eval mode torch has one call for a layer of an encoder; it has no derivative here."""
    layer = nn.TransformerEncoderLayer(4, 2, 6, batch_first=batch_first).double().eval()
    encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).eval()
    x = normal(2, 3, 4)
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.testing.assert_close(pb.jit(lambda x: encoder(x))(x), encoder(x))
    assert torch.backends.mha.get_fastpath_enabled() == enabled


@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan"), -1.0, 3.0, 1e30])
def test_places_outside_of_a_volume(padding, value):
    image = torch.arange(1.0, 13.0, dtype=torch.float64).reshape(1, 1, 2, 3, 2)
    grid = torch.tensor([[0.25, -0.5, value], [value, 0.1, 0.2]], dtype=torch.float64)

    def read(image, grid):
        return F.grid_sample(image, grid.reshape(1, 1, 1, 2, 3), padding_mode=padding).sum()

    torch.testing.assert_close(pb.jit(read)(image, grid), read(image, grid))
    ours, torchs = (t.grad(read, (0, 1))(image, grid) for t in (pb, tf))
    if padding == "zeros" or value == value:  # torch's derivative there is not that of its value
        torch.testing.assert_close(ours, torchs)


def test_weight_of_padding_is_not_read():
    weights = torch.tensor([1.0, -float("inf"), 2.0], dtype=torch.float64)

    def bags(w, v):
        return F.embedding_bag(
            torch.tensor([0, 1, 2]), w, torch.tensor([0, 2]), None, 2.0, False, "sum", False, v,
            padding_idx=1,
        ).sum()  # fmt: skip

    table = normal(4, 3)
    same(pb.grad(bags, (0, 1))(table, weights), tf.grad(bags, (0, 1))(table, weights))
