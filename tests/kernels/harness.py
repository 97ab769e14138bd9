"""Runs any kernel variant on one operator, from Python, in a sanitized C program.

One driver per header and rounding is built once per session, when first needed, and stays running; cases go to it over
a pipe. Every input row, output row, packed array and the scratch is an allocation of its own, sized exactly, so
that address sanitizing sees a byte read outside any of them; outputs carry guard bytes as well.

    y = run(variant, op, graph, {"x": array})["y"]

The struct a kernel takes is laid out from `PackedKernel`: scalars (int32) first, then array pointers.
"""

from __future__ import annotations

import itertools
import re
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycompress.emit.params import Member, struct_members
from tinycompress.execute import reference
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, GraphInput, QuantGraph, Rounding
from tinycompress.ir.ops import Op
from tinycompress.ir.shapes import infer, row_count
from tinycompress.ir.tensor import DType, QParams, Tensor
from tinycompress.ir.verify import to_quant_graph
from tinycompress.kernels.catalogue import KernelVariant, PackedKernel
from tinycompress.plan.rows import RowSpan, row_windows

Array = NDArray[Any]
Arrays = Mapping[str, Array]

KERNEL_DIRECTORY = Path(__file__).parents[2] / "codegen" / "kernels"
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
DEFINITION = re.compile(
    r"^(?:static inline|TC_INLINE) void (tc_\w+)\(\s*const (tc_\w+_params) \*p,\s*const int8_t \*const \*in_rows,"
    r"\s*int8_t \*const \*out_rows,\s*int32_t n_rows,\s*void \*scratch\)",
    re.MULTILINE,
)


class KernelCrash(AssertionError):
    """The driver died: the sanitizers' report."""


def headers() -> tuple[str, ...]:
    """Names of all kernel headers."""
    return tuple(sorted(p.name for p in KERNEL_DIRECTORY.glob("tc_*.h")))


def kernel_functions(header: str) -> dict[str, str]:
    """Kernel functions of a header and the params type each takes."""
    text = (KERNEL_DIRECTORY / header).read_text()
    return dict(DEFINITION.findall(text))


DRIVER = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
%(includes)s

typedef void (*kernel)(const void *p, const int8_t *const *in_rows, int8_t *const *out_rows, int32_t n_rows,
                       void *scratch);

%(wrappers)s

static const struct { const char *name; kernel run; } kernels[] = {
%(table)s
};

enum { GUARD = 16 };

static void take(void *to, size_t bytes)
{
    if (bytes != 0 && fread(to, 1, bytes, stdin) != bytes) {
        exit(0);
    }
}

static int32_t number(void)
{
    int32_t n;
    take(&n, sizeof n);
    return n;
}

typedef struct { unsigned char *base; unsigned char *data; size_t bytes; } block;

/* A block whose end is the end of its allocation, `offset` bytes off 16-byte alignment. */
static block new_block(size_t bytes, size_t offset)
{
    block b;
    b.base = malloc(bytes + offset + (bytes + offset == 0));
    b.data = b.base + offset;
    b.bytes = bytes;
    memset(b.base, 0xA5, bytes + offset);
    return b;
}

/* A block with guard bytes on both sides, which the kernel may touch without a sanitizer seeing it. */
static block new_guarded(size_t bytes, size_t offset)
{
    block b = new_block(bytes + 2 * GUARD, offset);
    b.data += GUARD;
    b.bytes = bytes;
    return b;
}

static void check_guards(const block *b, size_t offset)
{
    for (size_t i = 0; i < GUARD + offset; ++i) {
        if (b->base[i] != 0xA5) {
            fprintf(stderr, "wrote before an output row\n");
            abort();
        }
    }
    for (size_t i = 0; i < GUARD; ++i) {
        if (b->data[b->bytes + i] != 0xA5) {
            fprintf(stderr, "wrote behind an output row\n");
            abort();
        }
    }
}

