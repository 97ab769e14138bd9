"""What a generated library shows its caller: inputs, outputs, state, and functions that quantize the user's data."""

from __future__ import annotations

import numpy as np

from tinycompress.emit.contexts import DequantizerContext, FeedContext, IoContext, QuantizerContext, StateContext
from tinycompress.emit.describe import input_notes, output_notes, tensor_text
from tinycompress.emit.layers import Naming
from tinycompress.emit.names import Names
from tinycompress.errors import UnsupportedOpError
from tinycompress.ir.fixedpoint import integer_range
from tinycompress.ir.graph import GraphInput
from tinycompress.ir.inputs import source_axes
from tinycompress.ir.tensor import Tensor
from tinycompress.plan.feed import counter_bytes, feed_work
from tinycompress.plan.model import Plan


def inputs_and_outputs(plan: Plan) -> tuple[tuple[IoContext, ...], tuple[IoContext, ...]]:
    """Members, macros, sizes and words of every input and output, in the graph's order."""
    inputs, outputs = Names(), Names()
    graph = plan.graph
    made_inputs = tuple(
        _io(plan, i.tensor, inputs.fresh(i.tensor), "INPUT", len(graph.inputs) == 1, _input_notes(plan, i))
        for i in graph.inputs
    )
    made_outputs = tuple(
        _io(
            plan,
            name,
            outputs.fresh(name),
            "OUTPUT",
            len(graph.outputs) == 1,
            output_notes(graph.tensors[name], graph.output_layout(name)),
        )
        for name in graph.outputs
    )
    return made_inputs, made_outputs


def _input_notes(plan: Plan, item: GraphInput) -> tuple[str, ...]:
    return input_notes(item) if plan.graph.tensors[item.tensor].qparams else ()


def _io(plan: Plan, name: str, member: str, kind: str, is_only: bool, notes: tuple[str, ...]) -> IoContext:
    tensor = plan.graph.tensors[name]
    q = tensor.qparams
    return IoContext(
        member=member,
        macros=(f"{kind}_{member.upper()}", kind) if is_only else (f"{kind}_{member.upper()}",),
        c_type=tensor.dtype.c_type,
        elements=tensor.elements,
        bytes=tensor.bytes,
        offset=plan.placements[name].offsets[0],
        source=tensor.source or name,
        description=tensor_text(tensor),
        notes=notes,
        scale=_float(q.tensor_scale) if q else None,
        zero_point=q.tensor_zero_point if q else None,
        fed_rows=len(plan.placements[name].offsets) if name == plan.fed_input else 0,
    )


def feed(plan: Plan, naming: Naming, *, layers_read_state: bool) -> FeedContext | None:
    """How the input is fed by rows; None where it is there as a whole."""
    if plan.fed_input is None:
        return None
    tensor, work = plan.graph.tensors[plan.fed_input], feed_work(plan)
    rows = len(plan.placements[plan.fed_input].offsets)
    highest = max(len(plan.steps), *(len(placement.offsets) for placement in plan.placements.values()))
    state = ((f"const {naming.prefix}_state *state", "state"),) if layers_read_state else ()
    parts = (("uint8_t *arena", "arena"), *state)
    return FeedContext(
        tensor=naming.tensors[plan.fed_input],
        c_type=tensor.dtype.c_type,
        counter=f"uint{8 * counter_bytes((highest,))}_t",
        offset=plan.progress_offset,
        bytes=plan.progress_bytes,
        advance_signature=", ".join(p for p, _ in parts),
        advance_arguments=", ".join(a for _, a in parts),
        state_value="state, " if plan.graph.states else "",
        macs_largest=work.largest,
        macs_mean=work.total // rows,
        macs_after_last=work.after_last,
    )


def _float(value: float) -> str:
    """A C float constant that reads back as the same float32."""
    text = f"{float(np.float32(value)):.9g}"
    return f"{text}f" if any(c in text for c in ".en") else f"{text}.0f"


def states(plan: Plan, naming: Naming) -> tuple[StateContext, ...]:
    """Members of the state struct. UnsupportedOpError TC-M504 when one keeps another unchanged."""
    found = []
    for state in plan.graph.states:
        tensor = plan.graph.tensors[state.read]
        written = plan.placements[state.write]
        if written.in_state or state.write in naming.tables:
            raise UnsupportedOpError(
                "TC-M504", f"state {state.read!r} keeps {state.write!r}, which is itself state", where=plan.graph.name
            )
        initial = str(tensor.quantization.tensor_zero_point if tensor.qparams else 0)
        if state.initial is not None:
            initial = f"{naming.prefix}_{naming.states[state.read]}_initial[i]"
        found.append(
            StateContext(
                member=naming.states[state.read],
                c_type=tensor.dtype.c_type,
                elements=tensor.elements,
                description=tensor_text(tensor),
                initial=initial,
                write_at=f"{naming.tensors[state.write]}.offset",
            )
        )
    return tuple(found)


