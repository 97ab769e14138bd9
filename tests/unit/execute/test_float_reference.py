"""The float meaning of operators against PyTorch, and integer execution against float execution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.unit.quantize.small import Builder
from tinycompress.execute import float_reference, functions
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, State
from tinycompress.ir.tensor import DType, Tensor

PYTORCH = {
    o.Function.SIGMOID: torch.sigmoid,
    o.Function.TANH: torch.tanh,
    o.Function.HARD_SIGMOID: F.hardsigmoid,
    o.Function.HARD_SWISH: F.hardswish,
    o.Function.SILU: F.silu,
    o.Function.GELU: F.gelu,
    o.Function.GELU_TANH: lambda x: F.gelu(x, approximate="tanh"),
    o.Function.LEAKY_RELU: lambda x: F.leaky_relu(x, 0.3),
    o.Function.ELU: lambda x: F.elu(x, 0.3),
    o.Function.EXP: torch.exp,
    o.Function.LOG: torch.log,
    o.Function.SQRT: torch.sqrt,
    o.Function.RSQRT: torch.rsqrt,
    o.Function.SQUARE: torch.square,
    o.Function.ABS: torch.abs,
    o.Function.NEG: torch.neg,
    o.Function.SOFTPLUS: F.softplus,
    o.Function.MISH: F.mish,
}


@pytest.mark.parametrize("function", list(o.Function), ids=lambda f: f.value)
def test_functions_equal_pytorch(function: o.Function) -> None:
    x = np.linspace(-9, 9, 181, dtype=np.float32)
    expected = PYTORCH[function](torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(
        functions.apply(function, x, 0.3 if "ELU" in function.name else 0.0), expected, rtol=2e-5, atol=2e-6
    )


def test_every_function_is_defined() -> None:
    assert set(functions.FUNCTIONS) == set(o.Function)


@pytest.mark.parametrize("function", [o.Function.SIGMOID, o.Function.SOFTPLUS, o.Function.MISH, o.Function.SILU])
def test_functions_don_t_overflow(function: o.Function) -> None:
    values = functions.apply(function, np.array([-1e4, 1e4], np.float32))
    assert np.isfinite(values).all()


def channels_first(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def channels_last(x: torch.Tensor) -> np.ndarray:
    return x.numpy().transpose(0, 2, 3, 1)


def run_one(b: Builder, y: str, **inputs: np.ndarray) -> np.ndarray:
    return float_reference.run(b.graph(y), inputs).output


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("stride", "dilation"), [((1, 1), (1, 1)), ((2, 1), (1, 2))])
def test_convolution(groups: int, stride: tuple[int, int], dilation: tuple[int, int]) -> None:
    b = Builder()
    x = b.rng.normal(size=(3, 9, 8, 4)).astype(np.float32)
    w, bias = b.random("w", 6, 3, 2, 4 // groups), b.random("b", 6)
    y = b.op(
        o.Conv2D, b.input("x", (9, 8, 4)), weights=w, bias=bias, groups=groups, stride=stride, dilation=dilation,
        padding=(1, 2, 1, 2), activation=o.RELU,
    )  # fmt: skip
    weights = torch.from_numpy(b.tensors[w].constant.transpose(0, 3, 1, 2).copy())
    expected = F.conv2d(
        channels_first(x), weights, torch.from_numpy(b.tensors[bias].constant.copy()), stride, (1, 2), dilation, groups
    ).relu()
    np.testing.assert_allclose(run_one(b, y, x=x), channels_last(expected), rtol=1e-4, atol=1e-5)


def test_depthwise_convolution_with_multiplier() -> None:
    b = Builder()
    x = b.rng.normal(size=(3, 7, 7, 4)).astype(np.float32)
    w = b.random("w", 3, 3, 8)
    y = b.op(o.DepthwiseConv2D, b.input("x", (7, 7, 4)), weights=w, multiplier=2, stride=(2, 2), padding=(1, 1, 1, 1))
    weights = torch.from_numpy(b.tensors[w].constant.transpose(2, 0, 1)[:, None].copy())
    expected = F.conv2d(channels_first(x), weights, None, 2, 1, 1, 4)
    np.testing.assert_allclose(run_one(b, y, x=x), channels_last(expected), rtol=1e-4, atol=1e-5)


def test_transposed_convolution() -> None:
    b = Builder()
    x = b.rng.normal(size=(3, 4, 5, 3)).astype(np.float32)
    w = b.random("w", 6, 3, 3, 3)
    y = b.op(
        o.TransposeConv2D,
        b.input("x", (4, 5, 3)),
        weights=w,
        stride=(2, 2),
        padding=(1, 1, 1, 1),
        output_padding=(1, 1),
    )
    weights = torch.from_numpy(b.tensors[w].constant.transpose(3, 0, 1, 2).copy())
    expected = F.conv_transpose2d(channels_first(x), weights, None, 2, 1, 1)
    np.testing.assert_allclose(run_one(b, y, x=x), channels_last(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("corners", [False, True])
def test_bilinear_resize(corners: bool) -> None:
    b = Builder()
    x = b.rng.normal(size=(2, 4, 6, 3)).astype(np.float32)
    y = b.op(
        o.ResizeBilinear, b.input("x", (4, 6, 3)), size=(7, 9), align_corners=corners, half_pixel_centers=not corners
    )
    expected = F.interpolate(channels_first(x), (7, 9), mode="bilinear", align_corners=corners)
    np.testing.assert_allclose(run_one(b, y, x=x), channels_last(expected), rtol=1e-4, atol=1e-5)


def test_nearest_resize() -> None:
    b = Builder()
    x = b.rng.normal(size=(2, 4, 6, 3)).astype(np.float32)
    y = b.op(o.ResizeNearest, b.input("x", (4, 6, 3)), size=(7, 9))
    np.testing.assert_array_equal(run_one(b, y, x=x), channels_last(F.interpolate(channels_first(x), (7, 9))))


def test_average_pool_does_not_count_padding() -> None:
    b = Builder()
    x = b.rng.normal(size=(2, 6, 6, 3)).astype(np.float32)
    y = b.op(o.AveragePool2D, b.input("x", (6, 6, 3)), kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1))
    expected = F.avg_pool2d(channels_first(x), 3, 2, 1, count_include_pad=False)
    np.testing.assert_allclose(run_one(b, y, x=x), channels_last(expected), rtol=1e-5, atol=1e-6)


def test_batch_norm_softmax_and_means() -> None:
    b = Builder()
    x = b.rng.normal(size=(2, 5, 5, 3)).astype(np.float32)
    constants = {n: b.constant(n, b.rng.uniform(0.5, 2.0, 3)) for n in ("gamma", "beta", "mean", "variance")}
    n = b.op(o.BatchNorm, b.input("x", (5, 5, 3)), **constants)
    y = b.op(o.Softmax, b.op(o.Mean, n, axes=(0, 1)), beta=2.0)
    gamma, beta, mean, variance = (torch.from_numpy(b.tensors[c].constant.copy()) for c in constants.values())
    normal = F.batch_norm(channels_first(x), mean, variance, gamma, beta)
    expected = F.softmax(2 * normal.mean(dim=(2, 3)), dim=1)
    np.testing.assert_allclose(run_one(b, y, x=x), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_svdf_remembers_its_last_inputs() -> None:
    b = Builder()
    x, state = b.input("x", (3,)), Tensor("s", (4, 2), DType.FLOAT32)
    feature, time = b.random("f", 4, 3), b.random("t", 4, 2)
    op = o.SVDF(name="v", inputs=(x, "s"), outputs=("y", "s2"), feature_weights=feature, time_weights=time, rank=2)
    tensors = {
        **b.tensors,
        "s": state,
        "s2": Tensor("s2", (4, 2), DType.FLOAT32),
        "y": Tensor("y", (2,), DType.FLOAT32),
    }
    graph = Graph("v", tuple(b.inputs), ("y",), tensors, (op,), (State("s", "s2"),))
    inputs = b.rng.normal(size=(3, 3)).astype(np.float32)
    carried = None
    for sample in inputs:
        result = float_reference.run(graph, {"x": sample}, carried)
        carried = result.state
    projected = inputs[1:] @ b.tensors[feature].constant.T
    expected = (projected.T * b.tensors[time].constant).sum(axis=1).reshape(2, 2).sum(axis=1)
    np.testing.assert_allclose(result.output, expected, rtol=1e-5)
