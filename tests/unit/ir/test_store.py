"""Stored graphs: byte-stable, round-trip exact, damaged ones refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tinycompress.errors import ModelError
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, GraphInput
from tinycompress.ir.store import graph_bytes, graph_sha256, load, save
from tinycompress.ir.tensor import DType, QParams, Tensor
from tinycompress.ir.text import graph_text
from tinycompress.ir.verify import to_quant_graph, verify


def small_graph(dtype: DType = DType.INT8) -> Graph:
    rng = np.random.default_rng(0)
    q = QParams.per_tensor(0.1, -3) if dtype is DType.INT8 else None
    weights = rng.integers(-127, 128, (4, 3, 3, 2)).astype(dtype.numpy)
    bias = np.arange(4).astype(np.int32 if q else np.float32)
    wq = QParams((0.1, 0.2, 0.3, 0.4), (0, 0, 0, 0), 0) if q else None
    tensors = {
        "x": Tensor("x", (8, 8, 2), dtype, q, source="image"),
        "w": Tensor("w", (4, 3, 3, 2), dtype, wq, weights),
        "b": Tensor("b", (4,), DType(str(bias.dtype)), None, bias),
        "y": Tensor("y", (8, 8, 4), dtype, q),
    }
    conv = o.Conv2D(
        name="conv", inputs=("x",), outputs=("y",), weights="w", bias="b", padding=(1, 1, 1, 1), activation=o.RELU
    )
    return Graph("net", (GraphInput("x", "CHW"),), ("y",), tensors, (conv,), notes=("a note",))


def test_round_trip_keeps_every_byte(tmp_path: Path) -> None:
    graph = to_quant_graph(small_graph())
    save(graph, tmp_path / "g")
    again = load(tmp_path / "g")
    assert graph_bytes(again) == graph_bytes(graph)
    assert graph_sha256(again) == graph_sha256(graph)
    assert type(again) is type(graph)
    save(again, tmp_path / "g")
    assert [p.name for p in tmp_path.iterdir()] == ["g"]


def test_damaged_and_foreign_graphs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="TC-M007"):
        load(tmp_path / "absent")
    directory = save(small_graph(), tmp_path / "g")
    document = json.loads((directory / "graph.json").read_text())
    for change in ({"format": 99}, {"ops": [{"kind": "Exec"}]}, {"outputs": "y"}, {"tensors": 3}):
        (directory / "graph.json").write_text(json.dumps(document | change))
        with pytest.raises(ModelError, match="TC-M007"):
            load(directory)
    (directory / "graph.json").write_text(json.dumps(document))
    (directory / "graph.json").write_text("[" * 200_000)
    with pytest.raises(ModelError, match=r"TC-M007.*nested"):
        load(directory)
    (directory / "graph.json").write_text(json.dumps(document))
    data = (directory / "tensors.npz").read_bytes()
    (directory / "tensors.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="TC-M007"):
        load(directory)


def test_text_shows_only_what_differs_from_the_defaults() -> None:
    line = graph_text(to_quant_graph(small_graph())).splitlines()[2]
    assert line == "  y: i8[8,8,4] s=0.1 z=-3 = Conv2D(x, w, b) padding=[1,1,1,1] activation=ReLU  # conv"


def test_verify_names_the_node() -> None:
    graph = small_graph(DType.FLOAT32)
    assert verify(graph) is graph
    nan = graph.tensors["w"].with_data(np.full((4, 3, 3, 2), np.nan, np.float32))
    with pytest.raises(ModelError, match=r"TC-M004.*conv"):
        verify(graph.with_ops(graph.ops, {**graph.tensors, "w": nan}))
    with pytest.raises(ModelError, match=r"TC-M005.*conv \(Conv2D\)"):
        to_quant_graph(graph)
    wrong = Tensor("y", (7, 8, 4), DType.FLOAT32)
    with pytest.raises(ModelError, match=r"TC-M002.*\[7, 8, 4\], computed \[8, 8, 4\]"):
        verify(graph.with_ops(graph.ops, {**graph.tensors, "y": wrong}))
