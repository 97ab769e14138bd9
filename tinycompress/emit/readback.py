"""The generated schedule read back from its C text and compared with the plan: what was checked is what runs.

Knows the text only: tensor structs, word tables, work memory, program bytes and calls. Run on every generation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tinycompress.emit.layers import Naming
from tinycompress.emit.library import opcode
from tinycompress.plan.check import PlanFault
from tinycompress.plan.model import Plan

_ARRAY = re.compile(r"static const uint(?:8|16)_t (\w+)\[\d+\] = \{(.*?)\};", re.DOTALL)
_TENSOR = re.compile(r"static const tc_tensor (\w+) = \{(\d+), (\d+), (\d+), (\w+)\};")
_WORK = re.compile(r"^    (\w+_SCRATCH_\w+) = (\d+)", re.MULTILINE)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_FUNCTION = re.compile(r"^static void (\w+)\([^)]*\)\n\{\n(.*?)^\}", re.DOTALL | re.MULTILINE)
_LOOP = re.compile(
    r"for \(int32_t y = 0; y < (\w+)\.rows; (?:\+\+y|y \+= (\d+))\) \{\s*(\w+)\(|^    (\w+)\(arena", re.MULTILINE
)


def read_back(text: str, plan: Plan, naming: Naming) -> None:
    """Raises PlanFault when the C text places a row, works in memory or orders steps otherwise than the plan."""
    code = _COMMENT.sub("", text)
    arrays = {
        name: tuple(int(v.rstrip("u")) for v in re.findall(r"\d+u?", body)) for name, body in _ARRAY.findall(code)
    }
    for name, offset, size, rows, table in _TENSOR.findall(code):
        found = arrays[table] if table != "NULL" else None
        made = tuple(4 * w for w in found) if found else tuple(int(offset) + int(size) * r for r in range(int(rows)))
        tensor = next(t for t, c_name in naming.tensors.items() if c_name == name)
        placement = plan.placements[tensor]
        if made != placement.offsets or int(size) != placement.row_bytes:
            raise PlanFault(f"{name} is written at {made}, planned at {placement.offsets}")
    work = {name: int(offset) for name, offset in _WORK.findall(code)}
    for layer in plan.layers:
        planned = layer.accumulator_offset if layer.accumulator_bytes else layer.scratch_offset
        if layer.index in naming.scratch and work.get(naming.scratch[layer.index]) != planned:
            raise PlanFault(f"{layer.op.name} works at {work.get(naming.scratch[layer.index])}, planned at {planned}")
    kept = re.findall(rf"^    {naming.macro}_PROGRESS = (\d+)", code, re.MULTILINE)
    if kept != ([str(plan.progress_offset)] if plan.fed_input else []):
        raise PlanFault(f"progress is kept at {kept}, planned at {plan.progress_offset}")
    _check_functions(code, plan, naming)
    _check_order(code, arrays, plan, naming)


def _check_functions(code: str, plan: Plan, naming: Naming) -> None:
    """Every layer's function calls its kernel once, on the tensors of its operator."""
    bodies = dict(_FUNCTION.findall(code))
    for layer in plan.layers:
        body = bodies[naming.functions[layer.index]]
        read = re.findall(r"tc_rows_in\([^,]+, [^,]+, &(\w+),", body)
        written = re.findall(r"tc_rows_out\([^,]+, arena, &(\w+),", body)
        inputs = [n for n in layer.op.inputs if n in plan.placements]
        if read != [naming.tensors[n] for n in inputs] or written != [naming.tensors[n] for n in layer.op.outputs]:
            raise PlanFault(f"{layer.op.name} reads {read} and writes {written}")
        if len(re.findall(rf"\b{layer.kernel.function}\(", body)) != 1:
            raise PlanFault(f"{layer.op.name} does not call {layer.kernel.function} once")


def _check_order(code: str, arrays: Mapping[str, tuple[int, ...]], plan: Plan, naming: Naming) -> None:
    """The steps run in the plan's order: by the program's bytes, or by the loops of the entry point."""
    if plan.fed_input or plan.is_interleaved:
        planned = tuple(opcode(plan, step.layer) for step in plan.steps)
        if arrays[f"{naming.prefix}_program"] != planned:
            raise PlanFault("the program's bytes are not the plan's steps")
        return
    planned = tuple(step.layer for step in plan.steps)
    number = {name: index for index, name in naming.functions.items()}
    body = code[code.index(f"tc_status {naming.prefix}_invoke(") :]
    made: list[int] = []
    for tensor, step, stepped, single in _LOOP.findall(body):
        layer = number[stepped or single]
        rows = plan.placements[next(t for t, c in naming.tensors.items() if c == tensor)].offsets if tensor else (0,)
        made += [layer] * -(-len(rows) // int(step or 1))
    if tuple(made) != planned:
        raise PlanFault("the loops of the entry point are not the plan's steps")
