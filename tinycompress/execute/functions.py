"""The float definition of every unary `Function` that a `Table` can carry.

Each takes a float array and `alpha` and returns a float array of the same dtype and shape. Outside a function's domain
(log and rsqrt of values ≤ 0, sqrt of values < 0) the result is what IEEE arithmetic gives: NaN or infinity.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tinycompress.ir.ops import Function
from tinycompress.ir.tensor import Array

FloatFunction = Callable[[Array, float], Array]

_ERF = np.frompyfunc(math.erf, 1, 1)
SQRT_HALF = math.sqrt(0.5)
SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)
HARD_SIGMOID_SLOPE = 1.0 / 6.0


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(−x)) without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def softplus(x: Array) -> Array:
    """log(1 + exp(x)) without overflow."""
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def _hard_sigmoid(x: Array, alpha: float) -> Array:
    """clip(alpha · x + 1/2, 0, 1); alpha 0 stands for PyTorch's 1/6."""
    return np.clip(x * (alpha or HARD_SIGMOID_SLOPE) + 0.5, 0.0, 1.0)


def _gelu(x: Array, alpha: float) -> Array:
    del alpha
    erf = np.asarray(_ERF(x * SQRT_HALF), dtype=np.float64)
    return x * 0.5 * (1.0 + erf)


def _gelu_tanh(x: Array, alpha: float) -> Array:
    del alpha
    return x * 0.5 * (1.0 + np.tanh(SQRT_2_OVER_PI * (x + 0.044715 * x**3)))


FUNCTIONS: dict[Function, FloatFunction] = {
    Function.SIGMOID: lambda x, alpha: sigmoid(x),
    Function.TANH: lambda x, alpha: np.tanh(x),
    Function.HARD_SIGMOID: _hard_sigmoid,
    Function.HARD_SWISH: lambda x, alpha: x * np.clip(x + 3.0, 0.0, 6.0) / 6.0,
    Function.SILU: lambda x, alpha: x * sigmoid(x),
    Function.GELU: _gelu,
    Function.GELU_TANH: _gelu_tanh,
    Function.LEAKY_RELU: lambda x, alpha: np.where(x >= 0, x, alpha * x),
    Function.ELU: lambda x, alpha: np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0.0))),
    Function.EXP: lambda x, alpha: np.exp(x),
    Function.LOG: lambda x, alpha: np.log(x),
    Function.SQRT: lambda x, alpha: np.sqrt(x),
    Function.RSQRT: lambda x, alpha: 1.0 / np.sqrt(x),
    Function.SQUARE: lambda x, alpha: x * x,
    Function.ABS: lambda x, alpha: np.abs(x),
    Function.NEG: lambda x, alpha: -x,
    Function.SOFTPLUS: lambda x, alpha: softplus(x),
    Function.MISH: lambda x, alpha: x * np.tanh(softplus(x)),
}


def apply(function: Function, x: Array, alpha: float = 0.0) -> Array:
    """`function` of every element, computed in float64, in the dtype of `x`."""
    with np.errstate(all="ignore"):
        result: Array = np.asarray(FUNCTIONS[function](x.astype(np.float64), alpha))
        return result.astype(x.dtype)
