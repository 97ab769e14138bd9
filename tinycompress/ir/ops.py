"""One frozen dataclass per operator. Fields are the meaning; tables elsewhere say how to run, cost and emit it.

`inputs` and `outputs` name activation tensors (an element-wise input may also name a constant); `weights`, `bias` and
the like name constants. Padding is always `(top, left, bottom, right)`; strides, kernels and dilations are `(h, w)`;
axes are batch-free and non-negative.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]


@dataclass(frozen=True)
class Activation:
    """A fused clamp in real numbers: y = min(max(x, low), high); None means unbounded on that side."""

    low: float | None = None
    high: float | None = None

    @property
    def is_none(self) -> bool:
        return self.low is None and self.high is None

    def __str__(self) -> str:
        if self.is_none:
            return "none"
        if self == RELU:
            return "ReLU"
        if self == RELU6:
            return "ReLU6"
        return f"clamp[{self.low}, {self.high}]"


NO_ACTIVATION = Activation()
RELU = Activation(0.0, None)
RELU6 = Activation(0.0, 6.0)


class Function(enum.Enum):
    """Unary functions that `Table` can carry; `execute.functions` has the float definition of each."""

    SIGMOID = "sigmoid"
    TANH = "tanh"
    HARD_SIGMOID = "hard_sigmoid"
    HARD_SWISH = "hard_swish"
    SILU = "silu"
    GELU = "gelu"
    GELU_TANH = "gelu_tanh"
    LEAKY_RELU = "leaky_relu"
    ELU = "elu"
    EXP = "exp"
    LOG = "log"
    SQRT = "sqrt"
    RSQRT = "rsqrt"
    SQUARE = "square"
    ABS = "abs"
    NEG = "neg"
    SOFTPLUS = "softplus"
    MISH = "mish"


@dataclass(frozen=True, kw_only=True)
class Op:
    """Base of all operators. `name` is unique in the graph; `source` holds the user's node names it came from."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    source: tuple[str, ...] = ()

    @property
    def output(self) -> str:
        """The only output; ValueError when there are several."""
        (output,) = self.outputs
        return output

    @property
    def kind(self) -> str:
        """The operator's public name, e.g. ``Conv2D``."""
        return type(self).__name__

    def constants(self) -> tuple[str, ...]:
        """Names of the constant tensors this operator owns (weights, bias, table …), in field order."""
        names = [getattr(self, f.name) for f in fields(self) if f.metadata.get("constant")]
        return tuple(name for name in names if name is not None)

    def renamed(self, names: dict[str, str]) -> Self:
        """The same operator with tensor names replaced where `names` has them."""
        changes: dict[str, Any] = {
            "inputs": tuple(names.get(n, n) for n in self.inputs),
            "outputs": tuple(names.get(n, n) for n in self.outputs),
        }
        for f in fields(self):
            if f.metadata.get("constant") and getattr(self, f.name) is not None:
                value = getattr(self, f.name)
                changes[f.name] = names.get(value, value)
        return replace(self, **changes)


def _constant() -> str:
    return field(metadata={"constant": True})  # type: ignore[no-any-return]


def _optional_constant() -> str | None:
    return field(default=None, metadata={"constant": True})


@dataclass(frozen=True, kw_only=True)
class Conv2D(Op):
    """`[h,w,c] → [oh,ow,o]`, weights OHWI `(o, kh, kw, c/groups)`, bias `(o,)` (int32 when quantized)."""

    weights: str = _constant()
    bias: str | None = _optional_constant()
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    groups: int = 1
    activation: Activation = NO_ACTIVATION


@dataclass(frozen=True, kw_only=True)
class DepthwiseConv2D(Op):
    """`[h,w,c] → [oh,ow,c·multiplier]`, weights `(kh, kw, c·multiplier)`, output channel c·multiplier + m."""

    weights: str = _constant()
    bias: str | None = _optional_constant()
    multiplier: int = 1
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    activation: Activation = NO_ACTIVATION


@dataclass(frozen=True, kw_only=True)
class TransposeConv2D(Op):
    """`[h,w,c] → [oh,ow,o]`, weights OHWI; `padding` is cut from the full output, `output_padding` (h, w) added."""

    weights: str = _constant()
    bias: str | None = _optional_constant()
    stride: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    output_padding: Pair = (0, 0)
    activation: Activation = NO_ACTIVATION


