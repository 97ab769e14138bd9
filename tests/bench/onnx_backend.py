"""onnx.backend.test's node tests through our importer and float executor; prints how many pass, are refused, or fail.

Run as `python -m tests.bench.onnx_backend [--verbose]`. A test whose leading dimension is no batch of 1 is run row by
row where its operands allow that. Exit status 1 when a test computes other values or dies without a coded error.
"""

from __future__ import annotations

import collections
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tests.oracle.onnx_oracle import as_input
from tinycompress.errors import ModelError
from tinycompress.execute import float_reference
from tinycompress.frontends.onnx_model import import_onnx
from tinycompress.frontends.onnx_ops import HANDLERS
from tinycompress.ir.graph import Graph, QuantGraph
from tinycompress.ir.inputs import to_source_layout

Case = tuple[str, onnx.ModelProto, list[Any], list[Any]]

OUTCOMES = ("passed", "refused", "wrong", "died")

ELEMENTWISE = frozenset(
    (
        *("Abs", "Add", "Clip", "Div", "Elu", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu"),
        *("Log", "Max", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow", "Relu", "Sigmoid", "Softplus", "Sqrt", "Sub"),
        *("Sum", "Swish", "Tanh"),
    )
)
"""Operators whose tests mean the same with a batch axis put in front."""


def node_cases() -> Iterator[Case]:
    """(name, model, inputs, outputs) of every node test with tensor operands."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        for case in load_model_tests(kind="node"):
            if case.model is None or not case.data_sets:
                continue
            inputs, outputs = case.data_sets[0]
            if all(isinstance(v, np.ndarray) for v in (*inputs, *outputs)):
                yield case.name, case.model, list(inputs), list(outputs)


def outcome(model: onnx.ModelProto, inputs: list[Any], outputs: list[Any]) -> tuple[str, str]:
    """(one of OUTCOMES, why)."""
    with_constants, activations = _constants_inside(model, inputs)
    if model.graph.node[0].op_type in ELEMENTWISE and len(model.graph.node) == 1:
        with_constants, activations = _wrapped(with_constants, activations)
        outputs = [v[np.newaxis] for v in outputs]
    error = ""
    for rows in (False, True):
        try:
            prepared = _per_row(with_constants, activations, outputs) if rows else with_constants
            if prepared is None:
                continue
            graph = import_onnx(prepared.SerializeToString(), "node")
            if isinstance(graph, QuantGraph):
                return "refused", "a quantized graph without float neighbours"
            return _compared(graph, activations, outputs, rows)
        except ModelError as refusal:
            error = error or f"{refusal.code}: {refusal.what}"
        except Exception as surprise:
            return "died", f"{type(surprise).__name__}: {surprise}"
    return "refused", error


def _constants_inside(model: onnx.ModelProto, inputs: list[Any]) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Node tests feed weights as inputs; all but the first float operand become initializers, as in a network."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.input[:]
    activations: dict[str, Any] = {}
    joins = copy.graph.node[0].op_type in ("Add", "Sub", "Mul", "Concat", "Max", "Min", "Sum")
    for value, data in zip(model.graph.input, inputs, strict=False):
        is_first = not activations or (joins and data.shape == next(iter(activations.values())).shape)
        if is_first and data.dtype == np.float32 and data.ndim:
            activations[value.name] = data
            copy.graph.input.append(value)
        else:
            copy.graph.initializer.append(numpy_helper.from_array(data, value.name))
    return copy, activations


def _wrapped(model: onnx.ModelProto, activations: dict[str, Any]) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The same model with a batch axis of 1 in front of every activation."""
    for value in model.graph.input:
        shape = value.type.tensor_type.shape
        sizes = [1, *(d.dim_value for d in shape.dim)]
        del shape.dim[:]
        for size in sizes:
            shape.dim.add().dim_value = size
    return model, {name: data[np.newaxis] for name, data in activations.items()}


def _per_row(model: onnx.ModelProto, activations: dict[str, Any], outputs: list[Any]) -> onnx.ModelProto | None:
    """The same model for one row of every activation; None when rows cannot be told apart."""
    count = {a.shape[0] for a in (*activations.values(), *outputs) if a.ndim}
    if len(count) != 1 or count == {1} or any(a.ndim < 2 for a in activations.values()):
        return None
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return copy


def _compared(graph: Graph, activations: dict[str, Any], outputs: list[Any], rows: bool) -> tuple[str, str]:
    names = dict(zip(graph.input_names, activations.values(), strict=True))
    if not rows and any(len(v) != 1 for v in names.values()):
        return _compared_in_time(graph, names, outputs)
    count = len(next(iter(names.values()))) if rows else 1
    for row in range(count):
        sample = {n: as_input(graph, n, v[row]).astype(np.float32) for n, v in names.items()}
        result = float_reference.run(graph, sample).outputs
        for name, expected in zip(graph.outputs, outputs, strict=True):
            wanted = expected[row] if rows else expected[0]
            found = to_source_layout(result[name][np.newaxis], graph.output_layout(name))[0]
            if not _equal(found, wanted.astype(np.float32)):
                return "wrong", f"output {name}"
    return "passed", ""


def _compared_in_time(graph: Graph, names: dict[str, Any], outputs: list[Any]) -> tuple[str, str]:
    """Of a recurrent layer, whose sequences and states have their batch of 1 elsewhere."""
    sample = {n: v.reshape(graph.tensors[n].shape).astype(np.float32) for n, v in names.items()}
    result = float_reference.run(graph, sample).outputs
    for name, expected in zip(graph.outputs, outputs, strict=True):
        found = to_source_layout(result[name][np.newaxis], graph.output_layout(name))
        if not _equal(found.squeeze(), expected.squeeze().astype(np.float32)):
            return "wrong", f"output {name}"
    return "passed", ""


def _equal(value: Any, wanted: Any) -> bool:
    return value.shape == wanted.shape and np.allclose(value, wanted, rtol=1e-3, atol=1e-4, equal_nan=True)


def main(arguments: list[str]) -> int:
    """Prints a row per operator and the totals."""
    table: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    notes = []
    for name, model, inputs, outputs in node_cases():
        kind = model.graph.node[0].op_type if len(model.graph.node) == 1 else "(several nodes)"
        result, why = outcome(model, inputs, outputs)
        table[kind][result] += 1
        if result in ("wrong", "died") or ("--verbose" in arguments and kind in HANDLERS and result == "refused"):
            notes.append(f"{result}: {name}: {why[:160]}")
    print(f"{'operator':24}" + "".join(f"{o:>9}" for o in OUTCOMES))
    known = {k: c for k, c in sorted(table.items()) if k in HANDLERS}
    for kind, counts in known.items():
        print(f"{kind:24}" + "".join(f"{counts[o]:9}" for o in OUTCOMES))
    others = sum((c for k, c in table.items() if k not in HANDLERS), collections.Counter())
    totals = sum(table.values(), collections.Counter())
    print(f"{'other operators':24}" + "".join(f"{others[o]:9}" for o in OUTCOMES))
    print(f"{'all':24}" + "".join(f"{totals[o]:9}" for o in OUTCOMES))
    print("\n".join(notes))
    return int(totals["wrong"] + totals["died"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
