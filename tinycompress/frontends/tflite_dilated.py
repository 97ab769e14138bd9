"""Dilated convolutions over sequences, as converters write them: phases split into a batch, convolved, joined again.

SPACE_TO_BATCH_ND, a view, CONV_2D or DEPTHWISE_CONV_2D without padding, a view, BATCH_TO_SPACE_ND: with one block
size they are one convolution whose dilation is the block and whose padding is the split's.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import tflite

from tinycompress.frontends.tflite_checks import check_pair, fused_activation, is_integer, required_options
from tinycompress.frontends.tflite_file import FileOperator, TfliteFile
from tinycompress.frontends.tflite_graph import GraphBuilder
from tinycompress.frontends.tflite_tensors import unsupported
from tinycompress.ir import ops as o

VIEWS = ("EXPAND_DIMS", "RESHAPE", "SQUEEZE")
CHAIN = (VIEWS, ("CONV_2D", "DEPTHWISE_CONV_2D"), VIEWS, ("BATCH_TO_SPACE_ND",))
"""What follows a SPACE_TO_BATCH_ND, each the only reader of the one before."""


@dataclass(frozen=True)
class Dilated:
    """The operators of one such convolution that say something; views between them do not."""

    split: FileOperator
    convolution: FileOperator
    join: FileOperator


def dilated_convolutions(file: TfliteFile) -> tuple[dict[int, Dilated], frozenset[int]]:
    """(index of the last operator → the convolution, indices of the operators before it that are part of one)."""
    readers: dict[int, list[FileOperator]] = defaultdict(list)
    for op in file.operators:
        for index in op.inputs:
            readers[index].append(op)
    found: dict[int, Dilated] = {}
    taken: set[int] = set()
    for split in file.operators:
        chain = [split]
        for kinds in CHAIN if split.kind == "SPACE_TO_BATCH_ND" else ():
            made = chain[-1].outputs
            following = readers[made[0]] if len(made) == 1 and made[0] not in file.outputs else []
            if len(following) != 1 or following[0].kind not in kinds or following[0].inputs[0] != made[0]:
                break
            chain.append(following[0])
        if len(chain) == 1 + len(CHAIN):
            found[chain[-1].index] = Dilated(split, chain[2], chain[-1])
            taken.update(op.index for op in chain[:-1])
    return found, frozenset(taken)


def convert_dilated(g: GraphBuilder, found: Dilated) -> None:
    """Adds the convolution over `[t,1,c]`."""
    split, op, join = found.split, found.convolution, found.join
    is_depthwise = op.kind == "DEPTHWISE_CONV_2D"
    options: Any = required_options(op, tflite.DepthwiseConv2DOptions if is_depthwise else tflite.Conv2DOptions)
    integer = is_integer(g, op, split.inputs[0], join.outputs[0], wide=True)
    blocks, pads = g.integers(split, split.inputs[1]), g.integers(split, split.inputs[2])
    crops, shape = g.integers(join, join.inputs[2]), g.shape(split.inputs[0])
    is_plain = (options.StrideH(), options.StrideW(), options.Padding()) == (1, 1, tflite.Padding.VALID)
    is_undilated = (options.DilationHFactor() or 1, options.DilationWFactor() or 1) == (1, 1)
    is_sequence = len(shape) == 2 and len(blocks) == 1 and len(pads) == len(crops) == 2 and min(*pads, *crops) >= 0
    if not (is_plain and is_undilated and is_sequence) or g.integers(join, join.inputs[1]) != blocks:
        raise unsupported(split, "is not part of a dilated convolution over a sequence")
    if g.is_quantized_apart(split.inputs[0], op.inputs[0]) or g.is_quantized_apart(op.outputs[0], join.outputs[0]):
        raise unsupported(split, "is quantized in another way than the convolution it belongs to")
    weights, qparams = g.weights(op, op.inputs[1], integer, dropped_axes=int(is_depthwise))
    kernel_h, taps = weights.shape[-3:-1]
    steps, channels, out = shape[0], shape[1], weights.shape[-1 if is_depthwise else 0]
    fits = out % channels == 0 if is_depthwise else weights.shape[-1] == channels
    dilation, reach = check_pair(split, "dilation", blocks[0], 1)[0], (taps - 1) * blocks[0]
    made = steps + sum(pads) - reach
    if kernel_h != 1 or not fits or (steps + sum(pads)) % dilation or made - sum(crops) < 1:
        raise unsupported(op, f"weights {list(weights.shape)} do not fit a sequence {list(shape)}")
    weights = weights.reshape(*weights.shape[:-3], taps, 1, weights.shape[-1])
    g.set_shape(join.outputs[0], (1, made - sum(crops), out))
    x = g.reshaped(op, g.activation(split.inputs[0]), (steps, 1, channels), "steps")
    y = g.output(join)
    full = g.intermediate(join, y, (made, 1, out))
    fields: dict[str, Any] = {"multiplier": out // channels} if is_depthwise else {}
    g.add(
        op,
        o.DepthwiseConv2D if is_depthwise else o.Conv2D,
        (x,),
        (full,),
        weights=g.add_constant(op, op.inputs[1], "weights", weights, qparams),
        bias=g.bias(op, op.inputs[2] if len(op.inputs) > 2 else -1, integer, out),
        dilation=(dilation, 1),
        padding=(pads[0], 0, pads[1], 0),
        activation=fused_activation(op, options),
        **fields,
    )
    if any(crops):
        cut = g.intermediate(join, y, (made - sum(crops), 1, out))
        end = (made - crops[1], 1, out)
        g.add(join, o.Slice, (full,), (cut,), "crop", begin=(crops[0], 0, 0), end=end, strides=(1, 1, 1))
        full = cut
    g.add(join, o.Reshape, (full,), (y,), shape=g.shape(join.outputs[0]))
