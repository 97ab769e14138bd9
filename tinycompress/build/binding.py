"""What the measuring firmware must know of a generated library; rendered into ``tc_binding.h``."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ELEMENT_BYTES = {"int8_t": 1, "int16_t": 2, "int32_t": 4}


@dataclass(frozen=True)
class BoundTensor:
    """One input or output: its member name in ``<prefix>_inputs`` / ``_outputs``, C element type and element count."""

    name: str
    ctype: str
    elements: int

    @property
    def bytes(self) -> int:
        return self.elements * _ELEMENT_BYTES[self.ctype]


@dataclass(frozen=True)
class Binding:
    """One generated library. `inputs` and `outputs` stand in the order of the structures' members.

    `state_reset` names the function ``void f(<prefix>_state *)`` that sets the state before the first inference; it is
    needed exactly when `state_bytes` is not zero. `model_hash` identifies model, weights and plan: HELLO returns it.
    Raises ValueError when a name is not a C identifier or a number is out of range.
    """

    prefix: str
    header: str
    inputs: tuple[BoundTensor, ...]
    outputs: tuple[BoundTensor, ...]
    arena_bytes: int
    arena_align: int
    layer_count: int
    model_hash: str
    rounding: str
    state_bytes: int = 0
    state_reset: str = ""

    def __post_init__(self) -> None:
        names = [self.prefix, *(t.name for t in (*self.inputs, *self.outputs))]
        names += [self.state_reset] if self.state_reset else []
        for name in names:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"{name!r} is not a C identifier")
        for text in (self.header, self.model_hash, self.rounding):
            if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,100}", text):
                raise ValueError(f"{text!r} must be 1 to 100 letters, digits or _.:-")
        for tensor in (*self.inputs, *self.outputs):
            if tensor.ctype not in _ELEMENT_BYTES or tensor.elements < 1:
                raise ValueError(f"tensor {tensor.name}: {tensor.elements} elements of {tensor.ctype}")
        if not (1 <= len(self.inputs) <= 255 and 1 <= len(self.outputs) <= 255 and 1 <= self.layer_count <= 65535):
            raise ValueError("1 to 255 inputs and outputs and 1 to 65535 layers")
        if self.arena_bytes < 0 or self.state_bytes < 0 or self.arena_align not in (1, 2, 4, 8, 16, 32):
            raise ValueError("sizes are not negative; the arena's alignment is a power of two up to 32")
        if bool(self.state_bytes) != bool(self.state_reset):
            raise ValueError("state_reset is given exactly when state_bytes is not zero")
