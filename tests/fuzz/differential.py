"""Random graphs over all operators: the integer reference, the C here under sanitizers, the C on a Cortex-M7.

    python -m tests.fuzz.differential [--graphs 2000] [--first 0] [--batch 40] [--seconds N] [--wide]

Every graph is planned (layer by layer or streamed, double or single rounding, as its number says), generated, and
compiled twice together with the others of its batch: here, with address and undefined-behaviour sanitizers, and for a
bare Cortex-M7 with its DSP kernels, which QEMU runs. Both print a digest of every row of every tensor of every sample;
they must be those of the reference. One line per batch, the totals at the end; `--seconds` stops after the batch in
which the time is up and names the graph to go on with. Exit status 1 when anything differs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.kernels.dsp_image import BARE, missing_tool
from tests.oracle.random_graphs import STEPS, random_graph
from tests.oracle.tflm_oracle import inputs_for
from tests.oracle.wide_graphs import wide_graph
from tinycompress import assets
from tinycompress.build.host import host_compiler
from tinycompress.build.toolchain import is_zig, zig_command
from tinycompress.emit import Program, generate
from tinycompress.execute import reference
from tinycompress.ir.graph import QuantGraph, Rounding
from tinycompress.ir.shapes import row_count
from tinycompress.plan import plan

Array = NDArray[Any]

SAMPLES = 3
LENGTH = 8
TIMEOUT_S = 600
QEMU = ("qemu-system-arm", "-M", "mps2-an500", "-display", "none", "-monitor", "none", "-nodefaults", "-nic", "none")
SEMIHOSTING = ("-semihosting-config", "enable=on,target=native")

_RUNTIME = """
static uint32_t digests[64];

/* The same polynomial in tests/fuzz/differential.py. */
static uint32_t digest_of(uint32_t row, const void *data, uint32_t bytes)
{
    const uint8_t *at = data;
    uint32_t sum = row * 2654435761u;
    for (uint32_t i = 0; i < bytes; i++) {
        sum = sum * 31u + at[i] + 1u;
    }
    return (sum ^ (sum >> 15)) * 2246822519u;
}

void tc_step_begin(int layer)
{
    (void)layer;
}

void tc_row_done(int tensor, int row, const void *data, uint32_t bytes)
{
    digests[tensor] += digest_of((uint32_t)row, data, bytes);
}

static void finish(uint32_t model, uint32_t sample, uint32_t tensors)
{
    for (uint32_t i = 0; i < tensors; i++) {
        bare_print_number(model);
        bare_print(" ");
        bare_print_number(sample);
        bare_print(" ");
        bare_print_number(i);
        bare_print(" ");
        bare_print_number(digests[i]);
        bare_print("\\n");
        digests[i] = 0;
    }
}
"""

_HOST = """
#include "bare.h"
#include <stdio.h>
void bare_print(const char *text) { fputs(text, stdout); }
void bare_print_number(uint32_t value) { printf("%lu", (unsigned long)value); }
"""


@dataclass(frozen=True)
class Case:
    """A generated graph, its inputs by name `(SAMPLES, …)`, and the digests (sample, tensor) that it must print."""

    seed: int
    program: Program
    inputs: dict[str, Array]
    expected: dict[tuple[int, int], int]


@dataclass(frozen=True)
class Outcome:
    """Of one batch: graphs, operators by kind, digests compared, and what differed on either machine."""

    graphs: int
    kinds: Counter[str]
    digests: int
    differing: tuple[str, ...]


def rounding_of(seed: int) -> Rounding:
    """Every fourth graph rounds once, as LiteRT does."""
    return Rounding.SINGLE if seed % 4 == 3 else Rounding.DOUBLE


def _kinds(seed: int) -> tuple[str, ...]:
    """All operators, beginning with others each time: a graph takes its first ones in turn."""
    return tuple(str(kind) for kind in np.random.default_rng(seed).permutation(sorted(STEPS)))


def _grown(seed: int, is_wide: bool) -> QuantGraph:
    grown = wide_graph(seed, None, LENGTH) if is_wide else random_graph(seed, _kinds(seed), LENGTH)
    return replace(grown, rounding=rounding_of(seed))


def _has_image_constant(graph: QuantGraph) -> bool:
    operands = (graph.tensors[name] for op in graph.ops for name in op.inputs)
    return any(t.is_constant and row_count(t.shape) > 1 for t in operands)


def case_of(seed: int, folder: Path, *, is_wide: bool = False) -> Case | None:
    """The case of a number, of int16 activations where `is_wide`; None where nothing could be grown.

    Nor are int16 graphs whose operand is a constant of several rows, which is refused.
    """
    graph = _grown(seed, is_wide)
    if not graph.ops or (is_wide and _has_image_constant(graph)):
        return None
    made = plan(graph, has_dsp=True, schedule="streamed" if seed % 2 else "layers", state_budget=300)
    program = generate(made, folder / f"g{seed}")
    inputs = {name: inputs_for(graph, name, SAMPLES + 4, seed)[4:] for name in graph.input_names}
    return Case(seed, program, inputs, _expected(program, inputs))


def _expected(program: Program, inputs: dict[str, Array]) -> dict[tuple[int, int], int]:
    """Digests of the reference: traced tensors row by row, then outputs as one row each."""
    graph, names = program.plan.graph, program.plan.trace_tensors
    found: dict[tuple[int, int], int] = {}
    state = None
    for sample in range(SAMPLES):
        result = reference.run(graph, {name: values[sample] for name, values in inputs.items()}, state)
        state = result.state
        for index, name in enumerate(names):
            found[sample, index] = digest(np.asarray(result.tensors[name]), row_count(graph.tensors[name].shape))
        for index, name in enumerate(graph.outputs):
            found[sample, len(names) + index] = digest(np.asarray(result.outputs[name]), 1)
    return found


def digest(values: Array, rows: int) -> int:
    """The C's digest of a tensor of `rows` rows."""
    table = np.ascontiguousarray(values).reshape(rows, -1).view(np.uint8).astype(np.uint32)
    powers = np.full(table.shape[1] + 1, 31, np.uint32)
    powers[0] = 1
    powers = np.cumprod(powers, dtype=np.uint32)
    first = np.arange(rows, dtype=np.uint32) * np.uint32(2654435761) * powers[-1]
    sums = first + ((table + np.uint32(1)) * powers[-2::-1]).sum(axis=1, dtype=np.uint32)
    return int(((sums ^ (sums >> np.uint32(15))) * np.uint32(2246822519)).sum(dtype=np.uint32))


