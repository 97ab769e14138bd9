"""Test images of kernels: one C program that runs every case, compares bytes and guard bytes, and counts instructions.

It is built for a bare Cortex-M7 by either toolchain and runs under QEMU, so the assembly is what is tested; the C twins
are tested on the host by `harness`.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinycompress import assets
from tinycompress.build.toolchain import zig_command
from tinycompress.cost.variants import rows_of_call
from tinycompress.emit.params import struct_members
from tinycompress.emit.render import kernel_closure
from tinycompress.execute import reference
from tinycompress.ir import ops as o
from tinycompress.ir.graph import GraphInput, QuantGraph, Rounding
from tinycompress.ir.shapes import infer, row_count, row_elements
from tinycompress.ir.tensor import Array, DType, QParams, Tensor
from tinycompress.kernels.catalogue import KernelVariant
from tinycompress.plan.rows import RowWindow, row_windows

BARE = Path(__file__).parent / "bare"
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror")
RUN_TIMEOUT_S = 300


@dataclass(frozen=True)
class Case:
    """One operator on one set of inputs, to be run by one kernel variant."""

    name: str
    variant: KernelVariant
    graph: QuantGraph
    inputs: Mapping[str, Array]

    @property
    def op(self) -> o.Op:
        return self.graph.ops[0]


@dataclass(frozen=True)
class Outcome:
    """What the image printed for a case: whether all bytes and guards were right, and ticks of the 25 MHz timer."""

    is_exact: bool
    instructions: int


def activation(name: str, shape: tuple[int, ...], scale: float, zero_point: int) -> Tensor:
    return Tensor(name, shape, DType.INT8, QParams.per_tensor(scale, zero_point))


def single_op(op: o.Op, tensors: Sequence[Tensor], y: QParams, rounding: Rounding = Rounding.DOUBLE) -> QuantGraph:
    """A graph of one operator; its output's shape is inferred."""
    table = {t.name: t for t in tensors}
    (shape,) = infer(op, table)
    table[op.output] = Tensor(op.output, shape, DType.INT8, y)
    inputs = tuple(GraphInput(n) for n in dict.fromkeys(op.inputs) if not table[n].is_constant)
    return QuantGraph("case", inputs, (op.output,), table, (op,), rounding=rounding)


def program(cases: Sequence[Case]) -> str:
    """The C source of the image."""
    headers = dict.fromkeys(case.variant.header for case in cases)
    parts = ['#include "bare.h"', *(f'#include "{h}"' for h in headers), "#include <stddef.h>", _RUNTIME]
    parts += [_case(i, case) for i, case in enumerate(cases)]
    rows = ",\n    ".join(f'{{"{case.name}", case_{i}}}' for i, case in enumerate(cases))
    return "\n".join([*parts, _MAIN.replace("@CASES@", rows)])


_RUNTIME = """
#define GUARD 16
static int8_t output[1 << 17];
static int64_t scratch[1 << 12];
static const int8_t *in_rows[512];
static int8_t *out_rows[512];

static int check(const int8_t *expected, int32_t count, int32_t scratch_bytes)
{
    int good = 1;
    const int8_t *work = (const int8_t *)scratch;
    for (int32_t i = 0; i < GUARD; i++) {
        good &= output[i] == 0x55 && output[GUARD + count + i] == 0x55 && work[scratch_bytes + i] == 0x55;
    }
    for (int32_t i = 0; i < count; i++) {
        good &= output[GUARD + i] == expected[i];
    }
    return good;
}
"""

_MAIN = """
typedef struct {
    const char *name;
    int (*run)(uint32_t *);
} test_case;

static const test_case cases[] = {
    @CASES@};

int main(void)
{
    int bad = 0;
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t ticks = 0;
        int8_t *work = (int8_t *)scratch;
        for (uint32_t j = 0; j < sizeof output; j++) {
            output[j] = 0x55;
        }
        for (uint32_t j = 0; j < sizeof scratch; j++) {
            work[j] = 0x55;
        }
        int good = cases[i].run(&ticks);
        bad |= !good;
        bare_print(cases[i].name);
        bare_print(good ? " exact " : " WRONG ");
        bare_print_number(ticks);
        bare_print("\\n");
    }
    return bad;
}
"""


def _array(name: str, data: Array, alignment: int) -> str:
    values = np.asarray(data).ravel()
    text = ", ".join("(-2147483647 - 1)" if v == -(2**31) else str(v) for v in values.tolist())
    kind = f"{values.dtype.name}_t"
    return (
        f"static const {kind} {name}[{max(1, values.size)}] __attribute__((aligned({alignment}))) = {{{text or '0'}}};"
    )


def _bytes_array(name: str, data: Array) -> str:
    """A tensor as the bytes a kernel sees, little-endian here and on the target."""
    return _array(name, np.ascontiguousarray(data).view(np.int8), 4)


def _row_bytes(tensor: Tensor) -> int:
    return row_elements(tensor.shape) * tensor.dtype.itemsize


