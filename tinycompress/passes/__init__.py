"""Graph → Graph. One pass per file; the lists below say what runs when.

Float passes keep the outputs (to float rounding); deployment passes keep every output byte.
"""

from __future__ import annotations

from collections.abc import Callable

from tinycompress.ir.graph import Graph, QuantGraph
from tinycompress.ir.verify import verify
from tinycompress.passes.clean_shapes import clean_shapes
from tinycompress.passes.fold_affine import fold_affine
from tinycompress.passes.fold_constants import fold_constants
from tinycompress.passes.fuse_activation import fuse_activation
from tinycompress.passes.fuse_pad import fuse_pad
from tinycompress.passes.fuse_scale import fuse_scale
from tinycompress.passes.mean_to_pool import mean_to_pool
from tinycompress.passes.remove_dead_channels import remove_dead_channels
from tinycompress.passes.remove_dead_code import remove_dead_code
from tinycompress.passes.remove_dropout import remove_dropout

FloatPass = Callable[[Graph], Graph]
QuantPass = Callable[[QuantGraph], QuantGraph]

TRAINING_PASSES: tuple[FloatPass, ...] = (
    remove_dead_code,
    fold_constants,
    clean_shapes,
    mean_to_pool,
    fuse_pad,
    fuse_scale,
    clean_shapes,
)
"""Make structure plain for pruning and training; BatchNorm, Dropout and activations stay as the user wrote them."""

QUANTIZATION_PASSES: tuple[FloatPass, ...] = (
    *TRAINING_PASSES,
    remove_dropout,  # before folding: it may stand between a convolution and its batch norm
    fold_affine,
    fuse_activation,  # after folding: the clamp comes behind the batch norm
    fold_affine,  # a scale behind a convolution whose clamp has moved on
    fuse_pad,  # now that max pools see the fused ReLU before them
    clean_shapes,
    remove_dead_code,
)
"""Make the graph the one that is calibrated and quantized."""

DEPLOYMENT_PASSES: tuple[QuantPass, ...] = (
    clean_shapes,
    fuse_pad,
    fuse_activation,
    remove_dead_code,
    remove_dead_channels,
)
"""Remove work from an integer graph without changing one output byte."""


def prepare_for_training(graph: Graph) -> Graph:
    """`graph` with TRAINING_PASSES run, verified. Outputs equal to float rounding."""
    for run in TRAINING_PASSES:
        graph = run(graph)
    return verify(graph)


def prepare_for_quantization(graph: Graph) -> Graph:
    """`graph` with QUANTIZATION_PASSES run, verified: no Dropout, no BatchNorm, activations fused."""
    for run in QUANTIZATION_PASSES:
        graph = run(graph)
    return verify(graph)


def prepare_for_deployment(graph: QuantGraph) -> QuantGraph:
    """`graph` with DEPLOYMENT_PASSES run, verified. Outputs are byte-identical for every input."""
    for run in DEPLOYMENT_PASSES:
        graph = run(graph)
    verify(graph)
    return graph
