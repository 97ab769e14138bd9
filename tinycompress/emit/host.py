"""Generated C on this machine: compiled into a shared library, called through ctypes, every tensor observable."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinycompress import assets
from tinycompress.build.host import host_compiler
from tinycompress.build.toolchain import run_compiler
from tinycompress.emit.contexts import ModelContext
from tinycompress.errors import ModelError
from tinycompress.ir.tensor import Array, Tensor
from tinycompress.plan.model import ARENA_ALIGN, Plan

_CTYPES: dict[str, Any] = {"int8_t": ctypes.c_int8, "int16_t": ctypes.c_int16, "int32_t": ctypes.c_int32}


def build_host(
    directory: Path,
    sources: Sequence[Path],
    prefix: str,
    model: ModelContext,
    plan: Plan,
    compiler: Sequence[str] | None,
    flags: Sequence[str],
) -> HostProgram:
    """Compiles `sources` with tracing hooks into a temporary shared library and loads it.

    Raises ToolchainError TC-T150 with the compiler's words when they do not compile.
    """
    work = Path(tempfile.mkdtemp(prefix="tinycompress-host-"))
    try:
        library = work / f"{prefix}.so"
        command = [*(compiler or host_compiler()), "-std=c11", "-O2", "-shared", "-fPIC", "-DTC_HOOKS", *flags]
        firmware = assets.directory("firmware")
        files = [*sources, firmware / "host" / "hooks.c"]
        command += [f"-I{firmware}", f"-I{directory.resolve()}", *(str(f.resolve()) for f in files), "-o", library.name]
        run_compiler(command, work, code="TC-T150", what="the generated C does not compile for this machine")
        loaded = ctypes.CDLL(str(library), mode=os.RTLD_LOCAL | os.RTLD_NOW)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return HostProgram(loaded, prefix, model, plan)


class HostProgram:
    """A loaded library with its own arena and state; one inference at a time.

    Inputs and results are numpy arrays in the tensors' shapes and dtypes, by tensor name.
    """

    def __init__(self, library: ctypes.CDLL, prefix: str, model: ModelContext, plan: Plan) -> None:
        self.plan = plan
        self._library = library
        self._invoke = getattr(library, f"{prefix}_invoke")
        self._invoke.restype = ctypes.c_int
        raw = np.full(plan.arena_bytes + ARENA_ALIGN, 0xA5, dtype=np.uint8)
        self._arena = raw[-raw.ctypes.data % ARENA_ALIGN :][: plan.arena_bytes]
        self._state = self._make_state(model)
        self._reset = getattr(library, f"{prefix}_state_reset") if model.states else None
        self._trace_into = library.tc_trace_into
        weakref.finalize(self, _unload, library)
        self.reset()

    @staticmethod
    def _make_state(model: ModelContext) -> ctypes.Structure | None:
        if not model.states:
            return None
        members = [(s.member, _CTYPES[s.c_type] * s.elements) for s in model.states]
        kind = type("State", (ctypes.Structure,), {"_fields_": members})
        made: ctypes.Structure = kind()
        return made

    def reset(self) -> None:
        """Sets the state to what it is before the first inference."""
        if self._reset is not None and self._state is not None:
            self._reset(ctypes.byref(self._state))

    def state(self) -> dict[str, Array]:
        """Copies of the state tensors."""
        found = {}
        for state, (member, _) in zip(self.plan.graph.states, getattr(self._state, "_fields_", ()), strict=True):
            tensor = self.plan.graph.tensors[state.read]
            values = np.ctypeslib.as_array(getattr(self._state, member)).reshape(tensor.shape)
            found[state.read] = values.astype(tensor.dtype.numpy)
        return found

    def run(self, inputs: Mapping[str, Array] | Array) -> dict[str, Array]:
        """One inference of integers: output arrays by tensor name. A single array stands for an only input.

        ModelError TC-M401 for real values, or as many as the input does not have.
        """
        graph = self.plan.graph
        if not isinstance(inputs, Mapping):
            (name,) = graph.input_names
            inputs = {name: inputs}
        held = []
        for name in graph.input_names:
            held.append(_integers(np.asarray(inputs[name]), graph.tensors[name]))
        made = [np.empty(graph.tensors[n].shape, graph.tensors[n].dtype.numpy) for n in graph.outputs]
        pointers_in = (ctypes.c_void_p * len(held))(*(v.ctypes.data for v in held))
        pointers_out = (ctypes.c_void_p * len(made))(*(v.ctypes.data for v in made))
        arguments: list[Any] = [pointers_in, pointers_out]
        if self._state is not None:
            arguments.append(ctypes.byref(self._state))
        arguments += [ctypes.c_void_p(self._arena.ctypes.data), ctypes.c_size_t(self.plan.arena_bytes)]
        status = self._invoke(*arguments)
        if status != 0:
            raise ValueError(f"inference returned status {status}")
        return dict(zip(graph.outputs, made, strict=True))

    def run_traced(self, inputs: Mapping[str, Array] | Array) -> dict[str, Array]:
        """One inference: every tensor that a layer makes, and the outputs, by name."""
        graph = self.plan.graph
        names = self.plan.trace_tensors
        traced = [np.zeros(graph.tensors[n].shape, graph.tensors[n].dtype.numpy) for n in names]
        pointers = (ctypes.c_void_p * max(1, len(traced)))(*(t.ctypes.data for t in traced))
        self._trace_into(pointers)
        try:
            outputs = self.run(inputs)
        finally:
            self._trace_into(None)
        return {**dict(zip(names, traced, strict=True)), **outputs}


def _integers(values: Array, tensor: Tensor) -> Array:
    """One sample as the program takes it."""
    if values.dtype.kind not in "iu" or values.size != tensor.elements:
        raise ModelError(
            "TC-M401",
            f"{values.dtype} values of shape {list(values.shape)} for an input of {tensor.dtype.value} of shape "
            f"{list(tensor.shape)}",
            where=tensor.name,
            fix="give one sample of integers; `ir.inputs.integer_inputs` makes them of real values",
        )
    return np.ascontiguousarray(values, dtype=tensor.dtype.numpy)


def _unload(library: ctypes.CDLL) -> None:
    """Releases the shared library's mapping; the file itself is gone already."""
    if sys.platform.startswith("linux"):
        import _ctypes

        _ctypes.dlclose(library._handle)
