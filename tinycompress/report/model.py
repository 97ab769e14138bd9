"""report.json as dataclasses: schema 1. Every number says what it is by where it stands.

`measured` comes from a board, `counted` from the emulator's instruction counter, `exact` facts (RAM, flash) from the
planner and the ELF, `estimated` from a model with its error. A value nobody can know in a mode is None, never 0.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tinycompress.errors import ConfigError

SCHEMA = 1
AGAIN = "run the command that wrote it once more"
"""What to do about a file of ours that cannot be read."""

Score = float
"""A real number; the alias leaves the name `float` free for the field of that name."""


@dataclass(frozen=True)
class Provenance:
    """What made the numbers: versions, compiler and its flags, emulator, seed and the data's digest."""

    version: str
    compiler: str
    flags: tuple[str, ...]
    emulator: str | None
    seed: int | None
    dataset_sha256: str | None


@dataclass(frozen=True)
class Port:
    """An input or output of the generated library; real = scale · (q − zero_point) where those are known.

    `source_layout` is the axis order of the user's own model (e.g. CHW), empty where it is that of `shape`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: Score | None
    zero_point: int | None
    source_layout: str


@dataclass(frozen=True)
class Model:
    """The network that was deployed: multiply-accumulates of convolutions and dense layers, constant elements."""

    name: str
    sha256: str
    macs: int
    parameters: int
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()


@dataclass(frozen=True)
class Ram:
    """Bytes of the library (not of the measuring firmware); `total_bytes` is the sum of the parts below."""

    arena_bytes: int
    arena_lower_bound_bytes: int
    arena_is_optimal: bool
    bound_scope: str
    io_bytes: int
    state_bytes: int
    static_bytes: int
    stack_bytes: int | None
    total_bytes: int


@dataclass(frozen=True)
class Flash:
    """Bytes of the library in the ELF; `total_bytes` is the sum of the other three.

    `weights_bytes` are the plan's: the packed weights of all layers, and the constant rows that stand for padding.
    `constants_bytes` are all others: parameters of the kernels, tables of the schedule.
    """

    code_bytes: int
    weights_bytes: int
    total_bytes: int
    constants_bytes: int = 0


@dataclass(frozen=True)
class Capacity:
    """Bytes of RAM and flash that the board has."""

    ram_bytes: int
    flash_bytes: int


@dataclass(frozen=True)
class FirmwareSize:
    """Bytes of the whole measuring program, library included."""

    ram_bytes: int
    flash_bytes: int


@dataclass(frozen=True)
class Counted:
    """Executed instructions from entry to return of `<model>_invoke`, in the emulator."""

    instructions: int


@dataclass(frozen=True)
class Estimated:
    """Latency from a model; the truth lies within ± `error` (a fraction) for most networks, not for all."""

    latency_ms: float
    error: float
    basis: str


@dataclass(frozen=True)
class Measured:
    """Latency of `n` inferences on the board, and the stack's high-water mark."""

    clock_hz: int
    n: int
    median_ms: float
    p95_ms: float
    min_ms: float
    max_ms: float
    stack_bytes: int


@dataclass(frozen=True)
class Layer:
    """One layer of the plan; `instructions` or `cycles` when a profile was taken."""

    index: int
    name: str
    op: str
    kernel: str
    macs: int
    weights_bytes: int
    scratch_bytes: int
    live_bytes: int
    instructions: int | None
    cycles: int | None
    output_shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Divergence:
    """The first tensor whose bytes differ between the reference and the target."""

    sample: int
    tensor: str
    layer: str
    byte: int
    expected: int
    actual: int


@dataclass(frozen=True)
class Validation:
    """Target against the integer reference: inferences and tensors compared, bytes that differ."""

    samples: int
    tensors: int
    mismatching_bytes: int
    first_divergence: Divergence | None


@dataclass(frozen=True)
class Accuracy:
    """The task's metric on the test split: float model, integer reference, and the target on the same samples."""

    metric: str
    samples: int
    float: Score | None
    int8: Score
    device: Score | None


@dataclass(frozen=True)
class Limit:
    """One budget the recipe states, by its key: `limit`, and what was `used` of it (None where nothing can say).

    `kind` says what `used` is: exact, counted, estimated (the upper end of the band), measured (p95) or computed.
    Accuracy is a floor, everything else a ceiling.
    """

    name: str
    limit: Score
    used: Score | None
    kind: str

    @property
    def is_kept(self) -> bool:
        """Whether the budget holds, as far as it is known."""
        if self.used is None:
            return True
        return self.used >= self.limit if self.name == "min_accuracy" else self.used <= self.limit


@dataclass(frozen=True)
class Failure:
    """The first promise that this deployment broke: the diagnostic, and the process status it ends with."""

    code: str
    what: str
    where: str | None
    fix: str | None
    exit_code: int


@dataclass(frozen=True)
class Report:
    """Everything `deploy` found out. `estimated` is None once `measured` is there."""

    schema: int
    provenance: Provenance
    model: Model
    board: str
    target: str
    rounding: str
    ram: Ram
    flash: Flash
    firmware: FirmwareSize
    counted: Counted | None
    estimated: Estimated | None
    measured: Measured | None
    layers: tuple[Layer, ...]
    validation: Validation
    accuracy: Accuracy | None
    notes: tuple[str, ...]
    capacity: Capacity | None = None
    limits: tuple[Limit, ...] = ()
    failure: Failure | None = None


def check(report: Report) -> Report:
    """The report itself, when it is consistent; ValueError naming the first promise it breaks.

    Parts sum to totals, layers sum to the model, and nothing is 0 or None that this kind of target can know.
    """
    on_board = report.target == "board"
    promises = {
        "a board's numbers are measured, an emulator's counted": (report.measured is not None) == on_board
        and (report.counted is not None) != on_board,
        "RAM parts sum to the total": report.ram.total_bytes
        == report.ram.arena_bytes + report.ram.io_bytes + report.ram.state_bytes + report.ram.static_bytes,
        "flash parts sum to the total": report.flash.total_bytes
        == report.flash.code_bytes + report.flash.weights_bytes + report.flash.constants_bytes,
        "a deployed network has an arena and code": report.ram.arena_bytes > 0 and report.flash.code_bytes > 0,
        "layers sum to the model's MACs": sum(layer.macs for layer in report.layers) == report.model.macs,
        "there are layers": bool(report.layers),
        "every layer was profiled": all((layer.cycles if on_board else layer.instructions) for layer in report.layers),
        "something was compared": report.validation.samples > 0 and report.validation.tensors > 0,
        "a difference has a place": (report.validation.mismatching_bytes > 0)
        == (report.validation.first_divergence is not None),
    }
    for promise, is_kept in promises.items():
        if not is_kept:
            raise ValueError(f"the report of {report.model.name!r} breaks: {promise}")
    return report


def to_json(report: Report) -> str:
    """The report as stable JSON text."""
    from tinycompress.codec import encode

    return json.dumps(encode(report), indent=2) + "\n"


def from_json(text: str, where: str = "report.json") -> Report:
    """The report that `to_json` wrote; ConfigError TC-C110 when the text is not one."""
    from tinycompress.codec import CodecError, decode

    try:
        document: Any = json.loads(text)
        found = document.get("schema") if isinstance(document, dict) else None
        if found != SCHEMA:
            raise CodecError("it names no schema" if found is None else f"its schema is {found!r}")
        report: Report = decode(Report, document)
    except (json.JSONDecodeError, CodecError) as error:
        raise ConfigError("TC-C110", f"not a schema {SCHEMA} report: {error}", where=where, fix=AGAIN) from None
    return report
