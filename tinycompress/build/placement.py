"""Which memory of the board each part of the measuring firmware goes to."""

from __future__ import annotations

from dataclasses import dataclass

from tinycompress.boards import Board
from tinycompress.build.binding import Binding
from tinycompress.errors import ToolchainError

CANARY_BYTES = 32
ARENA_ALIGN = 32
# Protocol frames, counters, the fault stack and the traced layers of the largest model, with room to spare.
FIRMWARE_DATA_BYTES = 8192


@dataclass(frozen=True)
class Placement:
    """Memory names of `boards/<id>.toml` for code and for each kind of data."""

    code: str
    stack: str
    data: str
    arena: str
    state: str
    io: str


def _aligned(count: int, align: int = ARENA_ALIGN) -> int:
    return -(-count // align) * align


def place(board: Board, binding: Binding) -> Placement:
    """First fit in the board's order of memories: stack, arena, state, inputs and outputs, the firmware's own data.

    Raises ToolchainError TC-T110 when a part fits nowhere, with every memory's free bytes.
    """
    free = {m.name: m.bytes for m in board.ram}

    def take(what: str, needed: int) -> str:
        for name in free:
            if free[name] >= needed:
                free[name] -= needed
                return name
        rest = ", ".join(f"{name} {count} B" for name, count in free.items())
        raise ToolchainError(
            "TC-T110",
            f"{what} needs {needed} B in one memory of board {board.id!r}; free: {rest}",
            fix="lower the RAM budget, or choose a board with more RAM",
        )

    stack = take("the stack", board.stack_bytes)
    arena = take("the arena", _aligned(binding.arena_bytes) + 2 * _aligned(CANARY_BYTES))
    state = take("the model's state", _aligned(binding.state_bytes))
    io = take("inputs and outputs", sum(_aligned(t.bytes, 8) for t in (*binding.inputs, *binding.outputs)))
    data = take("the firmware's own data", FIRMWARE_DATA_BYTES)
    return Placement(board.code, stack, data, arena, state, io)
