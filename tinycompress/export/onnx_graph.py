"""The ONNX graph under construction: which nodes hold each IR tensor, and in which order of axes.

An image `[h,w,c]` is held as `[1,c,h,w]` (form NCHW) while image operators pass it on; PLAIN is `[1, *shape]`. A
flattened image is held in the order it has in NCHW (form FLAT) as long as its readers can take their weights permuted.
A Transpose is written only where a reader needs another form than there is.
"""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tinycompress.errors import UnsupportedOpError
from tinycompress.ir.graph import Graph, GraphInput, QuantGraph
from tinycompress.ir.inputs import source_axes
from tinycompress.ir.tensor import Array, DType, QParams, Tensor

OPSET = 20
IR_VERSION = 9


class Form(enum.Enum):
    """How the elements of an IR tensor lie in an ONNX tensor."""

    PLAIN = "plain"
    NCHW = "nchw"
    FLAT = "flat"


def impossible(what: str) -> UnsupportedOpError:
    """An operator has no ONNX form; the exporter adds its name and collects them."""
    return UnsupportedOpError("TC-M307", what)


class OnnxGraph:
    """Collects nodes and initializers; `held` maps an IR tensor to its ONNX names by form."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.is_quantized = isinstance(graph, QuantGraph)
        self.nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._names: set[str] = set()
        self._held: dict[str, dict[Form, str]] = {}
        self._flat_shapes: dict[str, tuple[int, ...]] = {}

    def __getitem__(self, name: str) -> Tensor:
        return self.graph.tensors[name]

    # --- nodes and constants

    def name(self, wanted: str) -> str:
        """A name not used yet."""
        name, count = wanted, 1
        while name in self._names:
            count += 1
            name = f"{wanted}_{count}"
        self._names.add(name)
        return name

    def node(self, kind: str, inputs: list[str], wanted: str, **attributes: Any) -> str:
        """Appends a node with one output; returns the output's name."""
        (output,) = self.several(kind, inputs, [wanted], **attributes)
        return output

    def several(self, kind: str, inputs: list[str], wanted: list[str], **attributes: Any) -> list[str]:
        """Appends a node; returns the names of its outputs."""
        outputs = [self.name(name) for name in wanted]
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=f"{outputs[0]}_node", **attributes))
        return outputs

    def initializer(self, wanted: str, values: Array) -> str:
        """Adds a constant; returns its name."""
        name = self.name(wanted)
        self._initializers.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def real(self, wanted: str, values: Array, qparams: QParams | None, axis: int | None = None) -> str:
        """A constant as a float tensor: itself, or integers behind a DequantizeLinear (per channel: `axis`)."""
        if qparams is None:
            return self.initializer(wanted, values.astype(np.float32))
        if qparams.is_per_tensor:
            return self._dequantize(wanted, self.initializer(wanted, values), qparams, values.dtype)
        return self._dequantize(wanted, self.initializer(wanted, values), qparams, values.dtype, axis=axis)

    def _dequantize(self, wanted: str, source: str, qparams: QParams, dtype: Any, axis: int | None = None) -> str:
        scales = np.asarray(qparams.scale, np.float32)
        zeros = np.asarray(qparams.zero_point).astype(dtype)
        if axis is None:
            scales, zeros = scales.reshape(()), zeros.reshape(())
        inputs = [source, self.initializer(f"{wanted}_scale", scales), self.initializer(f"{wanted}_zero_point", zeros)]
        attributes = {} if axis is None else {"axis": axis}
        return self.node("DequantizeLinear", inputs, f"{wanted}_real", **attributes)

    def requantized(self, wanted: str, source: str, tensor: Tensor) -> str:
        """QuantizeLinear and DequantizeLinear with the tensor's parameters behind `source`."""
        qparams = tensor.quantization
        if tensor.dtype is not DType.INT8:
            raise impossible(f"{tensor.name} is {tensor.dtype.value}, QDQ files hold int8 activations")
        scale = self.initializer(f"{wanted}_scale", np.asarray(qparams.tensor_scale, np.float32))
        zero = self.initializer(f"{wanted}_zero_point", np.asarray(qparams.tensor_zero_point, np.int8))
        quantized = self.node("QuantizeLinear", [source, scale, zero], f"{wanted}_q")
        return self.node("DequantizeLinear", [quantized, scale, zero], wanted)

    # --- what is held where

    def hold(self, tensor: str, name: str, form: Form) -> None:
        """The IR tensor is in ONNX tensor `name` now; quantized graphs put a QDQ pair behind it."""
        if self.is_quantized:
            name = self.requantized(f"{tensor}_dq" if tensor in self._names else tensor, name, self[tensor])
        self._held[tensor] = {form: name}

    def skip(self, tensors: tuple[str, ...]) -> None:
        """Results of an operator that could not be written, so that the others are still looked at."""
        for tensor in tensors:
            self._held[tensor] = dict.fromkeys((Form.PLAIN, Form.NCHW), "")

    def hold_flat(self, tensor: str, name: str, image: tuple[int, ...]) -> None:
        """A vector that holds an image of IR shape `image` in NCHW order."""
        self.hold(tensor, name, Form.FLAT)
        self._flat_shapes[tensor] = image

    def flat_order(self, tensor: str) -> Array | None:
        """For a FLAT tensor, the IR position of each of its elements; None for others."""
        if Form.FLAT not in self._held[tensor]:
            return None
        shape = self._flat_shapes[tensor]
        return np.arange(int(np.prod(shape))).reshape(shape).transpose(2, 0, 1).reshape(-1)

    def native(self, tensor: str) -> Form:
        """The form an operator should use for a tensor: the one it is in, NCHW for images otherwise."""
        forms = self._held[tensor]
        return next(iter(forms))

    def get(self, tensor: str, form: Form) -> str:
        """The ONNX tensor that holds an IR tensor in `form`, converted when need be."""
        held = self._held[tensor]
        if form not in held:
            held[form] = self._converted(tensor, *next(iter(held.items())), form)
        return held[form]

    def _converted(self, tensor: str, have: Form, name: str, wanted: Form) -> str:
        shape = self[tensor].shape
        if have is Form.FLAT and wanted is Form.PLAIN:
            h, w, c = self._flat_shapes[tensor]
            image = self.reshape(name, (1, c, h, w), tensor)
            moved = self.node("Transpose", [image], f"{tensor}_nhwc", perm=[0, 2, 3, 1])
            return self.reshape(moved, (1, *shape), tensor)
        if len(shape) != 3 or Form.FLAT in (have, wanted):
            raise impossible(f"{tensor} of shape {list(shape)} cannot go from {have.value} to {wanted.value}")
        perm = [0, 3, 1, 2] if wanted is Form.NCHW else [0, 2, 3, 1]
        return self.node("Transpose", [name], f"{tensor}_{wanted.value}", perm=perm)

    def reshape(self, name: str, shape: tuple[int, ...], wanted: str) -> str:
        """A Reshape node to a constant shape."""
        target = self.initializer(f"{wanted}_shape", np.asarray(shape, np.int64))
        return self.node("Reshape", [name, target], f"{wanted}_reshaped")

    # --- inputs, outputs, file

    def add_input(self, entry: GraphInput) -> Any:
        """A graph input in the user's layout (float), brought to the form image operators use."""
        tensor = self[entry.tensor]
        shape: tuple[int, ...] = (1, *tensor.shape)
        form = Form.PLAIN
        self._names.add(entry.tensor)
        name = entry.tensor
        if len(tensor.shape) == 3:
            h, w, c = tensor.shape
            if entry.source_layout == "CT" and w == 1:
                shape, form = (1, c, h), Form.NCHW
                name = self.reshape(name, (1, c, h, 1), entry.tensor)
            elif entry.source_layout == "CHW":
                shape, form = (1, c, h, w), Form.NCHW
        self.hold(entry.tensor, name, form)
        return helper.make_tensor_value_info(entry.tensor, TensorProto.FLOAT, shape)

    def add_output(self, tensor: str, layout: str) -> Any:
        """A graph output with its axes in the order `layout`, in the IR's own where that is empty."""
        shape = self[tensor].shape
        if len(shape) == 3 and layout in ("CHW", "CT"):
            name, shape = self.get(tensor, Form.NCHW), (shape[2], shape[0], shape[1])
            if layout == "CT":
                shape = shape[:2]
                name = self.reshape(name, (1, *shape), tensor)
        else:
            name = self.get(tensor, Form.PLAIN)
            if layout:
                perm = source_axes(layout)
                name = self.node("Transpose", [name], f"{tensor}_moved", perm=[0, *(1 + p for p in perm)])
                shape = tuple(shape[p] for p in perm)
        output = self.name(f"{tensor}_output" if tensor in self._names else tensor)
        self.nodes.append(helper.make_node("Identity", [name], [output], name=f"{output}_node"))
        return helper.make_tensor_value_info(output, TensorProto.FLOAT, (1, *shape))

    def model(self, inputs: list[Any], outputs: list[Any]) -> bytes:
        """The file's bytes; the same graph always gives the same bytes."""
        body = helper.make_graph(self.nodes, self.graph.name, inputs, outputs, self._initializers)
        model = helper.make_model(
            body,
            producer_name="tinycompress",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        return bytes(model.SerializeToString(deterministic=True))
