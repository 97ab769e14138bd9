"""The README's table: each operator against the foreign oracles, as this command finds it.

`python -m tests.bench.operators` prints the table, `--write` puts it into README.md, `--check` exits 1 when README.md
has another one. `--litert` prints how often LiteRT's default delegate gives our bytes under `single` rounding. `--deep`
compares many more values with TFLM, as an error in the last bit of a multiplier shows in few of a million: exit status
1 when a byte differs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.oracle.onnx_oracle import channels_first, float_twin, run_onnx, to_user
from tests.oracle.random_graphs import NOT_IN_ONNX, NOT_IN_QDQ, NOT_IN_TFLITE, STEPS, random_graph
from tests.oracle.tflm_oracle import Tflm, differing_bytes, inputs_for
from tests.oracle.wide_graphs import WIDE_STEPS, wide_graph
from tinycompress.execute import float_reference, reference
from tinycompress.export import to_onnx, to_tflite
from tinycompress.ir import ops as o
from tinycompress.ir.fixedpoint import dequantize_values
from tinycompress.ir.graph import QuantGraph, Rounding
from tinycompress.ir.tensor import Array

GRAPHS = 20
SAMPLES = 4
DEEP_GRAPHS, DEEP_SAMPLES, DEEP_STEPS = 200, 1000, 100

README = Path(__file__).resolve().parents[2] / "README.md"
START, END = "<!-- operators", "<!-- /operators -->"

HEADER = (
    "| operator | int8, `tflite-micro` | int16, `tflite-micro` | int8 QDQ, `onnxruntime` | float, `onnxruntime` |",
    "| --- | --- | --- | --- | --- |",
)
FOOTER = (
    f"Over {GRAPHS} random graphs of that one operator, {SAMPLES} inputs each: *exact* is every byte, *±1* a largest\n"
    "difference of one unit of the output's scale, *1e-5* a largest difference relative to the output's range. ONNX\n"
    "requantizes in float, so ±1 is what its standard leaves open. A dash: no such operator on that side."
)


def graphs(
    kind: str, count: int = GRAPHS, grow: Callable[[int, tuple[str, ...], int], QuantGraph] = random_graph
) -> Iterator[QuantGraph]:
    """The first `count` seeds that grow a graph of that one operator."""
    seed = found = 0
    while found < count and seed < 10 * count:
        graph = grow(seed, (kind,), 1)
        seed += 1
        if graph.ops:
            found += 1
            yield graph


def against_tflm(kind: str) -> str:
    """`exact`, or how many bytes differ."""
    return "–" if kind in NOT_IN_TFLITE else _tflm(graphs(kind))


def against_tflm_wide(kind: str) -> str:
    """As `against_tflm`, of int16 activations; a dash where there is no int16 form."""
    return _tflm(graphs(kind, grow=wide_graph)) if kind in WIDE_STEPS else "–"


def _tflm(made: Iterator[QuantGraph]) -> str:
    _, wrong = compare_tflm(made, SAMPLES)
    return "exact" if wrong == 0 else f"{wrong} bytes differ"


def compare_tflm(made: Iterator[QuantGraph], samples: int) -> tuple[int, int]:
    """(values compared, bytes that differ) over `samples` inputs of each graph; state carries on between them."""
    values = wrong = 0
    for graph in made:
        oracle = Tflm(to_tflite(graph))
        noise = {name: inputs_for(graph, name, samples + 4, 11)[4:] for name in graph.input_names}
        found = _outputs(graph, noise, samples)
        for i in range(samples):
            for name, expected in zip(graph.outputs, oracle.run([v[i] for v in noise.values()]), strict=True):
                values += expected.size
                wrong += differing_bytes(expected, found[name][i])
    return values, wrong


def _outputs(graph: QuantGraph, noise: Mapping[str, Array], samples: int) -> dict[str, Array]:
    if not graph.states:
        return dict(reference.run(graph, dict(noise), keep_tensors=False).outputs)
    state, steps = None, []
    for i in range(samples):
        result = reference.run(graph, {name: values[i] for name, values in noise.items()}, state)
        state = result.state
        steps.append(result.outputs)
    return {name: np.stack([step[name] for step in steps]) for name in graph.outputs}


def against_qdq(kind: str) -> str:
    """The largest difference in output units."""
    if kind in NOT_IN_QDQ:
        return "–"
    largest = 0
    for plain in graphs(kind):
        if any(isinstance(op, o.Softmax) and op.beta != 1.0 for op in plain.ops):
            continue
        graph = channels_first(plain)
        assert isinstance(graph, QuantGraph)
        data = to_onnx(graph)
        for i in range(SAMPLES):
            integers = {n: inputs_for(graph, n, SAMPLES + 4, 11)[4 + i] for n in graph.input_names}
            real = {n: to_user(graph, dequantize_values(v, graph.tensors[n].quantization)) for n, v in integers.items()}
            expected = reference.run(graph, integers).outputs
            for name, value in zip(graph.outputs, run_onnx(data, real, optimize=False), strict=True):
                scale, zero = graph.tensors[name].quantization.tensor_scale, graph.tensors[name].quantization
                units = np.rint(value / scale) + zero.tensor_zero_point - to_user(graph, expected[name])
                largest = max(largest, int(np.abs(units).max()))
    return "exact" if largest == 0 else f"±{largest}"


def against_float(kind: str) -> str:
    """The power of ten above the largest difference relative to the output's range."""
    if kind in (*NOT_IN_ONNX, "Quantize"):
        return "–"
    largest = 0.0
    generator = np.random.default_rng(5)
    for plain in graphs(kind):
        graph = channels_first(float_twin(plain))
        real = {n: generator.normal(size=graph.tensors[n].shape).astype(np.float32) for n in graph.input_names}
        expected = float_reference.run(graph, real).outputs
        found = run_onnx(to_onnx(graph), {n: to_user(graph, v) for n, v in real.items()})
        for name, value in zip(graph.outputs, found, strict=True):
            wanted = to_user(graph, expected[name])
            largest = max(largest, float(np.abs(value - wanted).max() / max(float(np.abs(wanted).max()), 1e-6)))
    return next((text for bound, text in ((1e-5, "1e-5"), (1e-4, "1e-4")) if largest <= bound), "worse")