int main(void)
{
    for (;;) {
        char name[64];
        kernel run = NULL;
        take(name, sizeof name);
        for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; ++i) {
            if (strcmp(kernels[i].name, name) == 0) {
                run = kernels[i].run;
            }
        }
        if (run == NULL) {
            fprintf(stderr, "no kernel %%s\n", name);
            abort();
        }
        const size_t offset = (size_t)number();
        const int32_t n_rows = number();
        const size_t scratch_bytes = (size_t)number();
        const size_t scalar_bytes = (size_t)number();
        const size_t arrays = (size_t)number();
        const size_t ins = (size_t)number();
        const size_t outs = (size_t)number();
        const size_t pointers_at = (scalar_bytes + sizeof(void *) - 1) / sizeof(void *) * sizeof(void *);
        unsigned char *params = calloc(1, pointers_at + (arrays + 4) * sizeof(void *));
        block *array = calloc(arrays + 1, sizeof *array);
        block *in = calloc(ins + 1, sizeof *in);
        block *out = calloc(outs + 1, sizeof *out);
        const int8_t **in_rows = malloc((ins + (ins == 0)) * sizeof *in_rows);
        int8_t **out_rows = malloc((outs + (outs == 0)) * sizeof *out_rows);
        take(params, scalar_bytes);
        for (size_t i = 0; i < arrays; ++i) {
            array[i] = new_block((size_t)number(), 0);
            take(array[i].data, array[i].bytes);
            memcpy(params + pointers_at + i * sizeof(void *), &array[i].data, sizeof(void *));
        }
        for (size_t i = 0; i < outs; ++i) {
            out[i] = new_guarded((size_t)number(), offset);
            out_rows[i] = (int8_t *)out[i].data;
        }
        for (size_t i = 0; i < ins; ++i) {
            const int32_t bytes = number();
            const int32_t alias = number();
            in_rows[i] = NULL;
            if (bytes >= 0) {
                in[i] = alias < 0 ? new_block((size_t)bytes, offset) : out[alias];
                take(in[i].data, (size_t)bytes);
                in_rows[i] = (const int8_t *)in[i].data;
                if (alias >= 0) {
                    in[i].base = NULL;
                }
            }
        }
        block scratch = new_block(scratch_bytes, 0);
        run(params, in_rows, out_rows, n_rows, scratch.data);
        for (size_t i = 0; i < outs; ++i) {
            check_guards(&out[i], offset);
            fwrite(out[i].data, 1, out[i].bytes, stdout);
            free(out[i].base);
        }
        fflush(stdout);
        for (size_t i = 0; i < ins; ++i) {
            free(in[i].base);
        }
        for (size_t i = 0; i < arrays; ++i) {
            free(array[i].base);
        }
        free(scratch.base);
        free(params);
        free(array);
        free(in);
        free(out);
        free((void *)in_rows);
        free((void *)out_rows);
    }
}
"""


def driver_source(header: str) -> str:
    """The driver with a wrapper for every kernel of a header."""
    kernels = kernel_functions(header)
    wrappers = "\n".join(
        f"static void run_{name}(const void *p, const int8_t *const *in_rows, int8_t *const *out_rows, int32_t n_rows, "
        f"void *scratch)\n{{\n    {name}((const {params} *)p, in_rows, out_rows, n_rows, scratch);\n}}"
        for name, params in kernels.items()
    )
    return DRIVER % {
        "includes": f'#include "{header}"',
        "wrappers": wrappers,
        "table": "\n".join(f'    {{"{name}", run_{name}}},' for name in kernels),
    }


@cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="tinycompress-kernels-")


@cache
def compiler() -> tuple[str, tuple[str, ...]]:
    """(command, sanitizer flags) of the host compiler: gcc with both sanitizers, or zig's clang with trapping UBSan."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "probe.c"
        source.write_text("int main(void) { return 0; }\n")
        probe = ["gcc", *SANITIZERS, str(source), "-o", str(source.with_suffix(""))]
        try:
            subprocess.run(probe, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return "python-zig", ("-fsanitize=undefined", "-fsanitize-trap=undefined")
    return "gcc", SANITIZERS


def compile_command(compiler_name: str) -> list[str]:
    """Argument list that starts the compiler of that name ('python-zig' is ziglang's `zig cc`)."""
    if compiler_name == "python-zig":
        import sys

        return [sys.executable, "-m", "ziglang", "cc"]
    return [compiler_name]


class Driver:
    """A running driver process."""

    def __init__(self, header: str, rounding: Rounding) -> None:
        self._path = _build(header, rounding)
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, message: bytes, answer_bytes: int) -> bytes:
        """Sends one case and returns the output rows' bytes; KernelCrash with the report when the driver dies."""
        if self._process is None:
            self._process = subprocess.Popen(
                [self._path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(message)
            process.stdin.flush()
        except BrokenPipeError:
            pass
        answer = process.stdout.read(answer_bytes)
        if len(answer) != answer_bytes:
            self._process = None
            report = process.communicate()[1].decode(errors="replace")
            raise KernelCrash(f"driver ended with {process.returncode}:\n{report}")
        return answer

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.communicate()
            self._process = None


def _build(header: str, rounding: Rounding) -> Path:
    path = Path(_directory().name) / f"{Path(header).stem}-{rounding.value}"
    source = path.with_suffix(".c")
    source.write_text(driver_source(header))
    name, sanitizers = compiler()
    define = ["-DTC_ROUNDING_SINGLE"] if rounding is Rounding.SINGLE else []
    command = [
        *compile_command(name), "-std=c11", "-O1", "-g", *WARNINGS, *sanitizers, *define,
        f"-I{KERNEL_DIRECTORY}", str(source), "-o", str(path),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}\n{done.stderr}")
    return path


_DRIVERS: dict[tuple[str, Rounding], Driver] = {}


def driver(header: str, rounding: Rounding) -> Driver:
    """The session's driver for the kernels of a header, built when first asked for."""
    key = (header, rounding)
    if key not in _DRIVERS:
        _DRIVERS[key] = Driver(header, rounding)
    return _DRIVERS[key]


def close_all() -> None:
    """Ends all drivers and removes what was built."""
    for running in _DRIVERS.values():
        running.close()
    _DRIVERS.clear()
    if _directory.cache_info().currsize:
        _directory().cleanup()
        _directory.cache_clear()


@dataclass(frozen=True)
class Call:
    """One call of a kernel: `n_rows` output rows from the given input rows; None is a NULL pointer.

    `aliases[i]` is the output row that input row i shares its storage with, or −1.
    """

    n_rows: int
    in_rows: tuple[bytes | None, ...]
    out_bytes: tuple[int, ...]
    scratch_bytes: int
    aliases: tuple[int, ...] = ()


def _scalars(packed: PackedKernel) -> bytes:
    values: list[int] = []
    for _, value in packed.scalars:
        values += value if isinstance(value, tuple) else [value]
    return struct.pack(f"<{len(values)}i", *values)


def call(
    variant: KernelVariant, packed: PackedKernel, rounding: Rounding, case: Call, offset: int = 0
) -> tuple[bytes, ...]:
    """The output rows of one kernel call, every row `offset` bytes off 16-byte alignment."""
    scalars = _scalars(packed)
    aliases = case.aliases or (-1,) * len(case.in_rows)
    parts = [
        variant.function.encode().ljust(64, b"\0"),
        struct.pack(
            "<7i", offset, case.n_rows, case.scratch_bytes, len(scalars), len(packed.arrays), len(case.in_rows),
            len(case.out_bytes),
        ),
        scalars,
    ]  # fmt: skip
    for array in packed.arrays:
        data = np.ascontiguousarray(array.data).tobytes()
        parts += [struct.pack("<i", len(data)), data]
    parts += [struct.pack("<i", count) for count in case.out_bytes]
    for row, alias in zip(case.in_rows, aliases, strict=True):
        parts += [struct.pack("<2i", -1 if row is None else len(row), alias), row or b""]
    answer = driver(variant.header, rounding).call(b"".join(parts), sum(case.out_bytes))
    ends = list(itertools.accumulate(case.out_bytes, initial=0))
    return tuple(answer[a:b] for a, b in itertools.pairwise(ends))


@cache
def _members(header: str, params_type: str) -> tuple[Member, ...]:
    return struct_members((KERNEL_DIRECTORY / header).read_text(), params_type)


def _check_layout(variant: KernelVariant, packed: PackedKernel) -> None:
    """Scalars in struct order, then arrays in struct order; only arrays at the end may be absent."""
    members = [(m.name, m.is_pointer) for m in _members(variant.header, packed.params_type)]
    given = [(name, False) for name, _ in packed.scalars] + [(a.field, True) for a in packed.arrays]
    assert members[: len(given)] == given, f"{packed.params_type}: packed {given}, declared {members}"
    assert all(is_pointer for _, is_pointer in members[len(given) :]), f"{packed.params_type} lacks members"


def rows_of(array: Array) -> list[bytes]:
    """The rows of a tensor's value, as the kernels get them."""
    rows = row_count(array.shape)
    return [r.tobytes() for r in np.ascontiguousarray(array).reshape(rows, -1)]


def _span_rows(variant: KernelVariant, tensor: Tensor, rows: list[bytes], span: RowSpan) -> list[bytes | None]:
    padding: bytes | None = None
    if variant.needs_zero_row:
        zero_point = tensor.quantization.tensor_zero_point
        padding = np.full(len(rows[0]) // tensor.dtype.itemsize, zero_point, tensor.dtype.numpy).tobytes()
    return [rows[i] if 0 <= i < len(rows) else padding for i in range(span.start, span.stop)]


def run(
    variant: KernelVariant,
    op: Op,
    graph: QuantGraph,
    values: Arrays,
    *,
    rows_per_call: int | None = None,
    offset: int = 0,
    in_place: int | None = None,
) -> dict[str, Array]:
    """All outputs of `op` by `variant`, called for `rows_per_call` rows at a time (default: the variant's own choice).

    `in_place` is the input whose rows the output rows overwrite.
    """
    assert variant.supports(op, graph), f"{variant.name} does not support {op}"
    packed = variant.pack(op, graph, graph.rounding)
    _check_layout(variant, packed)
    outputs = [graph.tensors[n] for n in op.outputs]
    heights = [row_count(t.shape) for t in outputs]
    step = heights[0] if variant.whole_input else (rows_per_call or variant.rows_per_step(op, graph))
    stored = {n: rows_of(v) for n, v in values.items()}
    windows = row_windows(op, graph, variant)
    done: list[list[bytes]] = [[] for _ in outputs]
    for first in range(0, heights[0], step):
        count = min(step, heights[0] - first)
        ins: list[bytes | None] = []
        aliases: list[int] = []
        for window in windows:
            tensor = graph.tensors[window.tensor]
            span = window.span(first, count, row_count(tensor.shape))
            found = _span_rows(variant, tensor, stored[window.tensor], span)
            ins += found
            aliases += list(range(len(found))) if window.index == in_place else [-1] * len(found)
        counts = [count if i == 0 else h for i, h in enumerate(heights)]
        out_bytes = [t.bytes // h for t, h, n in zip(outputs, heights, counts, strict=True) for _ in range(n)]
        scratch = variant.scratch_bytes(op, graph, count)
        case = Call(count, tuple(ins), tuple(out_bytes), scratch, tuple(aliases))
        rows = iter(call(variant, packed, graph.rounding, case, offset))
        for i, n in enumerate(counts):
            done[i] += itertools.islice(rows, n)
    return {
        t.name: np.frombuffer(b"".join(rows), t.dtype.numpy).reshape(t.shape)
        for t, rows in zip(outputs, done, strict=True)
    }


def quantized(name: str, shape: tuple[int, ...], scale: float, zero_point: int, dtype: DType = DType.INT8) -> Tensor:
    """An activation with per-tensor parameters."""
    return Tensor(name, shape, dtype, QParams.per_tensor(scale, zero_point))


def constant(name: str, data: Array, scale: Any = 1.0, zero_point: int = 0, axis: int | None = None) -> Tensor:
    """A quantized constant; several scales need an axis."""
    scales = tuple(np.atleast_1d(scale).tolist())
    qparams = QParams(scales, (zero_point,) * len(scales), axis)
    return Tensor(name, data.shape, DType(str(data.dtype)), qparams, data, source=f"model/{name}")


def one_op_graph(op: Op, tensors: list[Tensor], outputs: list[QParams | Tensor], rounding: Rounding) -> QuantGraph:
    """A graph of `op` alone: its inputs are the graph's; output shapes are inferred.

    `outputs` gives the parameters of int8 outputs, or whole tensors.
    """
    pool = {t.name: t for t in tensors}
    for name, shape, given in zip(op.outputs, infer(op, pool), outputs, strict=True):
        pool[name] = given if isinstance(given, Tensor) else Tensor(name, shape, DType.INT8, given)
    inputs = tuple(GraphInput(n) for n in dict.fromkeys(op.inputs) if not pool[n].is_constant)
    return to_quant_graph(Graph("case", inputs, op.outputs, pool, (op,)), rounding)


def fill(rng: np.random.Generator, tensor: Tensor, kind: str = "random") -> Array:
    """A value for an activation: 'random' over its type's range, or 'lowest', 'highest', 'zero_point'."""
    low, high = (int(np.iinfo(tensor.dtype.numpy).min), int(np.iinfo(tensor.dtype.numpy).max))
    if kind == "random":
        return rng.integers(low, high + 1, tensor.shape).astype(tensor.dtype.numpy)
    value = {"lowest": low, "highest": high, "zero_point": tensor.quantization.tensor_zero_point}[kind]
    return np.full(tensor.shape, value, tensor.dtype.numpy)


FILLS = ("random", "lowest", "highest", "zero_point")


def check(
    variant: KernelVariant,
    graph: QuantGraph,
    rng: np.random.Generator,
    fills: tuple[str, ...] = FILLS,
) -> None:
    """Asserts that `variant` computes the bytes of `execute.reference` for the graph's one operator.

    For each fill of the inputs: any number of rows per call, rows off alignment, and in place where the variant may.
    """
    (op,) = graph.ops
    for kind in fills:
        values = {n: fill(rng, graph.tensors[n], kind) for n in graph.input_names}
        expected = reference.run(graph, values).outputs
        height = row_count(graph.tensors[op.outputs[0]].shape)
        offsets = (0,) if variant.row_alignment > 1 else (0, int(rng.integers(1, 4)))
        for offset in offsets:
            rows = int(rng.integers(1, height + 1))
            _equal(run(variant, op, graph, values, rows_per_call=rows, offset=offset), expected, variant, kind, rows)
        for index in variant.in_place:
            if _may_be_in_place(op, graph, index):
                _equal(run(variant, op, graph, values, in_place=index), expected, variant, f"{kind} in place", 1)


def _may_be_in_place(op: Op, graph: QuantGraph, index: int) -> bool:
    if index >= len(op.inputs) or graph.tensors[op.inputs[index]].is_constant or len(set(op.inputs)) < len(op.inputs):
        return False
    x, y = graph.tensors[op.inputs[index]], graph.tensors[op.outputs[0]]
    return x.bytes == y.bytes and row_count(x.shape) == row_count(y.shape)


def _equal(got: Arrays, expected: Arrays, variant: KernelVariant, kind: str, rows: int) -> None:
    for name, value in got.items():
        np.testing.assert_array_equal(
            value, expected[name], err_msg=f"{variant.name}, {kind} input, {rows} rows per call, output {name}"
        )


def conv_graph(
    rng: np.random.Generator,
    *,
    shape: tuple[int, int, int] = (6, 7, 5),
    out_channels: int = 4,
    kernel: o.Pair = (3, 3),
    stride: o.Pair = (1, 1),
    dilation: o.Pair = (1, 1),
    padding: o.Padding = (0, 0, 0, 0),
    groups: int = 1,
    activation: o.Activation = o.NO_ACTIVATION,
    per_channel: bool = True,
    extreme: bool = False,
    rounding: Rounding = Rounding.DOUBLE,
) -> QuantGraph:
    """A one-Conv2D graph with random weights (or all −127 and 127), scales and zero points."""
    weights = _weights(rng, (out_channels, *kernel, shape[2] // groups), extreme)
    op = o.Conv2D(
        name="conv", inputs=("x",), outputs=("y",), weights="w", bias="b", stride=stride, dilation=dilation,
        padding=padding, groups=groups, activation=activation,
    )  # fmt: skip
    return weighted_graph(rng, op, shape, weights, 0, out_channels, per_channel, rounding)


def depthwise_graph(
    rng: np.random.Generator,
    *,
    shape: tuple[int, int, int] = (6, 7, 5),
    multiplier: int = 1,
    kernel: o.Pair = (3, 3),
    stride: o.Pair = (1, 1),
    dilation: o.Pair = (1, 1),
    padding: o.Padding = (0, 0, 0, 0),
    activation: o.Activation = o.NO_ACTIVATION,
    per_channel: bool = True,
    extreme: bool = False,
    rounding: Rounding = Rounding.DOUBLE,
) -> QuantGraph:
    """A one-DepthwiseConv2D graph with random weights, scales and zero points."""
    channels = shape[2] * multiplier
    op = o.DepthwiseConv2D(
        name="dw", inputs=("x",), outputs=("y",), weights="w", bias="b", multiplier=multiplier, stride=stride,
        dilation=dilation, padding=padding, activation=activation,
    )  # fmt: skip
    weights = _weights(rng, (*kernel, channels), extreme)
    return weighted_graph(rng, op, shape, weights, 2, channels, per_channel, rounding)


def fully_connected_graph(
    rng: np.random.Generator,
    *,
    shape: tuple[int, ...] = (16,),
    outputs: int = 5,
    activation: o.Activation = o.NO_ACTIVATION,
    per_channel: bool = False,
    extreme: bool = False,
    rounding: Rounding = Rounding.DOUBLE,
) -> QuantGraph:
    """A one-FullyConnected graph with random weights, scales and zero points."""
    op = o.FullyConnected(name="fc", inputs=("x",), outputs=("y",), weights="w", bias="b", activation=activation)
    weights = _weights(rng, (outputs, shape[-1]), extreme)
    return weighted_graph(rng, op, shape, weights, 0, outputs, per_channel, rounding)


def _weights(rng: np.random.Generator, shape: tuple[int, ...], extreme: bool) -> Array:
    return (rng.choice([-127, 127], shape) if extreme else rng.integers(-127, 128, shape)).astype(np.int8)


def weighted_graph(
    rng: np.random.Generator,
    op: Op,
    shape: tuple[int, ...],
    weights: Array,
    axis: int,
    channels: int,
    per_channel: bool,
    rounding: Rounding,
) -> QuantGraph:
    """A graph of one operator with weights "w" and bias "b"; its output scale leaves about two thirds unclamped."""
    scales = rng.uniform(0.002, 0.02, channels if per_channel else 1)
    bias = rng.integers(-4000, 4000, channels).astype(np.int32)
    taps = weights.size // channels
    input_scale = float(rng.uniform(0.01, 0.1))
    output_scale = input_scale * float(scales.mean()) * 74 * 74 * float(np.sqrt(taps)) / 100
    tensors = [
        quantized("x", shape, input_scale, int(rng.integers(-128, 128))),
        constant("w", weights, scales, axis=axis if per_channel else None),
        constant("b", bias, input_scale * scales, axis=0 if per_channel else None),
    ]
    return one_op_graph(op, tensors, [QParams.per_tensor(output_scale, int(rng.integers(-128, 128)))], rounding)
