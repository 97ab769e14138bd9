"""Activation functions that exporters write in pieces (GELU as Div, Erf, Add, Mul, Mul), put together as one node.

Nothing is matched by shape: a region between one value and a product that depends on that value alone is evaluated over
a grid, and what it computes there is compared with the functions that exist as one operator. So the order of the
factors and which constant was folded where do not matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from tinycompress.execute.functions import apply, sigmoid, softplus
from tinycompress.frontends.onnx_constants import fold
from tinycompress.frontends.onnx_file import OnnxFile, OnnxNode
from tinycompress.ir.ops import Function
from tinycompress.ir.tensor import Array

MAX_REGION = 12
GRID = np.linspace(-9.0, 9.0, 181)
TOLERANCE = 5e-5
"""Largest difference, relative to max(1, |value|): constants may have float16 precision; the GELUs differ by 5e-4."""

ENDS = ("Mul", "Div")
"""All functions sought are products; a region ends in one of these."""

_erf = np.frompyfunc(math.erf, 1, 1)


def _clip(node: OnnxNode, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    bounds = (node.get("min") if low is None else low, node.get("max") if high is None else high)
    clipped: Array = np.clip(x, *bounds)
    return clipped


def _hard_sigmoid(node: OnnxNode, x: Array) -> Array:
    clipped: Array = np.clip(x * node.get("alpha", 0.2) + node.get("beta", 0.5), 0.0, 1.0)
    return clipped


STEPS: dict[str, Callable[..., Array]] = {
    "Add": lambda node, a, b: a + b,
    "Sub": lambda node, a, b: a - b,
    "Mul": lambda node, a, b: a * b,
    "Div": lambda node, a, b: a / b,
    "Pow": lambda node, a, b: a**b,
    "Neg": lambda node, x: -x,
    "Erf": lambda node, x: np.asarray(_erf(x), dtype=np.float64),
    "Tanh": lambda node, x: np.tanh(x),
    "Sigmoid": lambda node, x: sigmoid(x),
    "Softplus": lambda node, x: softplus(x),
    "Exp": lambda node, x: np.exp(x),
    "Relu": lambda node, x: np.maximum(x, 0.0),
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
}
"""What may stand inside a region, in float64."""

SOUGHT: dict[Function, tuple[str, dict[str, str]]] = {
    Function.GELU: ("Gelu", {}),
    Function.GELU_TANH: ("Gelu", {"approximate": "tanh"}),
    Function.SILU: ("Swish", {}),
    Function.HARD_SWISH: ("HardSwish", {}),
    Function.MISH: ("Mish", {}),
}
"""Functions that are looked for, and the node each becomes."""

_EXPECTED = {function: apply(function, GRID) for function in SOUGHT}


def joined(file: OnnxFile) -> OnnxFile:
    """The file with every such region replaced by one node; values that are read elsewhere keep their nodes."""
    search = _Search(file)
    removed: set[int] = set()
    made: dict[int, OnnxNode] = {}
    for node in file.nodes:
        found = search.region(node) if node.kind in ENDS else None
        if found is not None:
            made[node.index], inside = found
            removed |= inside
    if not made:
        return file
    nodes = (made.get(n.index, n) for n in file.nodes if n.index in made or n.index not in removed)
    return replace(file, nodes=tuple(nodes))


class _Search:
    """Who makes and who reads each value, and the constants of one element."""

    def __init__(self, file: OnnxFile) -> None:
        self._constants = file.constants
        self._makers = {name: node for node in file.nodes for name in node.outputs}
        self._readers: dict[str, set[int]] = {name: {-1} for name in file.outputs}
        self._scalars: dict[str, Array] = {n: v for n, v in file.constants.items() if v.size == 1}
        for node in file.nodes:
            for name in node.inputs:
                self._readers.setdefault(name, set()).add(node.index)
            if node.kind == "Constant" and node.outputs and (value := fold(node, [])) is not None and value.size == 1:
                self._scalars[node.outputs[0]] = value

    def region(self, end: OnnxNode) -> tuple[OnnxNode, set[int]] | None:
        """(the node in its place, the nodes it replaces) of the smallest region that ends here and is a known function.

        Grows backwards from `end`, always through the latest node, until everything depends on a single value.
        """
        inside: dict[int, OnnxNode] = {}
        open_values = {end.outputs[0]}
        has_forked = False
        while len(inside) < MAX_REGION:
            makers = [self._makers[name] for name in open_values if name in self._makers]
            if not makers:
                return None
            node = max(makers, key=lambda n: n.index)
            if node.kind not in STEPS or node.domain not in ("", "ai.onnx") or len(node.outputs) != 1:
                return None
            if node is not end and not self._readers[node.outputs[0]] <= set(inside):
                return None
            inside[node.index] = node
            open_values.discard(node.outputs[0])
            open_values.update(name for name in node.inputs if name and name not in self._scalars)
            has_forked = has_forked or len(open_values) > 1
            if has_forked and len(open_values) == 1:
                (root,) = open_values
                if root in self._constants:
                    return None
                known = self._known(inside, root, end)
                if known is not None:
                    kind, attributes = SOUGHT[known]
                    one = replace(end, kind=kind, domain="", inputs=(root,), attributes=attributes)
                    return one, set(inside)
        return None

    def _known(self, inside: Mapping[int, OnnxNode], root: str, end: OnnxNode) -> Function | None:
        """The function of `root` that the region computes."""
        values: dict[str, Array] = {root: GRID}
        with np.errstate(all="ignore"):
            for index in sorted(inside):
                node = inside[index]
                operands = [values[n] if n in values else self._scalar(n) for n in node.inputs]
                values[node.outputs[0]] = STEPS[node.kind](node, *operands)
        found = values[end.outputs[0]]
        for function, expected in _EXPECTED.items():
            if np.all(np.abs(found - expected) <= TOLERANCE * np.maximum(1.0, np.abs(expected))):
                return function
        return None

    def _scalar(self, name: str) -> Array | None:
        return self._scalars[name].reshape(()).astype(np.float64) if name else None
