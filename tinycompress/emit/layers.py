"""Layers of a plan as C: row expressions, pointer slots, parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tinycompress.emit.contexts import LayerContext, RowsContext
from tinycompress.emit.describe import layer_comment
from tinycompress.emit.params import struct_initialisers, struct_members
from tinycompress.plan.model import LayerPlan, Plan
from tinycompress.plan.rows import RowWindow, row_windows, tensor_rows


@dataclass(frozen=True)
class Naming:
    """C names of a generated library, by what they stand for; every one is unique in the file.

    Tensors, functions, parameters, arrays, tables and padding carry the prefix; members of the state struct do not.
    """

    prefix: str
    tensors: Mapping[str, str]
    functions: Mapping[int, str]
    params: Mapping[int, str]
    arrays: Mapping[tuple[int, str], str]
    tables: Mapping[str, str]
    states: Mapping[str, str]
    padding: Mapping[int, str]
    scratch: Mapping[int, str]

    @property
    def macro(self) -> str:
        return self.prefix.upper()


def _affine(factor: int, variable: str, offset: int) -> str:
    """``2 * y - 1`` without the parts that change nothing."""
    if not variable or factor == 0:
        return str(offset)
    text = variable if factor == 1 else f"{factor} * {variable}"
    if offset:
        text += f" {'+' if offset > 0 else '-'} {abs(offset)}"
    return text


class LayerWriter:
    """Builds the contexts of all layers of one plan."""

    def __init__(self, plan: Plan, naming: Naming, headers: Mapping[str, str]) -> None:
        self.plan = plan
        self.naming = naming
        self.declarations = "\n".join(headers.values())
        self.trace = {name: i for i, name in enumerate(plan.trace_tensors)}
        self.is_program = plan.is_interleaved or plan.fed_input is not None

    def context(self, layer: LayerPlan) -> LayerContext:
        """The context of one layer."""
        graph, naming, op = self.plan.graph, self.naming, layer.op
        is_running = layer.accumulator_bytes > 0
        stepped = op.inputs[0] if is_running else op.outputs[0]
        height = tensor_rows(graph.tensors[stepped])
        step = layer.rows_per_step
        is_stepped = step < height
        is_ragged = is_stepped and height % step != 0
        n = "n" if is_ragged else str(step if is_stepped else height)
        y = "y" if is_stepped else ""
        output = naming.tensors[stepped]
        reads, in_slots = self._reads(layer, y, n)
        writes, out_slots = self._writes(layer, y, n)
        uses_state = any(self.plan.placements[w.tensor].in_state for w in row_windows(op, graph, layer.kernel))
        names = {a.field: naming.arrays[layer.index, a.field] for a in layer.packed.arrays}
        members = struct_members(self.declarations, layer.packed.params_type)
        state_type = f"const {naming.prefix}_state *state"
        parts = [("uint8_t *arena", "arena")]
        parts += [(state_type, "state")] if uses_state else []
        parts += [("int32_t y", f"next[{layer.index}]" if self.is_program else "y")] if is_stepped else []
        return LayerContext(
            index=layer.index,
            function=naming.functions[layer.index],
            signature=", ".join(p for p, _ in parts),
            arguments=", ".join(a for _, a in parts),
            comment=layer_comment(layer, graph),
            params_type=layer.packed.params_type,
            params=naming.params[layer.index],
            initialisers=struct_initialisers(members, layer.packed, names),
            kernel=layer.kernel.function,
            in_slots=in_slots,
            out_slots=out_slots,
            rows_expression=f"tc_rows_left(&{output}, y, {step})" if is_ragged else None,
            n_rows=n,
            is_stepped=is_stepped,
            output=output,
            step=step,
            advance="++y" if step == 1 else f"y += {step}",
            reads=reads,
            writes=writes,
            scratch=f"arena + {naming.scratch[layer.index]}" if layer.index in naming.scratch else "NULL",
            accumulator_bytes=layer.accumulator_bytes,
            last_row=f"{_affine(1, y, 0)} + {n} == {output}.rows" if is_stepped else "1",
        )

    def _reads(self, layer: LayerPlan, y: str, n: str) -> tuple[tuple[RowsContext, ...], int]:
        contexts = []
        used, most = "", 0
        for window in row_windows(layer.op, self.plan.graph, layer.kernel):
            count, largest = self._count(window, layer, n)
            slots = f"in + {used}" if used else "in"
            contexts.append(self._read(window, layer, slots, y, count))
            used = f"{used} + {count}" if used else count
            most += largest
        return tuple(contexts), most

    def _count(self, window: RowWindow, layer: LayerPlan, n: str) -> tuple[str, int]:
        """(expression of the number of rows in one step, its largest value)."""
        height = tensor_rows(self.plan.graph.tensors[window.tensor])
        if window.whole or window.shared:
            return ("1", 1) if window.shared else (str(height), height)
        rows = layer.rows_per_step
        span = window.span(0, rows, height)
        largest = span.stop - span.start
        if n == "n":
            return _affine(window.stride, "n", window.reach - window.stride), largest
        return str(largest), largest

    def _read(self, window: RowWindow, layer: LayerPlan, slots: str, y: str, count: str) -> RowsContext:
        placement = self.plan.placements[window.tensor]
        naming, name = self.naming, window.tensor
        tensor = self.plan.graph.tensors[name]
        fixed = window.whole or window.shared
        padding = "NULL"
        if layer.kernel.needs_zero_row and window.pads:
            padding = naming.padding[tensor.quantization.tensor_zero_point]
        return RowsContext(
            slots=slots,
            base=f"state->{naming.states[name]}" if placement.in_state else "arena",
            tensor=naming.tensors[name],
            first="0" if fixed else _affine(window.stride, y, window.offset),
            count=count,
            padding=padding,
        )

    def _writes(self, layer: LayerPlan, y: str, n: str) -> tuple[tuple[RowsContext, ...], int]:
        contexts = []
        slot, used = "out", 0
        for name in layer.op.outputs:
            height = tensor_rows(self.plan.graph.tensors[name])
            count = str(height) if layer.kernel.whole_input or layer.accumulator_bytes else n
            contexts.append(
                RowsContext(
                    slots=slot if not used else f"out + {used}",
                    base="arena",
                    tensor=self.naming.tensors[name],
                    first="0" if layer.accumulator_bytes else y or "0",
                    count=count,
                    trace=self.trace[name],
                )
            )
            used += height if layer.kernel.whole_input or layer.accumulator_bytes else layer.rows_per_step
        return tuple(contexts), used