def quantizers(plan: Plan, inputs: tuple[IoContext, ...]) -> list[QuantizerContext]:
    """One function per quantized input: the user's values, preprocessed and quantized."""
    found = []
    for item, io in zip(plan.graph.inputs, inputs, strict=True):
        tensor = plan.graph.tensors[item.tensor]
        if tensor.qparams is not None and tensor.dtype.itemsize <= 2:
            function = "quantize_input" if len(inputs) == 1 else f"quantize_{io.member}"
            found.append(_quantizer(item, tensor, function))
            if io.fed_rows:
                found.append(_quantizer(item, tensor, "quantize_row", io.fed_rows))
    return found


def _quantizer(item: GraphInput, tensor: Tensor, function: str, rows: int = 1) -> QuantizerContext:
    """For the whole input, or for one of `rows` rows of it, whose values are in the order of the arena's."""
    p = item.preprocess
    channels = tensor.shape[-1] if tensor.shape else 1
    outer = tensor.elements // channels // rows
    is_row = function == "quantize_row"
    channels_first = len(tensor.shape) > 1 and len(item.source_layout) > 1 and item.source_layout[0] == "C"
    channels_first = channels_first and not is_row
    low, high = integer_range(tensor.dtype)
    per_channel = len(p.mean) > 1 or len(p.std) > 1
    mean, std = (v * channels if per_channel and len(v) == 1 else v for v in (p.mean, p.std))
    layout = f" ({item.source_layout})" if item.source_layout else ""
    values = f"{tensor.elements} values{layout} as input"
    if is_row:
        values = f"{tensor.elements // rows} values of one row, {outer} x {channels} channels, as a row of input"
    return QuantizerContext(
        function=function,
        comment=f"The user's {values} {item.tensor!r}, preprocessing included.",
        c_type=tensor.dtype.c_type,
        outer=outer,
        channels=channels,
        source_index=f"c * {outer} + i" if channels_first else f"i * {channels} + c",
        is_identity=p.is_identity,
        user_scale=_float(p.scale),
        mean=tuple(_float(v) for v in mean),
        std=tuple(_float(v) for v in std),
        scale=_float(tensor.quantization.tensor_scale),
        zero_point=tensor.quantization.tensor_zero_point,
        low=low,
        high=high,
    )


def dequantizers(plan: Plan, outputs: tuple[IoContext, ...]) -> list[DequantizerContext]:
    """One function per quantized output: its real values, in the axis order of the user's own model."""
    found = []
    for name, io in zip(plan.graph.outputs, outputs, strict=True):
        tensor = plan.graph.tensors[name]
        if tensor.qparams is not None and tensor.dtype.itemsize <= 2:
            function = "dequantize_output" if len(outputs) == 1 else f"dequantize_{io.member}"
            found.append(_dequantizer(name, tensor, plan.graph.output_layout(name), function))
    return found


def _dequantizer(name: str, tensor: Tensor, layout: str, function: str) -> DequantizerContext:
    axes = source_axes(layout)
    sizes = tuple(n for n in tensor.shape if n != 1) if len(axes) < len(tensor.shape) else tensor.shape
    if not axes or len(sizes) != len(axes):
        axes, sizes = (0,), (tensor.elements,)
    variables = ("i",) if len(axes) == 1 else ("y", "x", "c")[-len(axes) :]
    where = f", in the axes of the source model: {layout}" if layout else ""
    zero_point = tensor.quantization.tensor_zero_point
    return DequantizerContext(
        function=function,
        comment=f"The {tensor.elements} real values of output {name!r}{where}.",
        c_type=tensor.dtype.c_type,
        loops=tuple(zip(variables, sizes, strict=True)),
        source_index=_index(tuple(range(len(axes))), sizes, variables),
        target_index=_index(axes, sizes, variables),
        scale=_float(tensor.quantization.tensor_scale),
        shift=f" {'+' if zero_point < 0 else '-'} {abs(zero_point)}" if zero_point else "",
    )


def _index(axes: tuple[int, ...], sizes: tuple[int, ...], variables: tuple[str, ...]) -> str:
    """The element's place where the tensor's axes lie in the order `axes`, outermost first."""
    text = variables[axes[0]]
    for axis in axes[1:]:
        text = f"{text if text in variables else f'({text})'} * {sizes[axis]} + {variables[axis]}"
    return text
