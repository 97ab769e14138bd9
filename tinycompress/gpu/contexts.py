"""What codegen/templates/gpu_*.j2 may use; all text is final."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ConstantContext:
    """One array of the weights header and its number among the network's constants."""

    name: str
    index: str
    c_type: str
    count: int
    values: str
    comment: str


@dataclass(frozen=True)
class TensorContext:
    """One activation: bytes of a sample; `alias` is the number of the tensor whose memory it shares, or its own."""

    name: str
    index: str
    bytes: int
    alias: int
    comment: str


@dataclass(frozen=True)
class PartContext:
    """One launch: the struct's type, a local name, its members in order, and the call."""

    type: str
    name: str
    fields: tuple[tuple[str, str], ...]
    launch: str


@dataclass(frozen=True)
class StepContext:
    """One operator: the function that launches it."""

    name: str
    function: str
    comment: tuple[str, ...]
    parts: tuple[PartContext, ...]


@dataclass(frozen=True)
class NetworkContext:
    """The program and its weights header."""

    version: str
    model: str
    model_sha: str
    prefix: str
    macro: str
    rounding: str
    is_single_rounding: bool
    sparse_note: str
    constants: tuple[ConstantContext, ...]
    tensors: tuple[TensorContext, ...]
    steps: tuple[StepContext, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
