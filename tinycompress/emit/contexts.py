"""What each template may use: one frozen dataclass per template and per thing it loops over; all text is final."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Provenance:
    """The head comment of every generated file."""

    version: str
    model: str
    model_sha: str
    recipe_sha: str | None
    arena_bytes: int
    state_bytes: int
    weights_bytes: int
    numerics: str


@dataclass(frozen=True)
class IoContext:
    """An input or output of the model; `macros` are its macro stems, the short one of an only input last.

    `fed_rows` is the number of rows of an input that is fed by rows, else 0.
    """

    member: str
    macros: tuple[str, ...]
    c_type: str
    elements: int
    bytes: int
    offset: int
    source: str
    description: str
    notes: tuple[str, ...]
    scale: str | None
    zero_point: int | None
    fed_rows: int = 0


@dataclass(frozen=True)
class StateContext:
    """A member of the state struct; `initial` is the C expression of element i, `write_at` where the next value is."""

    member: str
    c_type: str
    elements: int
    description: str
    initial: str
    write_at: str


@dataclass(frozen=True)
class QuantizerContext:
    """The function that turns the user's values of one input into quantized ones."""

    function: str
    comment: str
    c_type: str
    outer: int
    channels: int
    source_index: str
    is_identity: bool
    user_scale: str
    mean: tuple[str, ...]
    std: tuple[str, ...]
    scale: str
    zero_point: int
    low: int
    high: int


@dataclass(frozen=True)
class DequantizerContext:
    """The function that turns an output into the real values of the user's own model, in its axis order.

    `loops` are the loop variables with their ends, outermost first, over the output's own axes; `shift` takes the zero
    point from a value.
    """

    function: str
    comment: str
    c_type: str
    loops: tuple[tuple[str, int], ...]
    source_index: str
    target_index: str
    scale: str
    shift: str


@dataclass(frozen=True)
class TensorContext:
    """An activation: the offset `at` of its first row; `table` holds the words of its rows if they are scattered."""

    name: str
    description: str
    rows: int
    row_bytes: int
    at: int
    table: str | None
    words: str


@dataclass(frozen=True)
class ScratchContext:
    """Step-local work memory of a layer."""

    macro: str
    at: int
    bytes: int


@dataclass(frozen=True)
class RowsContext:
    """One operand of a layer's step: which of its rows go into which pointer slots."""

    slots: str
    base: str
    tensor: str
    first: str
    count: str
    padding: str = "NULL"
    trace: int = -1


@dataclass(frozen=True)
class LayerContext:
    """A layer: its parameters and the function of one step."""

    index: int
    function: str
    signature: str
    arguments: str
    comment: tuple[str, ...]
    params_type: str
    params: str
    initialisers: tuple[tuple[str, str], ...]
    kernel: str
    in_slots: int
    out_slots: int
    rows_expression: str | None
    n_rows: str
    is_stepped: bool
    output: str
    step: int
    advance: str
    reads: tuple[RowsContext, ...]
    writes: tuple[RowsContext, ...]
    scratch: str
    accumulator_bytes: int
    last_row: str


@dataclass(frozen=True)
class ProgramLine:
    """Some steps of a row program and what they do."""

    comment: str
    values: str


@dataclass(frozen=True)
class FeedContext:
    """An inference whose input arrives by rows: what it keeps between them, and its work per row in MACs."""

    tensor: str
    c_type: str
    counter: str
    offset: int
    bytes: int
    advance_signature: str
    advance_arguments: str
    state_value: str
    macs_largest: int
    macs_mean: int
    macs_after_last: int


@dataclass(frozen=True)
class HeaderContext:
    """<model>.h; `run_buffers` are the buffer parameters of <model>_run, empty when there is no such function."""

    prefix: str
    macro: str
    model_hash: str
    layer_count: int
    arena_bytes: int
    arena_align: int
    arena_note: str
    state_bytes: int
    inputs: tuple[IoContext, ...]
    outputs: tuple[IoContext, ...]
    states: tuple[StateContext, ...]
    state_argument: str
    quantizers: tuple[QuantizerContext, ...]
    dequantizers: tuple[DequantizerContext, ...]
    run_buffers: str
    feed: FeedContext | None
    usage: tuple[str, ...]


@dataclass(frozen=True)
class ModelContext(HeaderContext):
    """<model>.c"""

    is_single_rounding: bool
    headers: tuple[str, ...]
    bound_note: str
    arena_table: tuple[str, ...]
    tensors: tuple[TensorContext, ...]
    tables: tuple[TensorContext, ...]
    scratch: tuple[ScratchContext, ...]
    layers: tuple[LayerContext, ...]
    program: tuple[ProgramLine, ...]
    program_steps: int
    program_type: str


@dataclass(frozen=True)
class CmakeContext:
    """CMakeLists.txt"""

    prefix: str


@dataclass(frozen=True)
class ArrayContext:
    """One constant array of the weights file."""

    name: str
    c_type: str
    count: int
    alignment: int
    comment: str
    values: str


@dataclass(frozen=True)
class WeightsContext:
    """<model>_weights.h and <model>_weights.c"""

    prefix: str
    macro: str
    arrays: tuple[ArrayContext, ...]
