"""tinycompress: from a neural network to measured firmware.

    import tinycompress as tc

    graph = tc.quantize(tc.load("kws.onnx"), calibration)
    program = tc.generate(tc.plan(graph, "stm32f746"), "kws_c")
    report = tc.deploy("kws.tflite", emulate=True)

Everything is imported on first use; a name that is also a sub-package (`compress`, `plan`, `quantize`) is the function.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Analysis": "tinycompress.pipeline.analysis",
    "Board": "tinycompress.boards",
    "Budget": "tinycompress.compress.task",
    "CompressResult": "tinycompress.compress.result",
    "Graph": "tinycompress.ir.graph",
    "Plan": "tinycompress.plan.model",
    "Preprocess": "tinycompress.ir.graph",
    "Program": "tinycompress.emit.program",
    "QuantGraph": "tinycompress.ir.graph",
    "Recipe": "tinycompress.compress.recipe",
    "Report": "tinycompress.report.model",
    "Rounding": "tinycompress.ir.graph",
    "Task": "tinycompress.compress.task",
    "TinycompressError": "tinycompress.errors",
    "analyze": "tinycompress.api",
    "board": "tinycompress.boards",
    "compress": "tinycompress.compress.run",
    "deploy": "tinycompress.api",
    "generate": "tinycompress.emit.render",
    "load": "tinycompress.api",
    "plan": "tinycompress.api",
    "quantize": "tinycompress.api",
}

__all__ = sorted([*_HOMES, "__version__"])


class _Package(types.ModuleType):
    """Keeps the public functions reachable after the sub-packages of the same names have been imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