@dataclass(frozen=True, kw_only=True)
class FullyConnected(Op):
    """Acts on the last axis: `[..., in] → [..., out]`, weights `(out, in)`, bias `(out,)`."""

    weights: str = _constant()
    bias: str | None = _optional_constant()
    activation: Activation = NO_ACTIVATION


@dataclass(frozen=True, kw_only=True)
class MatMul(Op):
    """A product of two activations for each of g, `[g,m,k] × [g,k,n] → [g,m,n]`; transposed, the second is `[g,n,k]`.

    The scores and the weighted sums of attention (Vaswani et al., arXiv 1706.03762); a product with constants is a
    `FullyConnected`.
    """

    is_transposed: bool = False


@dataclass(frozen=True, kw_only=True)
class Add(Op):
    """Element-wise, two inputs of one shape, or one broadcast (`(1,1,c)`, `(c,)` or `(1,)` against `(h,w,c)`)."""

    activation: Activation = NO_ACTIVATION


@dataclass(frozen=True, kw_only=True)
class Sub(Op):
    """Element-wise first − second; broadcasting as `Add`."""

    activation: Activation = NO_ACTIVATION


@dataclass(frozen=True, kw_only=True)
class Mul(Op):
    """Element-wise product; broadcasting as `Add` (channel-wise for squeeze-excite)."""

    activation: Activation = NO_ACTIVATION


@dataclass(frozen=True, kw_only=True)
class Maximum(Op):
    """Element-wise maximum; quantized: equal scale and zero point on inputs and output."""


@dataclass(frozen=True, kw_only=True)
class Minimum(Op):
    """Element-wise minimum; quantized: equal scale and zero point on inputs and output."""


@dataclass(frozen=True, kw_only=True)
class AveragePool2D(Op):
    """Mean over each window's valid taps (padding taps are not counted; fronts with `count_include_pad` add a Pad)."""

    kernel: Pair
    stride: Pair
    padding: Padding = (0, 0, 0, 0)
    activation: Activation = NO_ACTIVATION


@dataclass(frozen=True, kw_only=True)
class MaxPool2D(Op):
    """Maximum over each window's valid taps."""

    kernel: Pair
    stride: Pair
    padding: Padding = (0, 0, 0, 0)
    activation: Activation = NO_ACTIVATION


@dataclass(frozen=True, kw_only=True)
class Mean(Op):
    """Mean over `axes` (batch-free); `keepdims` keeps them as 1. May rescale when quantized."""

    axes: tuple[int, ...]
    keepdims: bool = False


@dataclass(frozen=True, kw_only=True)
class Pad(Op):
    """Constant padding of `[h,w,c]` (or any rank): `amounts` is (before, after) per axis; real-valued `value`."""

    amounts: tuple[tuple[int, int], ...]
    value: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Concat(Op):
    """Joins inputs along `axis`; inputs whose scale differs from the output's are requantized."""

    axis: int


@dataclass(frozen=True, kw_only=True)
class Reshape(Op):
    """Same elements in the same (HWC) order, new `shape`. Flatten is a Reshape to one axis."""

    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Transpose(Op):
    """`output.shape[i] = input.shape[perm[i]]`, batch-free."""

    perm: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Slice(Op):
    """`input[begin:end:stride]` per axis; strides are positive."""

    begin: tuple[int, ...]
    end: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Softmax(Op):
    """Over the last axis, of beta · x. Quantized output: scale 1/256, zero point −128."""

    beta: float = 1.0


@dataclass(frozen=True, kw_only=True)
class LogSoftmax(Op):
    """Over the last axis. Quantized output: scale 16/256, zero point 127."""


@dataclass(frozen=True, kw_only=True)
class Clamp(Op):
    """A clamp that could not be fused into its producer (ReLU, ReLU6, Clip)."""

    activation: Activation


@dataclass(frozen=True, kw_only=True)
class PReLU(Op):
    """x ≥ 0 ? x : alpha · x, `alpha` a constant broadcast over `[h,w,c]`."""

    alpha: str = _constant()


