"""MatMul and LayerNorm: every kernel against the reference, and the reference against real arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.kernels import harness as h
from tests.kernels.attention_graphs import layer_norm_graph, matmul_graph
from tinycompress.execute import float_reference, reference
from tinycompress.execute.reference_norm import integer_root
from tinycompress.ir.fixedpoint import dequantize_values
from tinycompress.ir.graph import Rounding
from tinycompress.kernels.attention import LAYER_NORM, MATMUL
from tinycompress.kernels.attention_dsp import LAYER_NORM as LAYER_NORM_DSP
from tinycompress.kernels.attention_dsp import MATMUL as MATMUL_DSP

SHAPES = [(1, 1, 1), (1, 2, 3), (3, 5, 4), (2, 4, 9), (4, 3, 16), (1, 7, 33)]


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("columns", [1, 2, 5])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matmul_equals_the_reference(shape: tuple[int, int, int], columns: int, rounding: Rounding) -> None:
    rng = np.random.default_rng(3)
    for is_transposed in (False, True):
        for zero_points in ((-128, 5), (127, -128), (0, 0)):
            graph = matmul_graph(
                rng, shape, columns, is_transposed=is_transposed, zero_points=zero_points, rounding=rounding
            )
            for variant in (*MATMUL, *MATMUL_DSP):
                h.check(variant, graph, rng)


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("shape", [(1,), (2,), (7,), (3, 16), (2, 3, 40), (1000,)], ids=str)
@pytest.mark.parametrize("epsilon", [0.0, 1e-12, 1e-5, 100.0])
def test_layer_norm_equals_the_reference(shape: tuple[int, ...], epsilon: float, rounding: Rounding) -> None:
    rng = np.random.default_rng(4)
    for scale in (1e-9, 0.003, 2.0):
        graph = layer_norm_graph(rng, shape, scale=scale, epsilon=epsilon, rounding=rounding)
        for variant in (*LAYER_NORM, *LAYER_NORM_DSP):
            if variant.tier == "portable" or variant.supports(graph.ops[0], graph):
                h.check(variant, graph, rng)


def test_layer_norm_of_the_widest_vectors() -> None:
    """As many channels as there may be: all at one limit, and one apart from all others."""
    rng = np.random.default_rng(5)
    graph = layer_norm_graph(rng, (1 << 14,), epsilon=0.0)
    values = np.full(1 << 14, -128, np.int8)
    for changed in (0, 1, 1 << 13):
        values[:changed] = 127
        for variant in (*LAYER_NORM, *LAYER_NORM_DSP):
            got = h.run(variant, graph.ops[0], graph, {"x": values})["y"]
            np.testing.assert_array_equal(got, reference.run(graph, {"x": values}).output)


def test_layer_norm_is_within_a_step_of_real_arithmetic() -> None:
    rng = np.random.default_rng(6)
    for channels in (4, 48, 256):
        graph = layer_norm_graph(rng, (200, channels))
        x = rng.integers(-128, 128, (200, channels)).astype(np.int8)
        y = graph.tensors["y"].quantization
        real_x = dequantize_values(x, graph.tensors["x"].quantization)
        (real,) = float_reference.execute(graph.ops[0], [real_x[np.newaxis]], graph.tensors)
        units = np.clip(real[0] / y.tensor_scale + y.tensor_zero_point, -128, 127)
        assert np.abs(reference.run(graph, {"x": x}).output - units).max() < 0.51


def test_integer_root() -> None:
    rng = np.random.default_rng(7)
    squares = rng.integers(0, 1 << 31, 500) ** 2
    values = np.concatenate([squares, squares[squares > 0] - 1, rng.integers(0, 1 << 62, 500), [0, 1, 2, 3, 4]])
    assert integer_root(values).tolist() == [math.isqrt(int(v)) for v in values]