def _case(index: int, case: Case) -> str:
    op, graph, variant = case.op, case.graph, case.variant
    packed = variant.pack(op, graph, graph.rounding)
    outputs = reference.run(graph, case.inputs).outputs
    expected = np.concatenate([np.ascontiguousarray(outputs[n]).reshape(-1).view(np.int8) for n in op.outputs])
    lines = [_array(f"c{index}_{a.field}", a.data, a.alignment) for a in packed.arrays]
    members = [str(v) if not isinstance(v, tuple) else "{" + ", ".join(map(str, v)) + "}" for _, v in packed.scalars]
    members += [f"c{index}_{a.field}" for a in packed.arrays]
    declarations = "\n".join(kernel_closure({variant.header}).values())
    members += ["NULL"] * (len(struct_members(declarations, packed.params_type)) - len(members))
    lines.append(f"static const {packed.params_type} c{index}_params = {{{', '.join(members)}}};")
    lines.append(_bytes_array(f"c{index}_expected", expected))
    for k, name in enumerate(op.inputs):
        if not graph.tensors[name].is_constant:
            lines.append(_bytes_array(f"c{index}_in{k}", case.inputs[name]))
    if variant.needs_zero_row:
        x = graph.tensors[op.inputs[0]]
        zeros = np.full(row_elements(x.shape), x.quantization.tensor_zero_point, np.int8)
        lines.append(_array(f"c{index}_zero", zeros, 4))
    lines.append(_function(index, case))
    return "\n".join(lines)


def _function(index: int, case: Case) -> str:
    op, graph, variant = case.op, case.graph, case.variant
    y = graph.tensors[op.outputs[0]]
    height, bytes_ = row_count(y.shape), _row_bytes(y)
    kept, size = _kept_rows(op, graph)
    step = rows_of_call(variant, op, graph, at_once=True)
    scratch = variant.scratch_bytes(op, graph, step)
    padding = f"c{index}_zero" if variant.needs_zero_row else "NULL"
    rows = "\n        ".join(_rows(index, window, graph, padding) for window in row_windows(op, graph, variant))
    return f"""
static int case_{index}(uint32_t *ticks)
{{
    uint32_t begin = bare_ticks();
    for (int32_t first = 0; first < {height}; first += {step}) {{
        const int32_t rows = {height} - first < {step} ? {height} - first : {step};
        int32_t n = rows;
        int32_t n_in = 0;
        {rows}
        for (int32_t r = 0; r < n; r++) {{
            out_rows[r] = output + GUARD + (first + r) * {bytes_};
        }}
        {kept}
        {variant.function}(&c{index}_params, in_rows, out_rows, rows, scratch);
    }}
    *ticks = bare_ticks() - begin;
    return check(c{index}_expected, {size}, {scratch});
}}"""


def _kept_rows(op: o.Op, graph: QuantGraph) -> tuple[str, int]:
    """C that appends the rows of all outputs but the first, which follow it; and the bytes of all outputs."""
    first, *kept = (graph.tensors[n] for n in op.outputs)
    places, size = [], first.bytes
    for tensor in kept:
        places += [size + r * _row_bytes(tensor) for r in range(row_count(tensor.shape))]
        size += tensor.bytes
    return " ".join(f"out_rows[n++] = output + GUARD + {place};" for place in places), size


def _rows(index: int, window: RowWindow, graph: QuantGraph, padding: str) -> str:
    x = graph.tensors[window.tensor]
    source, height, width = f"c{index}_in{window.index}", row_count(x.shape), _row_bytes(x)
    if window.whole or window.shared:
        first, count = "0", str(height if window.whole else 1)
    else:
        first, count = f"first * {window.stride} + ({window.offset})", f"(n - 1) * {window.stride} + {window.reach}"
    return f"""for (int32_t r = {first}, left = {count}; left > 0; r++, left--) {{
            in_rows[n_in++] = r >= 0 && r < {height} ? {source} + r * {width} : {padding};
        }}"""


def _commands(toolchain: str, source: Path, target: Path) -> list[str]:
    kernels = assets.directory("codegen") / "kernels"
    includes = [f"-I{kernels}", f"-I{BARE}"]
    bare = [
        "-O2",
        "-ffreestanding",
        "-fno-builtin-memset",
        "-fno-builtin-memcpy",
        "-nostdlib",
        f"-Wl,-T,{BARE / 'link.ld'}",
    ]
    sources = [str(source), str(BARE / "boot.c"), "-o", str(target)]
    if toolchain == "gcc":
        cpu = ["-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16", "-Wl,--no-warn-rwx-segments"]
        return ["arm-none-eabi-gcc", *cpu, *WARNINGS, *bare, *includes, *sources, "-lgcc"]
    cpu = ["-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m7+fp_armv8d16sp"]
    return [*zig_command(), *cpu, *WARNINGS, *bare, *includes, *sources]


def missing_tool(toolchain: str) -> str | None:
    """Why images of `toolchain` ('gcc', 'zig') can't be built and run here, or None."""
    if shutil.which("qemu-system-arm") is None:
        return "no qemu-system-arm on the path"
    if toolchain == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        return "no arm-none-eabi-gcc on the path"
    return None


def build(cases: Sequence[Case], toolchain: str, directory: Path) -> Path:
    """Compile and link the image of `cases`; AssertionError with the compiler's words when it does not."""
    source, target = directory / "cases.c", directory / f"cases_{toolchain}"
    source.write_text(program(cases), encoding="utf-8")
    done = subprocess.run(_commands(toolchain, source, target), capture_output=True, text=True, timeout=RUN_TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr[-6000:]
    return target


def run(image: Path) -> dict[str, Outcome]:
    """Run an image under QEMU, counting instructions. Outcomes by case name."""
    machine = ["qemu-system-arm", "-M", "mps2-an500", "-display", "none", "-monitor", "none", "-nodefaults"]
    options = ["-nic", "none", "-icount", "shift=6", "-semihosting-config", "enable=on,target=native"]
    command = [*machine, *options, "-kernel", str(image)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_TIMEOUT_S)
    lines = [line.split() for line in (done.stdout + done.stderr).splitlines() if line.count(" ") == 2]
    found = {name: Outcome(word == "exact", int(int(ticks) / 1.6)) for name, word, ticks in lines if ticks.isdigit()}
    assert found, done.stdout[-3000:] + done.stderr[-3000:]
    return found