@dataclass(frozen=True, kw_only=True)
class Table(Op):
    """Any unary function. Float: `function` (with `alpha`); quantized: `table`, int8 `(256,)`, index q + 128."""

    function: Function
    alpha: float = 0.0
    table: str | None = _optional_constant()


@dataclass(frozen=True, kw_only=True)
class BatchNorm(Op):
    """Float only, folded before quantization: y = (x − mean) / sqrt(variance + epsilon) · gamma + beta, per channel."""

    gamma: str = _constant()
    beta: str = _constant()
    mean: str = _constant()
    variance: str = _constant()
    epsilon: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class LayerNorm(Op):
    """Over the last axis: y = (x − mean) / sqrt(variance + epsilon) · gamma + beta, mean and variance of each vector
    (Ba, Kiros, Hinton, arXiv 1607.06450).

    `gamma` and `beta` are `(c,)`; quantized, gamma is int16 of LAYER_NORM_GAMMA_BITS bits, beta int32 (`quant_params`).
    """

    gamma: str = _constant()
    beta: str = _constant()
    epsilon: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class Dropout(Op):
    """Float only; identity at inference, kept so that fine-tuning trains as the user wrote it."""

    rate: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Quantize(Op):
    """float32 → int8/int16, or a rescaling between two quantized tensors (int8/int16 → int8/int16/int32)."""


@dataclass(frozen=True, kw_only=True)
class Dequantize(Op):
    """int8/int16 → float32."""


@dataclass(frozen=True, kw_only=True)
class ResizeNearest(Op):
    """`[h,w,c] → [size[0],size[1],c]`, nearest neighbour."""

    size: Pair
    align_corners: bool = False
    half_pixel_centers: bool = False


@dataclass(frozen=True, kw_only=True)
class ResizeBilinear(Op):
    """`[h,w,c] → [size[0],size[1],c]`, bilinear."""

    size: Pair
    align_corners: bool = False
    half_pixel_centers: bool = False


@dataclass(frozen=True, kw_only=True)
class SVDF(Op):
    """One SVDF step. inputs = (x, state_in), outputs = (y, state_out); state `(filters, memory)` int16 or int8."""

    feature_weights: str = _constant()
    time_weights: str = _constant()
    bias: str | None = _optional_constant()
    rank: int = 1
    activation: Activation = NO_ACTIVATION


@dataclass(frozen=True, kw_only=True)
class LSTM(Op):
    """Every step of an LSTM `[t,c] → [t,units]`. inputs = (x, hidden, cell), outputs = (y, next hidden, next cell).

    Gates stand in the order input, forget, cell, output: `input_weights` `(4, units, c)`, `recurrent_weights`
    `(4, units, units)`, `bias` `(4, units)`. The states are `(units,)`, kept between inferences or both constants from
    which every inference starts; quantized, the hidden state has the parameters of y and the cell state is int16 with
    a power of two as its scale. `cell_clip` > 0 bounds the cell state. With `is_reversed` the steps are taken from the
    last to the first; row i of y is the hidden state after step i all the same.
    """

    input_weights: str = _constant()
    recurrent_weights: str = _constant()
    bias: str | None = _optional_constant()
    cell_clip: float = 0.0
    is_reversed: bool = False


@dataclass(frozen=True, kw_only=True)
class Embedding(Op):
    """Rows of a constant, `[t] → [t,c]`: int32 indices into `table` `(n, c)`; beyond its ends, the nearest row."""

    table: str = _constant()


ALL_OPS: tuple[type[Op], ...] = (
    Conv2D, DepthwiseConv2D, TransposeConv2D, FullyConnected, MatMul,
    Add, Sub, Mul, Maximum, Minimum,
    AveragePool2D, MaxPool2D, Mean,
    Pad, Concat, Reshape, Transpose, Slice,
    Softmax, LogSoftmax, Clamp, PReLU, Table,
    BatchNorm, LayerNorm, Dropout, Quantize, Dequantize,
    ResizeNearest, ResizeBilinear, SVDF, LSTM, Embedding,
)  # fmt: skip
"""Every operator there is; each room's table is checked against it (`operators.py`)."""
