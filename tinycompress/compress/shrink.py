"""Physical removal of channels: a smaller graph with the same operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinycompress.compress.coupling import Ids
from tinycompress.compress.groups import Groups, find_groups
from tinycompress.errors import ConfigError
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.ir.shapes import infer
from tinycompress.ir.tensor import Array, Tensor

Keep = Mapping[str, Sequence[int]]
"""Per prunable group, the channels that stay: indices 0 … size − 1 within the group."""


def kept_mask(groups: Groups, keep: Keep) -> Array:
    """Boolean per channel number: True when it stays. Groups that `keep` leaves out stay whole.

    Raises ConfigError TC-C350 for a group that does not exist or cannot be pruned, and for one that would be emptied.
    """
    mask = np.ones(groups.total, dtype=bool)
    by_name = {g.name: g for g in groups.all}
    for name, indices in keep.items():
        group = by_name.get(name)
        if group is None:
            raise ConfigError("TC-C350", f"there is no channel group {name!r}", fix="groups: " + ", ".join(by_name))
        chosen = np.unique(np.asarray(indices, dtype=np.int64))
        if len(chosen) == group.size:
            continue
        if group.frozen:
            what = f"group {name!r} cannot be pruned: {group.frozen}"
            raise ConfigError("TC-C350", what, where=name, fix="leave this group whole")
        if len(chosen) == 0 or chosen[0] < 0 or chosen[-1] >= group.size:
            what = f"kept channels must be 1 to {group.size} of 0..{group.size - 1}"
            raise ConfigError("TC-C350", what, where=name, fix="keep at least one channel that is there")
        mask[group.start : group.start + group.size] = False
        mask[group.start + chosen] = True
    return mask


def slice_constant(groups: Groups, mask: Array, name: str, value: Array) -> Array:
    """`value` (in the layout of constant `name`) without the channels that `mask` drops. Torch tensors work too."""
    for slot in groups.slots:
        if slot.constant == name:
            stays = np.flatnonzero(mask[slot.channels])
            if len(stays) < value.shape[slot.axis]:
                value = value[(slice(None),) * slot.axis + (stays,)]
    return value


def shrink(graph: Graph, keep: Keep, groups: Groups | None = None) -> Graph:
    """The graph with only the kept channels: every tensor and constant is physically smaller.

    `groups` must be `find_groups(graph)` (computed when left out). The result computes what `graph` computes when the
    removed channels are zeroed at the input of every convolution and fully connected layer that reads them.
    """
    groups = groups or find_groups(graph)
    mask = kept_mask(groups, keep)
    tensors: dict[str, Tensor] = dict(graph.tensors)
    cut = {slot.constant for slot in groups.slots}
    for name in cut:
        value = slice_constant(groups, mask, name, graph.tensors[name].constant)
        tensors[name] = tensors[name].with_data(np.ascontiguousarray(value))
    ops = []
    for op in graph.ops:
        smaller = _adjusted(op, graph, groups.channels, mask, tensors)
        for name, shape in zip(smaller.outputs, infer(smaller, tensors), strict=True):
            tensors[name] = replace(tensors[name], shape=shape)
        ops.append(smaller)
    return graph.with_ops(ops, tensors)


def _adjusted(op: o.Op, graph: Graph, channels: Mapping[str, Ids], mask: Array, tensors: Mapping[str, Tensor]) -> o.Op:
    """The operator with the attributes that mention channel counts rewritten."""

    def kept(ids: Ids) -> int:
        return int(mask[ids].sum())

    change: dict[str, Any] = {}
    if isinstance(op, o.Conv2D) and op.groups > 1:
        per_group = graph.tensors[op.inputs[0]].shape[-1] // op.groups
        change["groups"] = kept(channels[op.inputs[0]]) // per_group
    elif isinstance(op, o.Reshape):
        change["shape"] = (*op.shape[:-1], kept(channels[op.output])) if op.shape else op.shape
    elif isinstance(op, o.Pad):
        before, after = op.amounts[-1]
        ids = channels[op.output]
        change["amounts"] = (*op.amounts[:-1], (kept(ids[:before]), kept(ids[len(ids) - after :])))
    elif isinstance(op, o.Slice) and op.strides[-1] == 1:
        ids = channels[op.inputs[0]]
        begin = kept(ids[: op.begin[-1]])
        change["begin"] = (*op.begin[:-1], begin)
        change["end"] = (*op.end[:-1], begin + kept(ids[op.begin[-1] : op.end[-1]]))
    return replace(op, **change) if change else op