# -- the C of a batch --------------------------------------------------------------------------------------------------


def source_of(cases: Sequence[Case]) -> str:
    """One translation unit of all generated files and a main program that prints the digests."""
    parts = ['#include "bare.h"', '#include "tc_hooks.h"']
    parts += [f'#include "{c.program.directory.name}/{file.name}"' for c in cases for file in c.program.sources]
    parts += [_RUNTIME, *(_function(i, case) for i, case in enumerate(cases))]
    calls = "\n    ".join(f"run_{i}();" for i in range(len(cases)))
    return "\n".join([*parts, f"int main(void)\n{{\n    {calls}\n    return 0;\n}}\n"])


def _function(index: int, case: Case) -> str:
    program, p = case.program, case.program.prefix
    lines = [f"static void run_{index}(void)", "{"]
    for t, values in zip(program.inputs, case.inputs.values(), strict=True):
        numbers = ", ".join(str(v) for v in values.reshape(-1).tolist())
        lines.append(f"    static const {t.c_type} in_{t.member}[{SAMPLES} * {t.elements}] = {{ {numbers} }};")
    lines += [f"    static {t.c_type} out_{t.member}[{t.elements}];" for t in program.outputs]
    lines.append(f"    static _Alignas({program.arena_align}) uint8_t arena[{program.arena_bytes}];")
    if program.state_reset:
        lines += [f"    static {p}_state state;", f"    {program.state_reset}(&state);"]
    outputs = ", ".join(f"out_{t.member}" for t in program.outputs)
    inputs = ", ".join(f"in_{t.member} + i * {t.elements}" for t in program.inputs)
    traced = len(program.plan.trace_tensors)
    state = "&state, " if program.state_reset else ""
    lines += [
        f"    const {p}_outputs out = {{ {outputs} }};",
        f"    for (uint32_t i = 0; i < {SAMPLES}; i++) {{",
        f"        const {p}_inputs in = {{ {inputs} }};",
        "        for (uint32_t k = 0; k < sizeof arena; k++) {",
        "            arena[k] = 0xA5;",
        "        }",
        f"        if ({p}_invoke(&in, &out, {state}arena, sizeof arena) != TC_OK) {{",
        '            bare_print("refused\\n");',
        "        }",
    ]
    for k, t in enumerate(program.outputs):
        lines.append(f"        digests[{traced + k}] = digest_of(0, out_{t.member}, sizeof out_{t.member});")
    lines += [f"        finish({case.seed}, i, {traced + len(program.outputs)});", "    }", "}"]
    return "\n".join(lines)


