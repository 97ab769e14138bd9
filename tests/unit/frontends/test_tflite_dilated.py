"""Dilated convolutions over sequences, split into phases in the file: one operator here, the runtimes' bytes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.oracle.tflm_oracle import Tflm
from tests.unit.frontends.tflite_made import File, litert
from tinycompress.errors import UnsupportedOpError
from tinycompress.execute.reference import run
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.tensor import QParams

STEPS, CHANNELS, OUT, TAPS = 20, 4, 6, 3


def made(
    block: int, pads: tuple[int, int], crops: tuple[int, int], join: int, depthwise: bool = False
) -> tuple[File, int, int]:
    """The five operators around a convolution; `join` is the block of the last."""
    generator = np.random.default_rng(block)
    steps, out = (STEPS + sum(pads)) // block, CHANNELS if depthwise else OUT
    file = File()
    x = file.activation((1, STEPS, CHANNELS))
    split = file.activation((block, steps, CHANNELS))
    file.op("SPACE_TO_BATCH_ND", [x, file.integers([block]), file.integers([pads])], split)
    image = file.activation((block, 1, steps, CHANNELS))
    file.op("EXPAND_DIMS", [split, file.integers([1])], image)
    shape = (1, 1, TAPS, CHANNELS) if depthwise else (OUT, 1, TAPS, CHANNELS)
    weights = file.constant(generator.integers(-127, 128, shape).astype(np.int8), QParams.per_tensor(0.004, 0))
    bias = file.constant(generator.integers(-900, 900, out).astype(np.int32), QParams.per_tensor(0.0002, 0, 32))
    convolved = file.activation((block, 1, steps - TAPS + 1, out))
    name = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    options = {"DepthMultiplier": 1} if depthwise else {}
    file.op(
        name, [image, weights, bias], convolved, "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions",
        Padding=1, StrideH=1, StrideW=1, DilationHFactor=1, DilationWFactor=1, FusedActivationFunction=1, **options,
    )  # fmt: skip
    phases = file.activation((block, steps - TAPS + 1, out))
    file.op("SQUEEZE", [convolved], phases, "SqueezeOptions", SqueezeDims=[1])
    y = file.activation((1, (steps - TAPS + 1) * block - sum(crops), out))
    file.op("BATCH_TO_SPACE_ND", [phases, file.integers([join]), file.integers([crops])], y)
    return file, x, y


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize(("block", "pads", "crops"), [(2, (4, 0), (0, 0)), (2, (0, 0), (0, 0)), (3, (3, 4), (0, 1))])
def test_phases_become_a_dilation(block: int, pads: tuple[int, int], crops: tuple[int, int], depthwise: bool) -> None:
    file, x, y = made(block, pads, crops, block, depthwise)
    graph = file.graph([x], [y])
    assert isinstance(graph, QuantGraph)
    (convolution,) = (op for op in graph.ops if isinstance(op, (o.Conv2D, o.DepthwiseConv2D)))
    assert convolution.dilation == (block, 1)
    data = file.bytes([x], [y])
    oracle = None if any(pads) else Tflm(data)  # its phases are padded with the byte 0 whatever the zero point is
    for seed in range(4):
        values = np.random.default_rng(seed).integers(-128, 128, (STEPS, CHANNELS)).astype(np.int8)
        found = run(graph, {graph.input_names[0]: values}).output
        np.testing.assert_array_equal(found, litert(data, values))
        if oracle is not None:
            np.testing.assert_array_equal(found, oracle.run([values])[0])


def test_blocks_that_differ_are_refused() -> None:
    file, x, y = made(2, (4, 0), (0, 0), 4)
    with pytest.raises(UnsupportedOpError, match="not part of a dilated convolution"):
        file.graph([x], [y])