def table() -> str:
    """The table in Markdown, one row per operator in the IR's order."""
    columns: tuple[Callable[[str], str], ...] = (
        against_tflm,
        against_tflm_wide,
        against_qdq,
        against_float,
    )
    rows = []
    for op in o.ALL_OPS:
        if op.__name__ in STEPS:
            rows.append(f"| {op.__name__} | " + " | ".join(column(op.__name__) for column in columns) + " |")
    return "\n".join((*HEADER, *rows, "", FOOTER))


def litert() -> str:
    """Per operator, the share of outputs on which LiteRT's default delegate equals our `single` rounding."""
    from ai_edge_litert.interpreter import Interpreter

    lines = []
    for kind in (kind for kind in STEPS if kind not in NOT_IN_TFLITE):
        equal = total = 0
        for graph in graphs(kind):
            single = replace(graph, rounding=Rounding.SINGLE)
            interpreter = Interpreter(model_content=to_tflite(graph))
            interpreter.allocate_tensors()
            sample = {n: inputs_for(graph, n, 6, 11)[5] for n in graph.input_names}
            for described, value in zip(interpreter.get_input_details(), sample.values(), strict=True):
                interpreter.set_tensor(described["index"], value[np.newaxis])
            interpreter.invoke()
            found = reference.run(single, sample).outputs
            for described, name in zip(interpreter.get_output_details(), graph.outputs, strict=True):
                value = interpreter.get_tensor(described["index"])[0]
                equal += int(np.count_nonzero(value == found[name]))
                total += value.size
        lines.append(f"{kind:18} {equal:6} of {total:6} values equal ({100 * equal / total:.2f} %)")
    return "\n".join(lines)


def deep() -> int:
    """Prints per operator how many values were compared with TFLM's; the number of bytes that differ."""
    total = 0
    for kind in STEPS:
        for bits, steps, grow in ((8, STEPS, random_graph), (16, WIDE_STEPS, wide_graph)):
            if kind in steps and kind not in NOT_IN_TFLITE:
                made = list(graphs(kind, DEEP_GRAPHS, grow))
                samples = DEEP_STEPS if made[0].states else DEEP_SAMPLES
                values, wrong = compare_tflm(iter(made), samples)
                print(
                    f"{kind:18} int{bits:<2} {len(made):4} graphs {values:14,} values {wrong:6} bytes differ",
                    flush=True,
                )
                total += wrong
    return total


def with_table(text: str, new: str) -> str:
    """README's text with the table between its markers replaced."""
    start = text.index("\n", text.index(START)) + 1
    return text[:start] + new + "\n" + text[text.index(END) :]


def main(arguments: list[str]) -> int:
    """See the module's docstring."""
    if "--litert" in arguments:
        print(litert())
        return 0
    if "--deep" in arguments:
        return int(deep() > 0)
    made = table()
    print(made)
    text = README.read_text(encoding="utf-8")
    if "--write" in arguments:
        README.write_text(with_table(text, made), encoding="utf-8")
    return int("--check" in arguments and with_table(text, made) != text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