def _compile(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr[-6000:]


def _includes() -> list[str]:
    return ["-DTC_HOOKS", f"-I{BARE}", f"-I{assets.directory('firmware')}", "-I."]


def run_on_host(folder: Path) -> str:
    """What the batch prints here; AssertionError with the sanitizer's words when one objects."""
    compiler = host_compiler()
    checks = "undefined" if is_zig(compiler) else "address,undefined"
    (folder / "host.c").write_text(_HOST, encoding="utf-8")
    flags = ["-std=c11", "-O0", "-g0", f"-fsanitize={checks}", "-fno-sanitize-recover=all"]
    _compile([*compiler, *flags, *_includes(), "batch.c", "host.c", "-o", "batch_host"], folder)
    done = subprocess.run(["./batch_host"], cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stdout


def run_on_target(folder: Path) -> str:
    """What the batch prints on QEMU's Cortex-M7."""
    cpu = ["-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m7+fp_armv8d16sp", "-std=c11", "-O1"]
    bare = ["-ffreestanding", "-fno-builtin-memset", "-fno-builtin-memcpy", "-nostdlib", f"-Wl,-T,{BARE / 'link.ld'}"]
    sources = ["batch.c", str(BARE / "boot.c"), "-o", "batch_target"]
    _compile([*zig_command(), *cpu, *bare, *_includes(), *sources], folder)
    command = [*QEMU, *SEMIHOSTING, "-kernel", "batch_target"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout + done.stderr


def differences(printed: str, cases: Sequence[Case], machine: str) -> list[str]:
    """Digests that are not the reference's (or were not printed), as sentences."""
    rows = (line.split() for line in printed.splitlines())
    found = {tuple(map(int, row[:3])): int(row[3]) for row in rows if len(row) == 4 and all(map(str.isdigit, row))}
    wrong = []
    for case in cases:
        names = [*case.program.plan.trace_tensors, *(f"output {n}" for n in case.program.plan.graph.outputs)]
        for (sample, tensor), value in case.expected.items():
            if found.get((case.seed, sample, tensor)) != value:
                wrong.append(f"graph {case.seed} sample {sample}: {names[tensor]} differs on the {machine}")
    return wrong


def run_batch(seeds: Sequence[int], folder: Path, *, is_wide: bool = False) -> Outcome:
    """Every graph of the batch on both machines; graphs of one rounding, which is fixed at compile time, together."""
    kinds: Counter[str] = Counter()
    digests = graphs = 0
    wrong: list[str] = []
    for rounding in Rounding:
        work = folder / rounding.value
        work.mkdir(parents=True)
        numbers = (seed for seed in seeds if rounding_of(seed) is rounding)
        cases = [case for seed in numbers if (case := case_of(seed, work, is_wide=is_wide)) is not None]
        if not cases:
            continue
        (work / "batch.c").write_text(source_of(cases), encoding="utf-8")
        wrong += differences(run_on_host(work), cases, "host") + differences(run_on_target(work), cases, "target")
        graphs += len(cases)
        digests += sum(len(c.expected) for c in cases)
        kinds.update(op.kind for c in cases for op in c.program.plan.graph.ops)
    return Outcome(graphs, kinds, digests, tuple(wrong))


def main(arguments: list[str]) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graphs", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first graph")
    parser.add_argument("--batch", type=int, default=40, help="graphs compiled together")
    parser.add_argument("--seconds", type=float, help="stop after the batch in which this time is up")
    parser.add_argument("--wide", action="store_true", help="int16 activations")
    options = parser.parse_args(arguments)
    if (missing := missing_tool("zig")) is not None:
        parser.error(missing)
    began = time.monotonic()
    graphs = digests = 0
    kinds: Counter[str] = Counter()
    wrong: list[str] = []
    last = options.first + options.graphs
    for first in range(options.first, last, options.batch):
        seeds = range(first, min(first + options.batch, last))
        with tempfile.TemporaryDirectory() as folder:
            done = run_batch(seeds, Path(folder), is_wide=options.wide)
        graphs, digests, kinds = graphs + done.graphs, digests + done.digests, kinds + done.kinds
        wrong += done.differing
        took = time.monotonic() - began
        print(f"graphs {seeds[0]} to {seeds[-1]}: {done.digests} tensors, {len(done.differing)} differ, {took:.0f} s")
        print(*done.differing, sep="\n", end="\n" if done.differing else "", flush=True)
        if options.seconds is not None and took > options.seconds and seeds[-1] + 1 < last:
            print(f"go on with --first {seeds[-1] + 1} --graphs {last - seeds[-1] - 1}")
            break
    print(
        f"{graphs} graphs, {kinds.total()} operators of {len(kinds)} kinds, {SAMPLES} samples each: {digests} tensors"
    )
    print(f"compared on two machines, {len(wrong)} differences; reference = C here (sanitized) = C on a Cortex-M7")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
