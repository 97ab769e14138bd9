"""2:4 without retraining: the layer-wise optimal brain surgeon with an N:M rule (ExactOBS, METHODS B5.3).

Per layer, minimise ‖XW − XŴ‖² over calibration inputs X: rows of W are independent and share the Hessian H = 2 XᵀX / n.
A step removes the weight that costs least, ½ w²/[H⁻¹]_pp, moves the others to make up for it, and downdates H⁻¹.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tinycompress.execute.float_reference import run
from tinycompress.execute.windows import pad_image, windows
from tinycompress.gpu.masks import GROUP, KEPT, as_rows, find_layers
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.ir.tensor import Array

Floats = NDArray[np.float64]

DAMPING = 0.01
"""Share of the Hessian's mean diagonal that is added to its diagonal."""
ROWS_AT_ONCE_BYTES = 256 << 20
"""Bound of the inverse Hessians that are downdated together."""
MAX_PATCHES = 20_000
"""Rows of X that make a Hessian; spread evenly over all of them when there are more."""


def hessian(patches: Array) -> Floats:
    """2 XᵀX / n in float64 of `(n, columns)`; an input that is always zero gets a diagonal of 1."""
    x = patches.astype(np.float64)
    h: Floats = 2.0 / max(1, len(x)) * (x.T @ x)
    dead = np.diag(h) == 0
    h[dead, dead] = 1.0
    return h


def prune_rows(
    weights: Array, h: Floats, *, kept: int = KEPT, group: int = GROUP, damping: float = 0.0
) -> tuple[Floats, Floats]:
    """`kept` of every `group` columns of `(rows, columns)` survive: (new weights, loss of each row).

    The loss is ½ δᵀHδ (with the damped H), accumulated over the steps. ValueError when `group` does not divide columns.
    """
    rows, columns = weights.shape
    if columns % group:
        raise ValueError(f"{columns} columns are not a multiple of {group}")
    damped = h + damping * float(np.diag(h).mean()) * np.eye(columns)
    inverse: Floats = np.linalg.inv(damped).astype(np.float64)
    w = weights.astype(np.float64)
    step = max(1, ROWS_AT_ONCE_BYTES // (8 * columns * columns))
    parts = [_prune_together(w[i : i + step], inverse, kept, group) for i in range(0, rows, step)]
    return np.concatenate([part for part, _ in parts]), np.concatenate([loss for _, loss in parts])


def _prune_together(w: Floats, start: Floats, kept: int, group: int) -> tuple[Floats, Floats]:
    rows, columns = w.shape
    inverse = np.repeat(start[None], rows, axis=0)
    loss, every = np.zeros(rows), np.arange(rows)
    gone = np.zeros((rows, columns), dtype=bool)
    for _ in range(columns // group * (group - kept)):
        full = gone.reshape(rows, -1, group).sum(axis=-1) == group - kept
        barred = gone | np.repeat(full, group, axis=1)
        diagonal = np.einsum("rkk->rk", inverse)
        cost = np.where(barred, np.inf, 0.5 * w**2 / np.where(barred, 1.0, diagonal))
        p = cost.argmin(axis=1)
        column, pivot = inverse[every, :, p], diagonal[every, p]
        loss += cost[every, p]
        w = w - (w[every, p] / pivot)[:, None] * column
        inverse -= column[:, :, None] * (column / pivot[:, None])[:, None, :]
        gone[every, p] = True
        w[gone] = 0.0
        inverse[every, p, :] = 0.0
        inverse[every, :, p] = 0.0
    return w, loss


def layer_inputs(graph: Graph, inputs: Array) -> Iterator[tuple[o.Conv2D | o.FullyConnected, Array]]:
    """Every eligible layer and its patches `(n, columns)`, ordered as its weights, on real samples `(n, *shape)`."""
    names = {layer.name for layer in find_layers(graph) if layer.is_eligible}
    tensors = run(graph, {graph.input_names[0]: inputs}).tensors
    for op in graph.ops:
        if op.name not in names or not isinstance(op, o.Conv2D | o.FullyConnected):
            continue
        x = np.asarray(tensors[op.inputs[0]])
        if isinstance(op, o.Conv2D):
            _, kh, kw, _ = graph.tensors[op.weights].shape
            x = windows(pad_image(x, op.padding), (kh, kw), op.stride, op.dilation)
            places = x.shape[0] * x.shape[1] * x.shape[2]
            chosen = np.unravel_index(_spread(places), x.shape[:3])
            yield op, x[chosen].reshape(-1, kh * kw * x.shape[-1])
        else:
            flat = x.reshape(-1, x.shape[-1])
            yield op, flat[_spread(len(flat))]


def _spread(available: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, available - 1, min(available, MAX_PATCHES)).round().astype(np.int64))


def prune_graph(graph: Graph, inputs: Array) -> tuple[Graph, dict[str, float]]:
    """Every eligible layer of a float graph made 2:4 on calibration samples, and each one's relative output error.

    Biases take up the mean change of each output; batch-norm statistics are the caller's to recompute. The error is
    ‖XW − XŴ‖² / ‖XW‖² over the calibration patches, after the bias correction.
    """
    tensors, errors = dict(graph.tensors), {}
    for op, patches in layer_inputs(graph, inputs):
        weights = tensors[op.weights].constant
        rows = as_rows(weights).astype(np.float64)
        pruned, _ = prune_rows(rows, hessian(patches), damping=DAMPING)
        change = patches.astype(np.float64) @ (rows - pruned).T
        if op.bias is not None:
            mean = change.mean(axis=0)
            bias = tensors[op.bias].constant
            tensors[op.bias] = tensors[op.bias].with_data((bias + mean).astype(np.float32))
            change = change - mean
        exact = patches.astype(np.float64) @ rows.T
        errors[op.name] = float((change**2).sum() / max((exact**2).sum(), np.finfo(np.float64).tiny))
        tensors[op.weights] = tensors[op.weights].with_data(pruned.reshape(weights.shape).astype(np.float32))
    return graph.with_ops(graph.ops, tensors), errors
