"""Quantized LSTM networks on the emulated target: every byte of every tensor equals the reference."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import tinycompress as tc
from tests.unit.quantize.recurrent import embedding_network, lstm_network, sequences
from tinycompress.ir import store
from tinycompress.quantize.ptq import quantize

NETWORKS = {
    "starts anew": lstm_network(),
    "keeps its states": lstm_network(is_kept=True),
    "embedding": embedding_network(),
}


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize("name", NETWORKS)
def test_lstm_networks_on_the_target(tmp_path: Path, name: str, toolchain: str) -> None:
    if toolchain == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    graph = quantize(NETWORKS[name], sequences(NETWORKS[name]))
    settings = {"deploy.samples": 3, "build.toolchain": toolchain}
    report = tc.deploy(store.save(graph, tmp_path / "graph"), emulate=True, run=tmp_path / "run", settings=settings)
    assert report.validation.mismatching_bytes == 0
    assert report.validation.tensors >= len(report.layers)
    assert {layer.kernel for layer in report.layers} >= {"lstm_s8_dsp"}
